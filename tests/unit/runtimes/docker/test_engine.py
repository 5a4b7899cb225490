"""An engine that is not there, or is another machine's."""

from __future__ import annotations

import gc
import socket
import sys
import warnings
from types import SimpleNamespace

import pytest

from oneseek_sandbox.errors import ConfigurationError, RuntimeUnavailableError
from oneseek_sandbox.runtimes.docker.engine import Engine, EngineRefusalError


def test_a_missing_package_is_named_with_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "docker", None)
    with pytest.raises(ConfigurationError, match=r"oneseek-sandbox\[docker\]"):
        Engine().open()


def test_an_engine_that_is_not_there_is_unavailable(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    with pytest.raises(RuntimeUnavailableError, match="DOCKER_HOST"):
        Engine().open()
    with warnings.catch_warnings(action="ignore"):
        gc.collect()  # the package leaves the socket open that did not connect


def test_an_engine_that_does_not_answer_is_not_waited_for(monkeypatch, tmp_path):
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(f"{tmp_path}/docker.sock")
        silent.listen()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
        with pytest.raises(RuntimeUnavailableError, match="is not available"):
            Engine(answer_seconds=0.1).open()


@pytest.mark.parametrize("address", ["tcp://192.0.2.1:2375", "ssh://somebody@example.com"])
def test_an_engine_afar_is_refused(monkeypatch, address):
    monkeypatch.setenv("DOCKER_HOST", address)
    with pytest.raises(ConfigurationError, match="another machine's"):
        Engine().open()


class Volumes:
    """The client of an engine that makes no volume; what it has is given."""

    def __init__(self, **have):
        self._have = have

    def create_volume(self, name, driver, labels):
        raise refusal(500, "no space left on device")

    def inspect_volume(self, name):
        if name not in self._have:
            raise refusal(404, f"no such volume: {name}")
        return self._have[name]


def refusal(status, message):
    errors = pytest.importorskip("docker").errors
    return errors.APIError(message, SimpleNamespace(status_code=status), message)


def test_of_a_volume_that_cannot_be_made_the_reason_is_told():
    engine = Engine()
    engine._client = Volumes()
    with pytest.raises(EngineRefusalError, match="no space left") as refused:
        engine.create_volume("new", {})
    assert not refused.value.is_missing


def test_a_volume_that_another_makes_at_the_same_moment_is_found():
    engine = Engine()
    engine._client = Volumes(raced={"Labels": {"first": "maker"}})
    assert engine.create_volume("raced", {"second": "maker"}) == {"first": "maker"}


class Vanishing:
    """Answers as Podman 4.3.1 does for a container that is removed while it is looked at."""

    def __init__(self, message):
        self._message = message

    def inspect_container(self, name):
        raise refusal(500, self._message)

    def remove_container(self, name, force, v):
        raise refusal(500, self._message)


def test_a_container_that_is_removed_while_it_is_looked_at_is_missing():
    engine = Engine()
    engine._client = Vanishing("container 4f1e does not exist in database: no such container")
    assert engine.container("4f1e") is None
    engine.remove_container("4f1e")


@pytest.mark.parametrize("message", ["no such file or directory", "database is locked"])
def test_an_engines_own_error_is_not_taken_for_a_missing_container(message):
    engine = Engine()
    engine._client = Vanishing(message)
    with pytest.raises(EngineRefusalError, match=message):
        engine.container("4f1e")
