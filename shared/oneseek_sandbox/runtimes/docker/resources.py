"""The resources of a sandbox on an engine: two containers, two volumes, its records, and a network."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from oneseek_sandbox.runtimes import routes
from oneseek_sandbox.runtimes.docker import container_spec as spec
from oneseek_sandbox.runtimes.docker.engine import EngineRefusalError
from oneseek_sandbox.runtimes.docker.records import (
    HANDOVER,
    LISTENER,
    NAME,
    ROLE,
    first_labels,
)

if TYPE_CHECKING:
    from oneseek_sandbox.runtimes.docker.engine import Engine, Resource
    from oneseek_sandbox.runtimes.docker.image import SandboxImage
    from oneseek_sandbox.runtimes.docker.records import Record
    from oneseek_sandbox.settings import Settings

__all__ = ["SandboxResources"]

log = logging.getLogger(__name__)

_AT_ONCE: Final = 16


class SandboxResources:
    """Makes, starts and removes what a sandbox consists of; knows nothing of who may.

    Args:
        key_id: Written on everything; see `records.KEY_ID`.
    """

    def __init__(
        self, settings: Settings, engine: Engine, image: SandboxImage, *, key_id: str
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._image = image
        self._key_id = key_id
        self._starters = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="docker-start")

    def close(self) -> None:
        """Begin no more starts; those under way belong to calls that were waited for."""
        self._starters.shutdown(wait=False)

    def make(self, name: str, record: Record) -> str:
        """Create all resources, and return the id of the sandbox's container.

        Raises:
            EngineRefusalError: The engine does not; what was made is still there.
            SandboxStartError: The image is not available.
        """
        image = self._image.name()
        try:
            return self._make(name, image, record)
        except EngineRefusalError as error:
            if not error.is_missing:
                raise
        # Somebody removed the image; what was made before that was noticed goes first.
        self.remove(name)
        return self._make(name, self._image.name(again=True), record)

    def start(self, sandbox: str, listener: str) -> None:
        """Start both containers; the sandbox waits for its listener by itself, unless it needs it.

        Raises:
            EngineRefusalError: The engine does not start one of them.
        """
        if self._settings.network == "on":
            self._engine.start(listener)
            self._engine.start(sandbox)
            return
        starting = self._starters.submit(self._engine.start, listener)
        try:
            self._engine.start(sandbox)
        finally:
            starting.exception()
        starting.result()

    def remove(self, name: str) -> bool:
        """Remove all resources of a sandbox but its container, which is removed first; True when done."""
        try:
            for container in (name, spec.listener_name(name)):
                self._engine.remove_container(container)
            # Last, so that whoever finds the container also finds what was written about it.
            for volume in self._engine.volumes(f"{NAME}={name}"):
                self._engine.remove_volume(volume["Name"])
            for network in self._engine.networks(f"{NAME}={name}"):
                self._engine.remove_network(network["Id"])
        except EngineRefusalError as error:
            log.info("Sandbox %s is not removed yet: %s", name, error.message)
            return False
        return True

    def _make(self, name: str, image: str, record: Record) -> str:
        labels = first_labels(self._key_id, name, record.labels)
        self._engine.create_volume(spec.files_name(name), labels | {ROLE: "files"})
        self._engine.create_volume(spec.listener_name(name), labels | {ROLE: HANDOVER})
        listener = self._engine.create_container(
            spec.listener_name(name),
            self._listener(name, image, labels),
        )
        mine = labels | {ROLE: "sandbox", **record.to_labels()}
        shared = listener if self._settings.network == "on" else ""
        config = spec.sandbox_config(self._settings, name, image, mine, listener=shared)
        return self._engine.create_container(name, config)

    def _listener(self, name: str, image: str, labels: dict[str, str]) -> Resource:
        mine = labels | {ROLE: LISTENER}
        if self._settings.network == "off":
            return spec.listener_config(name, image, mine)
        network = spec.network_name(name)
        self._engine.create_network(network, labels | {ROLE: "network"})
        closed = [*routes.CLOSED_RANGES, *routes.own_addresses()]
        messages = routes.close_rules(closed, served_port=spec.PORT)
        return spec.listener_config(name, image, mine, network=network, closing=tuple(messages))
