"""An engine that is not there, or is another machine's."""

from __future__ import annotations

import gc
import socket
import sys
import warnings

import pytest

from oneseek_sandbox.errors import ConfigurationError, RuntimeUnavailableError
from oneseek_sandbox.runtimes.docker.engine import Engine


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
        with pytest.raises(RuntimeUnavailableError, match="does not answer"):
            Engine(answer_seconds=0.1).open()


@pytest.mark.parametrize("address", ["tcp://192.0.2.1:2375", "ssh://somebody@example.com"])
def test_an_engine_afar_is_refused(monkeypatch, address):
    monkeypatch.setenv("DOCKER_HOST", address)
    with pytest.raises(ConfigurationError, match="another machine's"):
        Engine().open()
