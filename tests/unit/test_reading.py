"""Bodies over a limit are refused with advice that can be followed; queries are read as typed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from starlette.requests import Request

from oneseek_sandbox import models
from oneseek_sandbox.errors import InvalidRequestError, RequestTooLargeError
from oneseek_sandbox.http import verbs
from oneseek_sandbox.http.call import Call
from oneseek_sandbox.http.reading import read_query


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


def queried(text, model):
    scope = {"type": "http", "method": "POST", "headers": [], "query_string": text.encode()}
    return read_query(Request(scope), model)


def test_a_query_is_read_as_its_fields_want_it():
    target = queried("thread_id=123&path=/true&append=true&sync=false", models.WriteFileTarget)
    assert (target.thread_id, target.path) == ("123", "/true")
    assert (target.append, target.create_only, target.sync) == (True, False, False)
    listing = queried("thread_id=123&depth=3&limit=10", models.LsRequest)
    assert (listing.depth, listing.limit) == (3, 10)


@pytest.mark.parametrize("spelling", ["1", "yes", "on", "True", "", "2", "null"])
def test_a_boolean_of_a_query_is_spelt_as_in_json(spelling):
    with pytest.raises(InvalidRequestError, match="append: "):
        queried(f"thread_id=t&path=/x&append={spelling}", models.WriteFileTarget)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("appendd=true", "did you mean 'append'"),
        ("path=/y", "path: given twice"),
        ("mode=9", "mode"),
    ],
)
def test_what_is_wrong_in_a_query_is_named(text, told):
    with pytest.raises(InvalidRequestError, match=told):
        queried(f"thread_id=t&path=/x&{text}", models.WriteFileTarget)
