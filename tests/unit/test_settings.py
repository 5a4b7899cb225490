"""Settings from the environment."""

from __future__ import annotations

import pytest

from oneseek_sandbox.errors import ConfigurationError
from oneseek_sandbox.settings import Settings, variables


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
