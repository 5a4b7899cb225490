"""What each part may do in the cluster, by trial and by the cluster's own list."""

from __future__ import annotations

import secrets

import pytest
from tests.e2e import cluster, functions

DATA = ["execute", "ls", "read_file", "write_file", "replace"]

# As docs/kubernetes.md says, all in the sandboxes' namespace.
RIGHTS = {
    "sandbox-data": {},
    "sandbox-acquire": {"pods": "create delete get list patch watch", "events": "list"},
    "sandbox-release": {"pods": "delete get"},
    "sandbox-cleanup-idle": {
        "pods": "delete get list patch",
        "configmaps": "create delete get list",
        "deployments.apps": "create get patch",
        "events": "list",
    },
}


@pytest.mark.parametrize("account", RIGHTS)
@pytest.mark.parametrize("namespace", [cluster.SANDBOXES, cluster.SYSTEM])
def test_an_account_has_these_rights_and_no_other(account, namespace):
    wanted = RIGHTS[account] if namespace == cluster.SANDBOXES else {}
    # What the cluster grants to everybody is not ours to say.
    nobody = _listed(f"nobody-{secrets.token_hex(4)}", namespace)
    beyond = dict(_listed(account, namespace) - nobody)
    assert beyond == wanted


def _listed(account, namespace):
    """Return `(resource, its verbs)` of what an account may."""
    text = cluster.kubectl("auth", "can-i", "--list", *_as(account), namespace=namespace)
    rows = [line.split("[") for line in text.splitlines()[1:]]
    return {(row[0].strip(), " ".join(sorted(row[-1].rstrip("] ").split()))) for row in rows}


@pytest.mark.parametrize(
    "attempt",
    [
        ("get", "pods"),
        ("get", "secrets"),
        ("get", "configmaps"),
        ("get", "ksvc"),
        ("get", "nodes"),
        ("create", "configmap", "e2e"),
        ("run", "e2e", "--image=none", "--restart=Never"),
        ("delete", "pods", "--all"),
        ("patch", "serviceaccount", "default", "-p", "{}"),
    ],
    ids=lambda attempt: "-".join(attempt[:2]),
)
@pytest.mark.parametrize("namespace", [cluster.SANDBOXES, cluster.SYSTEM, "default"])
def test_a_data_verb_is_refused_whatever_it_tries(attempt, namespace):
    said = cluster.kubectl(*attempt, *_as("sandbox-data"), namespace=namespace, check=False)
    assert "Forbidden" in said or "forbidden" in said, said


def _as(account):
    return ("--as", f"system:serviceaccount:{cluster.SYSTEM}:{account}")


@pytest.mark.parametrize("verb", DATA)
def test_a_data_verbs_pod_holds_no_token_of_the_cluster_and_no_signing_key(verb):
    spec = cluster.read("ksvc", functions.service(verb))["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] == "sandbox-data"
    account = cluster.read("serviceaccount", "sandbox-data")
    assert account["automountServiceAccountToken"] is False
    given = [entry["name"] for container in spec["containers"] for entry in container["env"]]
    assert "PROVISIONER_TOKEN_KEY" not in given
    for pod in functions.pods(verb):
        mounts = [m for c in pod["spec"]["containers"] for m in c.get("volumeMounts", [])]
        assert not [m for m in mounts if "serviceaccount" in m["mountPath"]]


@pytest.fixture
async def run(acquire, call):
    """Run a command in a sandbox."""
    sandbox = {"sandbox_id": (await acquire())["sandbox_id"]}

    async def run(command):
        return await call("execute", **sandbox, command=command)

    return run


async def test_a_sandbox_has_no_token_and_no_word_of_the_cluster(run):
    assert (await run("find / -path '*serviceaccount*' -name token 2>/dev/null"))["stdout"] == ""
    assert (await run("ls /var/run/secrets/kubernetes.io"))["exit_code"] != 0
    names = (await run("env | cut -d= -f1"))["stdout"].split()
    assert "HOME" in names
    assert not [n for n in names if "KUBERNETES" in n or "_SERVICE_" in n or "REDIS" in n], names


async def test_a_sandbox_writes_its_workspace_and_not_its_root(run):
    assert (await run("touch /workspace/here /tmp/here"))["exit_code"] == 0
    for path in ("/x", "/usr/x", "/etc/x", "/opt/oneseek-sandbox/x"):
        refused = await run(f"touch {path}")
        assert refused["exit_code"] != 0
        assert "Read-only" in refused["stderr"] or "denied" in refused["stderr"], refused


async def test_a_sandbox_is_not_root_and_cannot_become_it(run):
    assert (await run("id -u; id -g"))["stdout"].split() == ["1000", "1000"]
    status = (await run("cat /proc/self/status"))["stdout"]
    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert fields[kind] == "0" * 16, kind
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"
