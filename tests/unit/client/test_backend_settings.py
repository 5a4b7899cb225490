"""A backend's settings: the same names from everywhere, and never a silent way out."""

from __future__ import annotations

import logging

import pytest

from oneseek_sandbox.client import BackendSettings, connect
from oneseek_sandbox.client.embedded import EmbeddedSandboxes
from oneseek_sandbox.client.opening import _note_unused_store
from oneseek_sandbox.client.remote import RemoteSandboxes
from oneseek_sandbox.errors import ConfigurationError
from oneseek_sandbox.settings import Settings


def test_the_environment_and_a_dictionary_say_the_same():
    environment = {
        "SANDBOX_MODE": "remote",
        "SANDBOX_TIMEOUT_SECONDS": "12.5",
        "SANDBOX_ENABLED": "",
    }
    values = {"sandbox_mode": "provisioner", "sandbox_timeout_seconds": 12.5}
    read = BackendSettings.from_environment(environment)
    assert read == BackendSettings.from_mapping(values)
    assert read.sandbox_mode == "provisioner"


def test_a_chats_flags_go_over_the_backends_own():
    base = BackendSettings.from_mapping({"sandbox_provisioner_api_key": "k" * 20})
    over = base.over({"sandbox_mode": "remote", "model": "some", "temperature": 0})
    assert over.sandbox_mode == "provisioner"
    assert over.sandbox_provisioner_api_key.get_secret_value() == "k" * 20


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"sandbox_mode": "firecracker"}, "sandbox_mode"),
        ({"sandbox_mod": "local"}, "sandbox_mod"),
        ({"sandbox_timeout_seconds": 0}, "sandbox_timeout_seconds"),
        ({"sandbox_idle_timeout_seconds": 100_000}, "sandbox_idle_timeout_seconds"),
    ],
)
def test_a_wrong_setting_is_named(values, named):
    with pytest.raises(ConfigurationError, match=named):
        BackendSettings.from_mapping(values)


def test_disabled_is_an_error_and_no_other_way():
    with pytest.raises(ConfigurationError, match="sandbox_enabled"):
        connect(BackendSettings(sandbox_enabled=False))


def test_a_url_that_is_none_is_refused_at_once():
    settings = BackendSettings(sandbox_mode="provisioner", sandbox_provisioner_url="localhost:8002")
    with pytest.raises(ConfigurationError, match="localhost:8002"):
        connect(settings)


def test_a_redis_store_without_its_url_is_refused():
    with pytest.raises(ConfigurationError, match="sandbox_state_redis_url"):
        connect(BackendSettings(sandbox_state_store="redis"))


@pytest.mark.parametrize(
    ("store", "url", "taken"),
    [
        ("auto", "", "file"),
        ("auto", "redis://r:1", "redis"),
        ("file", "redis://r:1", "file"),
        ("redis", "redis://r:1", "redis"),
    ],
)
def test_the_store_is_the_one_that_was_asked_for(store, url, taken):
    settings = BackendSettings(sandbox_state_store=store, sandbox_state_redis_url=url)
    sandboxes = connect(settings)
    assert isinstance(sandboxes, EmbeddedSandboxes)
    assert sandboxes.settings.state_store == taken
    assert bool(sandboxes.settings.redis_url.get_secret_value()) is (taken == "redis")


def test_a_store_that_is_not_used_is_noted_once(caplog):
    _note_unused_store.cache_clear()
    settings = BackendSettings(sandbox_mode="provisioner", sandbox_state_store="file")
    with caplog.at_level(logging.WARNING, logger="oneseek_sandbox"):
        assert isinstance(connect(settings), RemoteSandboxes)
        connect(settings)
    assert [record.message for record in caplog.records if "not used" in record.message] != []
    assert len(caplog.records) == 1


def test_a_chat_with_a_url_of_its_own_does_not_get_the_backends_key():
    base = BackendSettings(sandbox_provisioner_api_key="k" * 20, sandbox_mode="provisioner")
    elsewhere = {"sandbox_provisioner_url": "http://elsewhere.test"}
    assert base.over(elsewhere).sandbox_provisioner_api_key.get_secret_value() == ""
    own = base.over(elsewhere | {"sandbox_provisioner_api_key": "own-key"})
    assert own.sandbox_provisioner_api_key.get_secret_value() == "own-key"
    same = base.over({"sandbox_provisioner_url": base.sandbox_provisioner_url})
    assert same.sandbox_provisioner_api_key == base.sandbox_provisioner_api_key


def test_settings_of_the_two_sides_that_do_not_fit_are_named():
    server = Settings(max_lifetime_seconds=600, idle_timeout_seconds=300)
    with pytest.raises(ConfigurationError, match="MAX_LIFETIME_SECONDS"):
        connect(BackendSettings(), server=server)


@pytest.mark.finding(20)
@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("SANDBOX_IDLE_TIMEOUT", "SANDBOX_IDLE_TIMEOUT_SECONDS"),
        ("SANDBOX_TIMEOUT", "SANDBOX_TIMEOUT_SECONDS"),
        ("SANDBOX_PROVISIONER_KEY", "SANDBOX_PROVISIONER_API_KEY"),
        ("SANDBOX_ENABLE", "SANDBOX_ENABLED"),
    ],
)
def test_a_name_that_is_nearly_a_settings_is_refused_with_it(variable, nearest):
    with pytest.raises(ConfigurationError, match=rf"{variable} is not .* mean {nearest}\?"):
        BackendSettings.from_environment({variable: "x"})


@pytest.mark.finding(20)
def test_names_of_others_are_left_alone():
    others = ("SANDBOX_URL", "SANDBOX_KEY", "SANDBOX_NAME", "SANDBOX_ID", "SANDBOX_IMAGE")
    read = BackendSettings.from_environment(dict.fromkeys(others, "x"))
    assert read == BackendSettings()


@pytest.mark.finding(20)
def test_an_unknown_name_in_a_mapping_is_told_with_the_nearest_one():
    with pytest.raises(ConfigurationError, match=r"did you mean sandbox_timeout_seconds\?"):
        BackendSettings.from_mapping({"sandbox_timeout_second": 3})
