"""Calls to the engine: the `docker` package, with its failures as ours.

The calls block; `DockerRuntime` makes them in threads.
"""

from __future__ import annotations

import contextlib
import re
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from oneseek_sandbox.errors import ConfigurationError, RuntimeUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Engine", "EngineRefusalError", "Resource"]

Resource = dict[str, Any]
"""A container, image, volume or network as JSON."""

_ANSWER_SECONDS: Final = 60.0
_NOT_FOUND: Final = 404
_SERVER_ERROR: Final = 500
_NO_SUCH: Final = re.compile(r"\bno such (container|volume|network|image)\b", re.IGNORECASE)
_NEAR: Final = ("", "localhost", "127.0.0.1", "::1")


class EngineRefusalError(Exception):
    """Raised when the engine says no; what it means is for the caller to know.

    Attributes:
        status: The HTTP status. Engines return 500 for many errors that are not their own.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message

    @property
    def is_missing(self) -> bool:
        """Whether there is no such thing.

        Podman answers 500 for what is removed while it looks (seen with 4.3.1: 30 of 83 inspections).
        """
        said_so = self.status == _SERVER_ERROR and _NO_SUCH.search(self.message) is not None
        return said_so or self.status == _NOT_FOUND


class Engine:
    """One engine: DOCKER_HOST's, else the one of the docker command line's current context.

    Args:
        answer_seconds: How long one answer may take.
    """

    def __init__(self, *, answer_seconds: float = _ANSWER_SECONDS) -> None:
        self._answer_seconds = answer_seconds
        self._opening = threading.Lock()
        self._client: Any = None
        self.is_podman = False

    def open(self) -> None:
        """Find the engine and see that it answers.

        Raises:
            ConfigurationError: The `docker` package is missing, or the engine is another machine's.
            RuntimeUnavailableError: It does not answer.
        """
        with _failures():
            version = self._api.version()
        components = version.get("Components") or []
        self.is_podman = any("podman" in str(c.get("Name", "")).lower() for c in components)

    def close(self) -> None:
        """Close the pooled connections."""
        with self._opening:
            if self._client is not None:
                self._client.close()
                self._client = None

    def container(self, name: str) -> Resource | None:
        """Return a container by id or name; None when there is none."""
        with _none_if_missing(), _failures():
            found: Resource = self._api.inspect_container(name)
            return found
        return None

    def containers(self, *labels: str) -> list[Resource]:
        """Return the containers with all these labels, the stopped ones too."""
        with _failures():
            found = self._api.containers(all=True, filters={"label": list(labels)})
        return _with(labels, found)

    def create_container(self, name: str, config: Resource) -> str:
        """Create a container and return its id."""
        with _failures():
            return str(self._api.create_container_from_config(config, name)["Id"])

    def start(self, container: str) -> None:
        """Start a container; one that runs stays as it is."""
        with _failures():
            self._api.start(container)

    def kill(self, container: str) -> None:
        """Kill a container's processes; one that does not run is left as it is."""
        with contextlib.suppress(EngineRefusalError), _failures():
            self._api.kill(container)

    def remove_container(self, container: str) -> None:
        """Kill and remove a container; one that is gone is no error."""
        with _none_if_missing(), _failures():
            self._api.remove_container(container, force=True, v=True)

    def put(self, container: str, path: str, archive: bytes) -> None:
        """Unpack a tar archive in a container."""
        with _failures():
            self._api.put_archive(container, path, archive)

    def log_tail(self, container: str) -> str:
        """Return the last lines that a container's first process wrote; empty when unknown."""
        with contextlib.suppress(EngineRefusalError), _failures():
            lines: bytes = self._api.logs(container, tail=3)
            return "; ".join(lines.decode(errors="replace")[-1000:].split("\n")).strip("; ")
        return ""

    def execute(self, container: str, command: list[str], user: str) -> tuple[bytes, bytes]:
        """Run a command in a container and return its stdout and stderr."""
        with _failures():
            made = self._api.exec_create(container, command, user=user)
            stdout, stderr = self._api.exec_start(made["Id"], demux=True)
            return stdout or b"", stderr or b""

    def image(self, name: str) -> Resource | None:
        """Return an image; None when the engine does not have it."""
        with _none_if_missing(), _failures():
            found: Resource = self._api.inspect_image(name)
            return found
        return None

    def pull(self, name: str) -> None:
        """Fetch an image from its registry.

        Raises:
            EngineRefusalError: It is not available.
        """
        with _failures():
            # Failures come in the middle of the progress, under the status 200.
            for event in self._api.pull(name, stream=True, decode=True):
                if event.get("error"):
                    raise EngineRefusalError(_SERVER_ERROR, str(event["error"]))

    def commit(self, container: str, tag: str) -> None:
        """Make an image of a container's files."""
        repository, _, version = tag.rpartition(":")
        with _failures():
            self._api.commit(container, repository, version)

    def image_names(self) -> list[str]:
        """Return the names of all images, as the engine writes them."""
        with _failures():
            return [name for image in self._api.images() for name in image.get("RepoTags") or []]

    def remove_image(self, name: str) -> None:
        """Remove an image's name, unless a container stands on it."""
        with contextlib.suppress(EngineRefusalError), _failures():
            self._api.remove_image(name)

    def create_volume(self, name: str, labels: dict[str, str]) -> dict[str, str]:
        """Create a volume, or find the one of this name, and return its labels: the first maker's.

        Raises:
            EngineRefusalError: There is none, for the reason that the engine gave at first.
        """
        try:
            with _failures():
                made = self._api.create_volume(name, "local", labels=labels)
        except EngineRefusalError as refused:
            # Podman refuses the second of two who create at the same moment.
            made = None
            with _none_if_missing(), _failures():
                made = self._api.inspect_volume(name)
            if made is None:
                raise refused from refused.__cause__
        found: dict[str, str] = made.get("Labels") or {}
        return found

    def volumes(self, *labels: str) -> list[Resource]:
        """Return the volumes with all these labels."""
        with _failures():
            answer = self._api.volumes(filters={"label": list(labels)})
        return _with(labels, answer.get("Volumes") or [])

    def remove_volume(self, name: str) -> None:
        """Remove a volume; one that is gone is no error."""
        with _none_if_missing(), _failures():
            self._api.remove_volume(name)

    def create_network(self, name: str, labels: dict[str, str]) -> None:
        """Create a bridge network that leads out, and to no other network of the engine."""
        with _failures():
            # `isolate` is Podman's word; Docker's bridges are apart without being told.
            options = {"isolate": "true"} if self.is_podman else None
            self._api.create_network(
                name, driver="bridge", options=options, labels=labels, check_duplicate=True
            )

    def networks(self, *labels: str) -> list[Resource]:
        """Return the networks with all these labels."""
        with _failures():
            found = self._api.networks(filters={"label": list(labels)})
        return _with(labels, found)

    def remove_network(self, name: str) -> None:
        """Remove a network; one that is gone is no error."""
        with _none_if_missing(), _failures():
            self._api.remove_network(name)

    @property
    def _api(self) -> Any:  # noqa: ANN401 - the package has no types
        with self._opening:
            if self._client is None:
                self._client = _client(self._answer_seconds)
        return self._client


