"""Names, environment and rights of the manifests agree with the functions and the settings."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from oneseek_sandbox.http.verbs import CONTROL_VERBS, FUNCTIONS
from oneseek_sandbox.settings import Settings, variables

ROOT = Path(__file__).parents[2]
VERBS = sorted(set(FUNCTIONS.values()))


def _service(verb):
    return "sandbox-" + verb.replace("_", "-")


def _container(service):
    return service["spec"]["template"]["spec"]["containers"][0]


def _environment(service):
    return {entry["name"]: entry for entry in _container(service).get("env", [])}


def test_every_verb_has_a_service_and_there_is_one_route(of_kind):
    assert set(of_kind("Knative")) == {_service(verb) for verb in VERBS} | {"sandbox-route"}


def test_a_service_runs_the_function_of_its_verb(of_kind):
    for verb in VERBS:
        assert (ROOT / "functions" / verb / "main.py").is_file()
        environment = _environment(of_kind("Knative")[_service(verb)])
        assert environment["FUNCTION_TARGET"]["value"] == verb


def test_only_control_verbs_hold_the_token_key_and_an_account_with_rights(of_kind):
    bound = {
        subject["name"]
        for binding in of_kind("RoleBinding").values()
        for subject in binding["subjects"]
    }
    for verb in VERBS:
        service = of_kind("Knative")[_service(verb)]
        account = service["spec"]["template"]["spec"]["serviceAccountName"]
        control = verb in CONTROL_VERBS
        assert ("PROVISIONER_TOKEN_KEY" in _environment(service)) is control
        assert (account in bound) is control
        assert account == (_service(verb) if control else "sandbox-data")


def test_every_variable_is_a_setting_and_every_value_is_accepted(of_kind):
    maps = [
        item["data"]
        for name, item in of_kind("ConfigMap").items()
        if name.startswith("oneseek-sandbox-settings-")
    ]
    assert len(maps) == 1
    assert set(maps[0]) <= set(variables().values())
    settings = Settings.from_environment(maps[0])
    assert settings.runtime == "kubernetes"
    assert settings.max_timeout_seconds < 600
    for service in of_kind("Knative").values():
        ours = {name for name in _environment(service) if name.startswith("PROVISIONER_")}
        assert ours <= set(variables().values())


def test_a_changed_setting_makes_a_new_revision(of_kind):
    (name,) = (n for n in of_kind("ConfigMap") if n.startswith("oneseek-sandbox-settings-"))
    for verb in VERBS:
        source = _container(of_kind("Knative")[_service(verb)])["envFrom"]
        assert source == [{"configMapRef": {"name": name}}]


def test_one_route_is_public(of_kind):
    public = [
        name
        for name, service in of_kind("Knative").items()
        if service["metadata"]["labels"].get("networking.knative.dev/visibility") is None
    ]
    assert public == ([] if of_kind("HTTPRoute") else ["sandbox-route"])


def test_an_httproute_leads_every_path_to_its_function(of_kind):
    for route in of_kind("HTTPRoute").values():
        *verbs, rest = route["spec"]["rules"]
        led = {
            match["path"]["value"]: rule["filters"][0]["urlRewrite"]["hostname"]
            for rule in verbs
            for match in rule["matches"]
        }
        hosts = {
            f"/v1/sandbox/{verb}": _private_host(_service(function))
            for verb, function in FUNCTIONS.items()
        }
        assert led == hosts | {"/v1/sandbox": _private_host("sandbox-acquire")}
        assert rest["matches"] == [{"path": {"type": "PathPrefix", "value": "/"}}]
        assert rest["filters"][0]["urlRewrite"]["hostname"] == _private_host("sandbox-route")


def test_an_httproute_may_lead_to_knatives_ingress_and_a_call_may_take_its_time(of_kind):
    for route in of_kind("HTTPRoute").values():
        (grant,) = of_kind("ReferenceGrant").values()
        for rule in route["spec"]["rules"]:
            (backend,) = rule["backendRefs"]
            assert backend["namespace"] == grant["metadata"]["namespace"]
            assert backend["name"] == grant["spec"]["to"][0]["name"]
            assert rule["timeouts"] == {"request": "610s"}


def _private_host(service):
    return f"{service}.oneseek-sandbox-system.svc.cluster.local"


def test_a_call_may_take_as_long_as_knative_allows(of_kind):
    for service in of_kind("Knative").values():
        spec = service["spec"]["template"]["spec"]
        assert spec["timeoutSeconds"] == spec["responseStartTimeoutSeconds"] == 600


def test_one_cleanup_runs_at_a_time(of_kind):
    template = of_kind("Knative")["sandbox-cleanup-idle"]["spec"]["template"]
    assert template["metadata"]["annotations"]["autoscaling.knative.dev/max-scale"] == "1"
    assert template["spec"]["containerConcurrency"] == 1
    assert of_kind("CronJob")["sandbox-cleanup"]["spec"]["concurrencyPolicy"] == "Forbid"


def test_every_container_is_restricted(of_kind):
    jobs = [item["spec"]["jobTemplate"]["spec"]["template"] for item in of_kind("CronJob").values()]
    sets = [item["spec"]["template"] for item in of_kind("StatefulSet").values()]
    services = [item["spec"]["template"] for item in of_kind("Knative").values()]
    for template in [*jobs, *sets, *services]:
        pod = template["spec"].get("securityContext", {})
        for container in template["spec"]["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert (pod | context)["runAsNonRoot"] is True
            assert (pod | context)["seccompProfile"] == {"type": "RuntimeDefault"}
    for namespace in of_kind("Namespace").values():
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_roles_name_what_they_allow(of_kind):
    for role in of_kind("Role").values():
        assert role["metadata"]["namespace"] == "oneseek-sandbox"
        for rule in role["rules"]:
            assert not {"*"} & {*rule["verbs"], *rule["resources"], *rule["apiGroups"]}
            assert not {"secrets", "pods/exec", "serviceaccounts"} & set(rule["resources"])
    assert of_kind("ClusterRole") == {}


def test_no_secret_is_in_the_manifests(of_kind):
    assert of_kind("Secret") == {}


def test_nothing_reaches_a_sandbox_but_the_functions(of_kind):
    policies = of_kind("NetworkPolicy")
    assert policies["deny-all"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    (way,) = policies["functions-to-workers"]["spec"]["ingress"]
    assert way["ports"] == [{"protocol": "TCP", "port": 8787}]
    wanted = way["from"][0]["podSelector"]["matchExpressions"][0]
    for verb in VERBS:
        labels = of_kind("Knative")[_service(verb)]["spec"]["template"]["metadata"]["labels"]
        assert labels[wanted["key"]] in wanted["values"]


def test_the_route_knows_every_verb():
    text = (ROOT / "kustomize/components/route-nginx/nginx.conf").read_text()
    led = dict(re.findall(r"^ +/v1/sandbox/(\w+) +([\w-]+);$", text, re.MULTILINE))
    assert led == {verb: function.replace("_", "-") for verb, function in FUNCTIONS.items()}
    named = re.search(r"VERB: ([\w, ]+)\.", text)
    assert set(named[1].split(", ")) == set(FUNCTIONS)


def test_what_the_route_answers_in_place_of_a_function_has_the_status_it_says():
    """nginx keeps the status of the failure where `error_page` has no `=` (seen with 1.22 and 1.26)."""
    text = (ROOT / "kustomize/components/route-nginx/nginx.conf").read_text()
    pages = re.findall(r"error_page ([\d ]+?)( =)? @(\w+);", text)
    assert len(pages) == text.count("error_page ")
    for failures, sign, location in pages:
        answered = re.search(rf"location @{location} {{.*?return (\d+) ", text, re.DOTALL)
        assert sign or failures.split() == [answered[1]], location


@pytest.mark.e2e
def test_the_api_server_accepts_it(overlay):
    rendered = subprocess.run(
        ["kubectl", "kustomize", str(ROOT / overlay)], capture_output=True, text=True, check=True
    )
    accepted = subprocess.run(
        ["kubectl", "apply", "--dry-run=server", "-f", "-"],
        input=rendered.stdout,
        capture_output=True,
        text=True,
        check=False,
    )
    assert accepted.returncode == 0, accepted.stderr
