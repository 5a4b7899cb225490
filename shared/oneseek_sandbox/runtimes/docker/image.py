"""The image of sandboxes: SANDBOX_IMAGE with a thin layer of ours on top, made once per engine.

A container is created from it, filled and committed; nothing of it ever runs, and nothing is built.
So the root file system can be read-only, remote engines need no folder of this machine, and a new
workspace volume gets its owner from the layer, which only root could give it otherwise.
"""

from __future__ import annotations

import hashlib
import io
import logging
import re
import secrets
import tarfile
import threading
from typing import TYPE_CHECKING, Final

from oneseek_sandbox.errors import SandboxStartError
from oneseek_sandbox.runtimes.docker.container_spec import (
    CODE,
    SOCKET_FOLDER,
    USER,
    programs,
)
from oneseek_sandbox.runtimes.docker.engine import EngineRefusalError
from oneseek_sandbox.runtimes.docker.leftovers import LEFTOVER_MS

if TYPE_CHECKING:
    from oneseek_sandbox.clock import Clock
    from oneseek_sandbox.runtimes.docker.engine import Engine, Resource
    from oneseek_sandbox.settings import Settings

__all__ = ["SandboxImage"]

log = logging.getLogger(__name__)

_REPOSITORY: Final = "oneseek-sandbox-layer"
# In the name and not in labels: those would go into the image, and no engine takes them away again.
_CONTAINER: Final = re.compile(rf"/?{_REPOSITORY}-(?P<ms>\d{{13,}})-[0-9a-f]+")
_FOLDER_MODE: Final = 0o755
# Root and the user of the listener container both write there; the sandbox sees it read-only.
_SOCKET_MODE: Final = 0o777


class SandboxImage:
    """Finds or makes the image that these settings and this version ask for."""

    def __init__(self, settings: Settings, engine: Engine, clock: Clock) -> None:
        self._base = settings.sandbox_image
        self._engine = engine
        self._clock = clock
        self._archive = _archive(settings.workspace_dir)
        self._making = threading.Lock()
        self._known = ""

    def name(self, *, again: bool = False) -> str:
        """Return the image's name, after making it if it is not there.

        Args:
            again: The engine said that it is missing; look anew.

        Raises:
            SandboxStartError: The image is not available.
        """
        with self._making:
            if again or not self._known:
                self._known = self._made(self._base_image())
            return self._known

    def remove_old(self) -> None:
        """Remove images of other versions that no container stands on, and containers for one."""
        self._remove_leftovers()
        for name in self._engine.image_names():
            _, _, local = name.rpartition("/")  # Podman puts a registry in front
            if self._known and local != self._known and local.startswith(f"{_REPOSITORY}:"):
                self._engine.remove_image(name)

    def _remove_leftovers(self) -> None:
        """Remove the containers of servers that died while they made an image."""
        latest = self._clock.now_ms() - LEFTOVER_MS
        for container in self._engine.containers():
            for name in container.get("Names") or []:
                made = _CONTAINER.fullmatch(name)
                if made is None or int(made["ms"]) >= latest:
                    continue
                try:
                    self._engine.remove_container(container["Id"])
                except EngineRefusalError as error:
                    log.info("The container %s is not removed yet: %s", name, error.message)

    def _base_image(self) -> Resource:
        if found := self._engine.image(self._base):
            return found
        log.info("The engine does not have the image %s and is asked to pull it", self._base)
        try:
            self._engine.pull(self._base)
            reason = "the engine pulled it but does not have it"
        except EngineRefusalError as error:
            reason = error.message
        if found := self._engine.image(self._base):
            return found
        raise SandboxStartError(
            f"The image {self._base!r} is not available: {reason.strip().rstrip('.')}. Correct "
            "PROVISIONER_SANDBOX_IMAGE, or load the image into the engine (docker load)."
        )

    def _made(self, base: Resource) -> str:
        digest = hashlib.sha256(base["Id"].encode() + self._archive).hexdigest()[:20]
        name = f"{_REPOSITORY}:{digest}"
        if self._engine.image(name) is not None:
            return name
        log.info("Making the image %s from %s", name, self._base)
        maker = f"{_REPOSITORY}-{self._clock.now_ms()}-{secrets.token_hex(4)}"
        try:
            container = self._engine.create_container(maker, {"Image": base["Id"], "Cmd": ["true"]})
            try:
                self._engine.put(container, "/", self._archive)
                self._engine.commit(container, name)
            finally:
                self._engine.remove_container(container)
        except EngineRefusalError as error:
            raise SandboxStartError(
                f"The engine cannot make the sandboxes' image from {self._base!r}: {error.message}"
            ) from error
        return name


def _archive(workspace: str) -> bytes:
    """Return the layer as a tar archive: our programs, and the folders that volumes go to."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for folder, user, mode in (
            (CODE, 0, _FOLDER_MODE),
            (workspace, USER, _FOLDER_MODE),
            (SOCKET_FOLDER, 0, _SOCKET_MODE),
        ):
            entry = tarfile.TarInfo(folder.lstrip("/"))
            entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, mode, user, user
            archive.addfile(entry)
        for name, program in programs().items():
            entry = tarfile.TarInfo(f"{CODE}/{name}".lstrip("/"))
            entry.mode, entry.size = 0o644, len(program)
            archive.addfile(entry, io.BytesIO(program))
    return content.getvalue()