def _with(labels: tuple[str, ...], found: list[Resource]) -> list[Resource]:
    """Keep what has all the labels: some versions of Podman send what has any of them."""
    wanted = dict(label.split("=", 1) for label in labels)
    return [item for item in found if wanted.items() <= (item.get("Labels") or {}).items()]


def _client(answer_seconds: float) -> Any:  # noqa: ANN401 - the package has no types
    docker = _package()
    with _failures():
        arguments = docker.utils.kwargs_from_env()
        if "base_url" not in arguments:
            context = docker.ContextAPI.get_current_context()
            if context is not None and context.Host:
                arguments = {"base_url": context.Host, "tls": context.TLSConfig or False}
        _refuse_remote(str(arguments.get("base_url", "")))
        return docker.APIClient(version="auto", timeout=answer_seconds, **arguments)


def _package() -> Any:  # noqa: ANN401 - it has no types
    """Import the package here, so that nobody else needs it."""
    try:
        import docker
    except ImportError:
        raise ConfigurationError(
            "PROVISIONER_RUNTIME is docker, and that needs the package `docker`, which is not "
            "installed: pip install 'oneseek-sandbox[docker]' (in a checkout: make run EXTRAS=docker)"
        ) from None
    return docker


def _refuse_remote(address: str) -> None:
    parts = urlsplit(address)
    if parts.scheme in ("ssh", "tcp", "http", "https") and (parts.hostname or "") not in _NEAR:
        raise ConfigurationError(
            f"The Docker engine at {address} is another machine's. Sandboxes are reached on "
            "127.0.0.1 where the engine is, so run the server there, or use an engine here "
            "(DOCKER_HOST)."
        )


@contextmanager
def _none_if_missing() -> Iterator[None]:
    try:
        yield
    except EngineRefusalError as error:
        if not error.is_missing:
            raise


@contextmanager
def _failures() -> Iterator[None]:
    """Tell refusals, which a caller may understand, from an engine that does not answer."""
    errors = _package().errors
    from requests.exceptions import RequestException

    try:
        yield
    except errors.APIError as error:
        status = error.status_code or _SERVER_ERROR
        raise EngineRefusalError(status, str(error.explanation or error)) from error
    except (errors.DockerException, RequestException, OSError) as error:
        raise RuntimeUnavailableError(
            f"The Docker engine is not available ({error}). Start it, or set DOCKER_HOST to its "
            "socket."
        ) from error
