"""Bodies over a limit are refused with advice that can be followed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from starlette.requests import Request

from oneseek_sandbox.errors import RequestTooLargeError
from oneseek_sandbox.http import verbs
from oneseek_sandbox.http.call import Call


class Provisioner:
    """Reads what is to be written, and no more."""

    async def write_stream(self, target, caller, body):
        async for _ in body:
            pass
        raise AssertionError("the body is over the limit")


@pytest.mark.finding(17)
@pytest.mark.parametrize("announced", [True, False])
async def test_a_stream_over_the_limit_is_not_told_to_be_a_stream(announced):
    async def receive():
        return {"type": "http.request", "body": b"x" * 2000, "more_body": True}

    headers = [(b"content-type", b"application/octet-stream")]
    headers += [(b"content-length", b"99999999")] if announced else []
    scope = {"type": "http", "method": "POST", "headers": headers}
    scope["query_string"] = b"thread_id=t&path=/workspace/f"
    settings = SimpleNamespace(max_file_bytes=1024)
    operation = SimpleNamespace(note=lambda request: None)
    call = Call(Request(scope, receive), None, Provisioner(), settings, None, operation)
    with pytest.raises(RequestTooLargeError) as refused:
        await verbs.write_file(call)
    assert "append=true" in refused.value.message
    assert "octet-stream" not in refused.value.message
