"""Bad input: a 4xx with a stable code, a message that names the field, and nothing changed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from oneseek_sandbox.testing.verbs.calls import Sandbox, VerbsFixtures

if TYPE_CHECKING:
    import httpx

__all__ = ["RefusalsContract"]

_WRONG_FIELDS: list[tuple[str, dict[str, Any], str]] = [
    ("acquire", {}, "thread_id"),
    ("acquire", {"thread_id": ""}, "thread_id"),
    ("acquire", {"thread_id": 5}, "thread_id"),
    ("acquire", {"thread_id": "a\nb"}, "thread_id"),
    ("acquire", {"thread_id": "a\0b"}, "thread_id"),
    ("acquire", {"thread_id": "x" * 257}, "thread_id"),
    ("acquire", {"thread": "x"}, "thread_id"),
    ("acquire", {"thread_id": "x", "idle_timeout_seconds": "60"}, "idle_timeout_seconds"),
    ("acquire", {"thread_id": "x", "idle_timeout_seconds": 0}, "idle_timeout_seconds"),
    ("acquire", {"thread_id": "x", "idle_timeout_seconds": 10**9}, "idle_timeout_seconds"),
    ("acquire", {"thread_id": "x", "idle_timeout_seconds": True}, "idle_timeout_seconds"),
    ("execute", {"command": "true"}, "sandbox_id or by thread_id"),
    ("execute", {"thread_id": "x", "sandbox_id": "0" * 32, "command": "true"}, "one of the two"),
    ("execute", {"sandbox_id": "nonsense", "command": "true"}, "sandbox_id"),
    ("execute", {"thread_id": "x"}, "command"),
    ("execute", {"thread_id": "x", "command": ""}, "command"),
    ("execute", {"thread_id": "x", "command": []}, "command"),
    ("execute", {"thread_id": "x", "command": ["a", 1]}, "command"),
    ("execute", {"thread_id": "x", "command": "a\0b"}, "command"),
    ("execute", {"thread_id": "x", "command": "true", "cancel": "r"}, "cancel"),
    ("execute", {"thread_id": "x", "command": "true", "timeout_seconds": -1}, "timeout_seconds"),
    ("execute", {"thread_id": "x", "command": "true", "timeout_seconds": 1e9}, "timeout_seconds"),
    ("execute", {"thread_id": "x", "command": "true", "max_output_bytes": 0}, "max_output_bytes"),
    (
        "execute",
        {"thread_id": "x", "command": "true", "max_output_bytes": 10**12},
        "max_output_bytes",
    ),
    ("execute", {"thread_id": "x", "command": "true", "env": {"A=B": "x"}}, "env"),
    ("execute", {"thread_id": "x", "command": "true", "env": {"A": 1}}, "env"),
    ("execute", {"thread_id": "x", "command": "true", "timeout": 5}, "timeout_seconds"),
    ("ls", {"thread_id": "x", "depth": 0}, "depth"),
    ("ls", {"thread_id": "x", "limit": 10**6}, "limit"),
    ("read_file", {"thread_id": "x"}, "path"),
    ("read_file", {"thread_id": "x", "path": "/workspace/a\0b"}, "path"),
    ("read_file", {"thread_id": "x", "path": "/workspace/a", "start_line": 0}, "start_line"),
    ("read_file", {"thread_id": "x", "path": "/a", "start_line": 3, "end_line": 2}, "end_line"),
    ("read_file", {"thread_id": "x", "path": "/a", "start_line": 3, "offset": 2}, "offset"),
    ("read_file", {"thread_id": "x", "path": "/workspace/a", "limit": 10**12}, "limit"),
    ("write_file", {"thread_id": "x", "path": "/a"}, "content: is required"),
    ("write_file", {"thread_id": "x", "path": "/a", "content": 5}, "content"),
    ("write_file", {"thread_id": "x", "path": "/a", "mode": "999"}, "mode"),
    ("write_file", {"thread_id": "x", "path": "/a", "encoding": "latin-1"}, "encoding"),
    ("write_file", {"thread_id": "x", "path": "/a", "if_sha256": "beef"}, "if_sha256"),
    ("replace", {"thread_id": "x", "path": "/a", "old": "", "new": "b"}, "old"),
    ("release", {}, "thread_id"),
    ("release", {"thread_id": "x", "force": True}, "force"),
]

_WRONG_BODIES = [
    b"",
    b"{",
    b"[]",
    b'"text"',
    b"null",
    b"{'thread_id': 'x'}",
    b'{"thread_id": "x", "thread_id": "y"}',
    b'{"thread_id": NaN}',
    b'{"thread_id": "\xff"}',
    b'{"thread_id": "\\ud800"}',
    b"[" * 100_000,
    b'{"thread_id": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    b'{"a":' * 50 + b"1" + b"}" * 50,
    b'{"thread_id": ' + b"9" * 10_000 + b"}",
]


class RefusalsContract(VerbsFixtures):
    """What bad requests get."""

    @pytest.mark.parametrize(("verb", "fields", "named"), _WRONG_FIELDS)
    async def test_a_wrong_field_is_named(
        self, client: httpx.AsyncClient, verb: str, fields: dict[str, Any], named: str
    ) -> None:
        response = await client.post(f"/v1/sandbox/{verb}", json=fields)
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (400, "invalid_request"), response.text
        assert named in error["message"]
        assert error["retryable"] is False

    @pytest.mark.parametrize("body", _WRONG_BODIES, ids=lambda body: repr(body[:24]))
    async def test_a_body_that_is_no_request_is_refused(
        self, client: httpx.AsyncClient, body: bytes
    ) -> None:
        response = await client.post(
            "/v1/sandbox/acquire", content=body, headers={"content-type": "application/json"}
        )
        assert response.status_code == 400, response.text
        assert response.json()["error"]["code"] == "invalid_request"

    async def test_a_huge_body_is_refused(self, client: httpx.AsyncClient) -> None:
        content = json.dumps({"thread_id": "x" * 40_000_000})
        response = await client.post(
            "/v1/sandbox/acquire",
            content=content,
            headers={"content-type": "application/json"},
        )
        assert response.status_code == 413
        assert response.json()["error"]["code"] == "request_too_large"

    @pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
    async def test_another_content_type_is_refused(
        self, client: httpx.AsyncClient, kind: str
    ) -> None:
        response = await client.post(
            "/v1/sandbox/acquire", content=b'{"thread_id":"x"}', headers={"content-type": kind}
        )
        assert response.status_code == 415
        assert response.json()["error"]["code"] == "unsupported_media_type"

    @pytest.mark.essential
    async def test_an_unknown_verb_names_the_known_ones(self, client: httpx.AsyncClient) -> None:
        response = await client.post("/v1/sandbox/destroy", json={})
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "unknown_verb"
        assert "release" in response.json()["error"]["message"]

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
    async def test_another_method_is_refused(self, client: httpx.AsyncClient, method: str) -> None:
        response = await client.request(method, "/v1/sandbox/execute")
        assert response.status_code == 405
        assert response.json()["error"]["code"] == "method_not_allowed"

    @pytest.mark.parametrize("key", ["", "Bearer", "Bearer wrong", "Basic abc", "wrong"])
    async def test_without_the_key_every_verb_is_closed(
        self, client: httpx.AsyncClient, key: str
    ) -> None:
        for verb in ("acquire", "execute", "ls", "read_file", "write_file", "replace"):
            await self._closed(client, verb, key)
        for verb in ("release", "cleanup_idle"):
            await self._closed(client, verb, key)

    async def _closed(self, client: httpx.AsyncClient, verb: str, key: str) -> None:
        response = await client.post(
            f"/v1/sandbox/{verb}", json={"thread_id": "x"}, headers={"authorization": key}
        )
        assert response.status_code == 401, (verb, response.text)
        assert response.json()["error"]["code"] == "unauthenticated"
        assert response.headers["www-authenticate"].startswith("Bearer")

    async def test_the_trace_id_of_the_caller_comes_back(self, client: httpx.AsyncClient) -> None:
        trace = "0af7651916cd43dd8448eb211c80319c"
        response = await client.post(
            "/v1/sandbox/acquire",
            json={},
            headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"},
        )
        assert response.json()["error"]["trace_id"] == trace

    @pytest.mark.essential
    async def test_a_refused_write_changes_nothing(self, sandbox: Sandbox) -> None:
        await sandbox.write("/workspace/kept", "kept")
        for fields in (
            {"content": "%%%", "encoding": "base64"},
            {"content": "x", "nonsense": 1},
            {"content": "x", "mode": "8"},
        ):
            await sandbox.refused(
                "write_file", status=400, code="invalid_request", path="/workspace/kept", **fields
            )
        assert (await sandbox.read("/workspace/kept"))["content"] == "kept"
