"""Calls to the API server: who we are by the `kubernetes` package, objects as plain JSON.

The package's generated models triple the start of a function; its configuration (kubeconfig,
service account, exec plugins, rotating tokens) is what nobody should write again.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import httpx

from oneseek_sandbox.errors import ConfigurationError, RuntimeUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from kubernetes.client.configuration import Configuration

    from oneseek_sandbox.settings import Settings

__all__ = ["ApiRefusalError", "KubernetesApi", "Resource"]

Resource = dict[str, Any]
"""A Kubernetes object as JSON."""

_SECONDS: Final = 10.0
_ANSWER_SECONDS: Final = 70.0
_PAGE: Final = 500
_OUTRUN: Final = (
    httpx.codes.NOT_FOUND,
    httpx.codes.CONFLICT,
    httpx.codes.UNPROCESSABLE_ENTITY,
)
_CONNECTIONS: Final = 128
_IDLE_SECONDS: Final = 60.0  # an API server keeps an idle connection for 90 s
_JSON_PATCH: Final = "application/json-patch+json"
_MERGE_PATCH: Final = "application/merge-patch+json"
_APPLY_PATCH: Final = "application/apply-patch+yaml"


class ApiRefusalError(Exception):
    """Raised when the API server says no; what it means is for the caller to know.

    Attributes:
        status: The HTTP status.
        reason: Kubernetes's own word for it, like `AlreadyExists`.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message

    @property
    def is_outrun(self) -> bool:
        """Whether the object of a patch is gone, or not any more as the patch tests it."""
        return self.status in _OUTRUN

    def is_missing(self, name: str) -> bool:
        """Return whether the API server itself says that there is no object of this name.

        A 404 of what stands in front of it, or of a path that it does not know, proves nothing.
        """
        found_none = self.status == httpx.codes.NOT_FOUND and self.reason == "NotFound"
        return found_none and f'"{name}" not found' in self.message


class KubernetesApi:
    """One cluster.

    Args:
        context: The kubeconfig's context; empty for the pod's own service account, or the
            kubeconfig's current context outside a cluster.
    """

    def __init__(self, context: str = "") -> None:
        self._context = context
        self._opening = asyncio.Lock()
        self._http: httpx.AsyncClient | None = None
        self._configuration: Configuration | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> KubernetesApi:
        """Return the cluster that KUBECTL_CONTEXT names."""
        return cls(settings.kubectl_context)

    async def close(self) -> None:
        """Close the pooled connections."""
        if self._http is not None:
            await self._http.aclose()
            self._http = None

    async def get(self, path: str, **query: str | int) -> Resource:
        """Read an object, or a list in one answer."""
        return await self._json("GET", path, query=query)

    async def items(self, path: str, **query: str | int) -> list[Resource]:
        """Read a list of any length, page by page."""
        found: list[Resource] = []
        tokens = [""]
        while True:
            more = {"continue": tokens[-1]} if tokens[-1] else {}
            page = await self.get(path, limit=_PAGE, **{**query, **more})
            items, metadata = page.get("items"), page.get("metadata")
            if not isinstance(items, list) or not isinstance(metadata, dict):
                raise _unreadable("a list")
            if not all(isinstance(item, dict) for item in items):
                raise _unreadable("a list of objects")
            found += items
            token = metadata.get("continue") or ""
            if not token:
                return found
            if not isinstance(token, str) or token in tokens:
                raise _unreadable("a list")
            tokens.append(token)

    async def create(
        self, path: str, body: Resource, *, headers: dict[str, str] | None = None, **query: str
    ) -> Resource:
        """Create an object."""
        return await self._json("POST", path, body, query=query, headers=headers)

    async def patch(self, path: str, operations: list[Resource]) -> Resource:
        """Apply a JSON patch: all of it, or, when a `test` in it fails, nothing."""
        return await self._json("PATCH", path, operations, content_type=_JSON_PATCH)

    async def merge(self, path: str, body: Resource, *, manager: str) -> Resource:
        """Apply a merge patch."""
        query = {"fieldManager": manager}
        return await self._json("PATCH", path, body, query=query, content_type=_MERGE_PATCH)

    async def apply(self, path: str, body: Resource, *, manager: str) -> Resource:
        """Apply on the server's side: the fields given become so and stay the manager's."""
        query = {"fieldManager": manager, "force": "true"}
        return await self._json("PATCH", path, body, query=query, content_type=_APPLY_PATCH)

    async def delete(self, path: str, body: Resource | None = None) -> Resource:
        """Delete an object; `body` are DeleteOptions."""
        return await self._json("DELETE", path, body)

    async def watch(
        self, path: str, *, seconds: float, **query: str
    ) -> AsyncIterator[tuple[str, Resource]]:
        """Yield `(type, object)` as they change; ends by itself after at most `seconds`."""
        query = {**query, "watch": "1", "timeoutSeconds": str(max(1, round(seconds)))}
        http = await self._client()
        timeout = httpx.Timeout(_SECONDS, read=seconds + 1)
        with _failures():
            async with http.stream(
                "GET", path, params=query, headers=await self._headers(), timeout=timeout
            ) as response:
                if response.is_error:
                    raise _refusal(response.status_code, await response.aread())
                async for line in response.aiter_lines():
                    event = _parsed(line)
                    changed = event.get("object")
                    if not isinstance(changed, dict):
                        raise _unreadable("an event")
                    yield str(event.get("type")), changed

    async def _json(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: dict[str, Any] | None = None,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
    ) -> Resource:
        http = await self._client()
        headers = {**(headers or {}), **await self._headers()}
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            headers["content-type"] = content_type
        with _failures():
            response = await http.request(
                method, path, params=query or None, content=content, headers=headers
            )
            if response.is_error:
                raise _refusal(response.status_code, response.content)
            return _parsed(response.content)

    async def _headers(self) -> dict[str, str]:
        assert self._configuration is not None, "_client() comes first"  # noqa: S101
        # May run an exec plugin of the kubeconfig, or read a rotated token.
        token = await asyncio.to_thread(
            self._configuration.get_api_key_with_prefix, "BearerToken", "authorization"
        )
        return {"authorization": token} if token else {}

    async def _client(self) -> httpx.AsyncClient:
        async with self._opening:
            if self._http is None:
                self._configuration = await asyncio.to_thread(_configuration, self._context)
                self._http = httpx.AsyncClient(
                    base_url=self._configuration.host,
                    verify=_tls(self._configuration),
                    timeout=httpx.Timeout(_SECONDS, read=_ANSWER_SECONDS),
                    # A new connection is a TLS handshake, for which both sides pay more than for a call.
                    limits=httpx.Limits(
                        max_connections=_CONNECTIONS,
                        max_keepalive_connections=_CONNECTIONS,
                        keepalive_expiry=_IDLE_SECONDS,
                    ),
                    proxy=self._configuration.proxy or None,
                    trust_env=False,
                )
        return self._http


