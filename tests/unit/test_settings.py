"""Settings from the environment."""

from __future__ import annotations

import pytest

from oneseek_sandbox.errors import ConfigurationError
from oneseek_sandbox.settings import Settings, unknown_settings, variables


def test_empty_values_count_as_not_set():
    assert Settings.from_environment({"PROVISIONER_IDLE_TIMEOUT_SECONDS": ""}) == Settings()


def test_port_is_knatives_variable():
    assert variables()["port"] == "PORT"
    assert Settings.from_environment({"PORT": "9000"}).port == 9000


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PROVISIONER_IDLE_TIMEOUT_SECONDS", "soon"),
        ("PROVISIONER_IDLE_TIMEOUT_SECONDS", "0"),
        ("PROVISIONER_NETWORK", "maybe"),
        ("PROVISIONER_WORKSPACE_DIR", "relative"),
        ("PROVISIONER_REDIS_PREFIX", "a{b}"),
        ("PROVISIONER_MAX_LIFETIME_SECONDS", "5"),
        ("PORT", "70000"),
    ],
)
def test_a_wrong_value_is_named(variable, value):
    with pytest.raises(ConfigurationError, match=variable.removeprefix("PROVISIONER_")):
        Settings.from_environment({variable: value})


def test_leases_are_kept_in_redis_only_where_it_is_said_which():
    redis = {"PROVISIONER_STATE_STORE": "redis"}
    with pytest.raises(ConfigurationError, match=r"STATE_STORE.*PROVISIONER_REDIS_URL"):
        Settings.from_environment(redis)
    given = Settings.from_environment(redis | {"PROVISIONER_REDIS_URL": "redis://cache"})
    assert given.state_store == "redis"


@pytest.mark.parametrize(
    "cluster", [{"PROVISIONER_RUNTIME": "kubernetes"}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}]
)
def test_leases_of_pods_are_not_kept_in_a_file(cluster):
    file = {"PROVISIONER_STATE_STORE": "file"}
    with pytest.raises(ConfigurationError, match=r"STATE_STORE=file.*PROVISIONER_RUNTIME"):
        Settings.from_environment(file | cluster)
    local = Settings.from_environment(file | cluster | {"PROVISIONER_RUNTIME": "local"})
    assert local.state_store == "file"


@pytest.mark.parametrize(
    ("platform", "environment", "runtime"),
    [
        ("linux", {}, "auto"),
        ("darwin", {}, "docker"),
        ("darwin", {"PROVISIONER_RUNTIME": "kubernetes"}, "kubernetes"),
        ("linux", {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes"),
    ],
)
def test_what_makes_sandboxes_follows_from_the_machine(monkeypatch, platform, environment, runtime):
    monkeypatch.setattr("sys.platform", platform)
    assert Settings.from_environment(environment).runtime == runtime


def test_secrets_are_not_shown():
    given = Settings.from_environment(
        {"PROVISIONER_API_KEY": "hush-hush", "PROVISIONER_REDIS_URL": "redis://:hush-hush@x"}
    )
    assert "hush-hush" not in f"{given!r} {given} {given.model_dump_json()}"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"memory_limit_mb": 64}, "64 MB"),
        ({"runtime": "kubernetes", "pod_memory_limit": "1Gi"}, "1Gi"),
        ({"runtime": "kubernetes"}, "of its namespace's LimitRange"),
    ],
)
def test_the_memory_limit_is_told_as_the_runtime_has_it(values, words):
    assert Settings(**values).memory_limit_in_words == words


@pytest.mark.finding(20)
@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("PROVISIONER_IDLE_TIMEOUT", "PROVISIONER_IDLE_TIMEOUT_SECONDS"),
        ("PROVISIONER_API_KEYS", "PROVISIONER_API_KEY"),
        ("PROVISIONER_MEMORY_LIMIT", "PROVISIONER_MEMORY_LIMIT_MB"),
        ("PROVISIONER_PORT", "PORT"),
    ],
)
def test_a_misspelt_setting_is_named_with_the_nearest_one(variable, nearest):
    (said,) = unknown_settings({variable: "8002", "PROVISIONER_HOST": "::1", "PATH": "/bin"})
    assert said.startswith(f"{variable} is not a setting; did you mean {nearest}")


@pytest.mark.finding(20)
def test_what_kubernetes_says_of_a_service_of_our_name_is_no_setting_and_no_mistake():
    links = {
        "PROVISIONER_SERVICE_HOST": "10.0.0.7",
        "PROVISIONER_SERVICE_PORT": "80",
        "PROVISIONER_SERVICE_PORT_HTTP": "80",
        "PROVISIONER_PORT": "tcp://10.0.0.7:80",
        "PROVISIONER_PORT_80_TCP": "tcp://10.0.0.7:80",
        "PROVISIONER_PORT_80_TCP_ADDR": "10.0.0.7",
    }
    assert unknown_settings(links) == []
