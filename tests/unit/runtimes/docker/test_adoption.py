"""Servers that adopt one sandbox at once: who comes late does nothing to the successor's."""

from __future__ import annotations

import dataclasses

import pytest

from oneseek_sandbox.clock import SystemClock
from oneseek_sandbox.errors import CreationLostError
from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.runtimes.docker.container_spec import listener_name
from oneseek_sandbox.runtimes.docker.engine import Engine
from oneseek_sandbox.runtimes.docker.image import SandboxImage
from oneseek_sandbox.runtimes.docker.records import (
    LISTENER,
    RECORD,
    ROLE,
    Record,
    Records,
    first_labels,
)
from oneseek_sandbox.runtimes.docker.resources import SandboxResources
from oneseek_sandbox.runtimes.docker.sandboxes import Sandboxes
from oneseek_sandbox.runtimes.runtime import Labels
from oneseek_sandbox.settings import Settings

LABELS = Labels(Thread("default", "adopted"), 1, idle_ms=900_000, sandbox_id="0" * 32, created_ms=5)
NAME = "oneseek-sb-one"
UID = "f" * 64


class OneSandbox(Engine):
    """An engine with one sandbox; `then` is called once, after the step it names."""

    def __init__(self, state):
        super().__init__()
        self.steps = []
        self.then = {}
        labels = first_labels("key", NAME, LABELS)
        mine = labels | {ROLE: "sandbox", RECORD: Record(LABELS, claimed=True).to_json()}
        self._containers = {
            UID: {"Id": UID, "Labels": mine, "State": state},
            listener_name(NAME): {
                "Id": "d" * 64,
                "Labels": labels | {ROLE: LISTENER},
                "State": state,
                "Ports": [{"PublicPort": 1234}],
            },
        }
        self._volumes = {}

    def container(self, name):
        return self._containers.get(name)

    def containers(self, *labels):
        return list(self._containers.values())

    def volumes(self, *labels):
        return [{"Labels": have} for have in self._volumes.values()]

    def create_volume(self, name, labels):
        made = self._volumes.setdefault(name, labels)
        self._did("write")
        return made

    def kill(self, container):
        self._containers[container]["State"] = "exited"
        self._did("kill listener" if container != UID else "kill")

    def start(self, container):
        self._containers[container]["State"] = "running"
        self._did("start")

    def is_running(self):
        return {c["State"] for c in self._containers.values()} == {"running"}

    def _did(self, step):
        self.steps.append(step)
        if then := self.then.pop(step, None):
            then()


@pytest.fixture
def new_server():
    """Return a function that makes a server's sandboxes on an engine."""
    made = []

    def new(engine):
        settings = Settings()
        image = SandboxImage(settings, engine, SystemClock())
        resources = SandboxResources(settings, engine, image, key_id="key")
        made.append(resources)
        records = Records(engine, "key")
        return Sandboxes(settings, engine, resources, records, key_id="key", clock=SystemClock())

    yield new
    for resources in made:
        resources.close()


def adopted_by_another(engine, server):
    """Let another acquire adopt the sandbox to the end; what it did is forgotten."""
    (seen,) = server.find(LABELS.thread)
    server.adopt(seen, dataclasses.replace(LABELS, generation=3))
    assert engine.is_running()
    engine.steps.clear()


def test_a_stopped_sandbox_is_started_by_who_adopts_it(new_server):
    engine = OneSandbox("exited")
    server = new_server(engine)
    (seen,) = server.find(LABELS.thread)
    adopted = server.adopt(seen, dataclasses.replace(LABELS, generation=2))
    assert (adopted.labels.generation, adopted.restarted) == (2, True)
    assert engine.is_running()


@pytest.mark.parametrize("step", ["write", "kill listener", "kill"])
def test_a_late_adopter_neither_kills_nor_starts_its_successors_sandbox(new_server, step):
    engine = OneSandbox("exited")
    late, other = new_server(engine), new_server(engine)
    (seen,) = late.find(LABELS.thread)
    engine.then[step] = lambda: adopted_by_another(engine, other)
    with pytest.raises(CreationLostError, match="took this sandbox over"):
        late.adopt(seen, dataclasses.replace(LABELS, generation=2))
    assert engine.steps == []
    assert engine.is_running()


@pytest.mark.parametrize(("state", "step"), [("running", "write"), ("exited", "start")])
def test_a_late_adopter_is_not_given_its_successors_sandbox(new_server, state, step):
    engine = OneSandbox(state)
    late, other = new_server(engine), new_server(engine)
    (seen,) = late.find(LABELS.thread)
    engine.then[step] = lambda: adopted_by_another(engine, other)
    with pytest.raises(CreationLostError, match="took this sandbox over"):
        late.adopt(seen, dataclasses.replace(LABELS, generation=2))