def _configuration(context: str) -> Configuration:
    """Return the `kubernetes` package's configuration: host, trust and credentials."""
    from kubernetes import config
    from kubernetes.client.configuration import Configuration

    loaded = Configuration()
    try:
        if context:
            config.load_kube_config(context=context, client_configuration=loaded)  # type: ignore[no-untyped-call]
        else:
            config.load_config(client_configuration=loaded)  # type: ignore[no-untyped-call]
    except (config.ConfigException, OSError) as error:
        raise ConfigurationError(
            f"No cluster is configured: {error}. Outside a cluster, set KUBECONFIG, and "
            "PROVISIONER_KUBECTL_CONTEXT to one of 'kubectl config get-contexts'."
        ) from error
    return loaded


def _tls(configuration: Configuration) -> ssl.SSLContext | bool:
    if not configuration.host.startswith("https:"):
        return False
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    # Python 3.13 refuses authorities without a key usage, which many a cluster's own one lacks.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    if not configuration.verify_ssl:  # the kubeconfig says insecure-skip-tls-verify
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise RuntimeUnavailableError(
            f"The Kubernetes API server is not available ({reason}). Try again."
        ) from error


def _parsed(content: str | bytes) -> Resource:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise _unreadable("an object")
    return value


def _unreadable(wanted: str) -> RuntimeUnavailableError:
    return RuntimeUnavailableError(
        f"The Kubernetes API server's answer cannot be understood as {wanted}. Try again; if this "
        "persists, look at what stands between this server and the cluster."
    )


def _refusal(status: int, content: bytes) -> Exception:
    """Return what a refusal means; only those that pass by themselves are ours to explain."""
    try:
        answer = json.loads(content)
        reason, message = str(answer.get("reason", "")), str(answer.get("message", ""))
    except (ValueError, AttributeError, RecursionError):
        reason, message = "", content[:200].decode(errors="replace")
    if status == httpx.codes.UNAUTHORIZED:
        return RuntimeUnavailableError(
            "The Kubernetes API server does not accept this server's credentials. Check the service account, "
            "or KUBECONFIG and PROVISIONER_KUBECTL_CONTEXT."
        )
    if status >= httpx.codes.INTERNAL_SERVER_ERROR or status == httpx.codes.TOO_MANY_REQUESTS:
        return RuntimeUnavailableError(
            f"The Kubernetes API server cannot answer now ({status}: {message}). Try again."
        )
    return ApiRefusalError(status, reason, message)
