"""The container that an image is made of, and what becomes of it when its server dies."""

from __future__ import annotations

import pytest

from oneseek_sandbox.runtimes.docker.engine import Engine, EngineRefusalError
from oneseek_sandbox.runtimes.docker.image import SandboxImage
from oneseek_sandbox.settings import Settings

ELEVEN_MINUTES = 660_000


class Clock:
    def __init__(self):
        self.ms = 1_800_000_000_000

    def now_ms(self):
        return self.ms


class OneImage(Engine):
    """An engine that has SANDBOX_IMAGE; its containers are names with a configuration."""

    def __init__(self, *, slash="/"):
        super().__init__()
        self.made = {}
        self.committed = []
        self.is_dying = False
        self.is_refusing = False
        self._slash = slash

    def image(self, name):
        return {"Id": "sha256:0"} if name == Settings().sandbox_image else None

    def image_names(self):
        return []

    def create_container(self, name, config):
        self.made[name] = config
        return name

    def put(self, container, path, archive):
        pass

    def commit(self, container, tag):
        if self.is_dying:
            raise SystemExit
        self.committed.append(self.made[container].get("Labels") or {})

    def containers(self, *labels):
        listed = [*self.made, "oneseek-sandbox-layered", "oneseek-sandbox-layer-mine-0"]
        return [{"Id": name, "Names": [self._slash + name]} for name in listed]

    def remove_container(self, container):
        if self.is_dying:
            return
        if self.is_refusing:
            raise EngineRefusalError(409, "removal is already in progress")
        del self.made[container]


@pytest.fixture
def clock():
    return Clock()


def left_by_a_dead_server(engine, clock):
    engine.is_dying = True
    with pytest.raises(SystemExit):
        SandboxImage(Settings(), engine, clock).name()
    engine.is_dying = False
    assert len(engine.made) == 1


def test_an_image_has_no_labels_of_the_container_it_was_made_of(clock):
    engine = OneImage()
    SandboxImage(Settings(), engine, clock).name()
    assert engine.committed == [{}]
    assert engine.made == {}


@pytest.mark.parametrize("slash", ["/", ""], ids=["docker", "podman"])
def test_what_a_dead_server_left_of_making_an_image_is_removed_when_it_is_old(clock, slash):
    engine = OneImage(slash=slash)
    left_by_a_dead_server(engine, clock)
    image = SandboxImage(Settings(), engine, clock)
    image.remove_old()
    assert len(engine.made) == 1, "what is young may be in the making"
    clock.ms += ELEVEN_MINUTES
    image.remove_old()
    assert engine.made == {}


def test_what_another_server_is_removing_is_left_to_it(clock):
    engine = OneImage()
    left_by_a_dead_server(engine, clock)
    clock.ms += ELEVEN_MINUTES
    engine.is_refusing = True
    SandboxImage(Settings(), engine, clock).remove_old()
    assert len(engine.made) == 1
