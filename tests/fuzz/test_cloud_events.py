"""Anything that looks like a CloudEvent to the function `cleanup_idle`: only a whole one starts it."""

from __future__ import annotations

import json
import secrets

import httpx
import pytest
from cloudevents.conversion import to_binary, to_structured
from cloudevents.http import CloudEvent
from hypothesis import given
from hypothesis import strategies as st
from tests.functions.conftest import FunctionProcess
from tests.fuzz.budget import tries
from tests.fuzz.damage import damaged

from oneseek_sandbox.leases.embedded import EmbeddedServer

pytestmark = pytest.mark.faults

EVENT = {
    "specversion": "1.0", "id": "5f1c", "source": "/cronjob", "type": "dev.sandbox.cleanup",
    "time": "2026-11-27T10:00:00Z", "datacontenttype": "application/json",
    "dataschema": "https://example.com/schema", "subject": "s", "extension": "e",
    "data": {"any": ["data", 1, None]},
}  # fmt: skip
NEEDED = ("id", "source", "type")
KINDS = st.sampled_from(
    ["application/cloudevents+json", "application/cloudevents+json; charset=utf-8",
     "application/cloudevents", "Application/CloudEvents+JSON", "application/cloudevents-batch+json",
     "application/cloudevents+xml", "application/json", "text/plain", "", "application/cloudevents;;="]
)  # fmt: skip
# What a client may put into a header.
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"))
NAMES = st.sampled_from([*EVENT, "", "specversion ", "x", "SPECVERSION", "data_base64"])
BODIES = st.one_of(
    st.just(b""), st.binary(max_size=30), st.just(b"[" * 20_000), st.just(b'{"data": NaN}'),
    damaged(EVENT).map(lambda value: json.dumps(value).encode()),
    st.just(b'{"specversion": "1.0", "id": "\\ud800", "source": "/", "type": "t"}'),
)  # fmt: skip


@pytest.fixture(scope="module")
def cleanup(tmp_path_factory):
    home, key = tmp_path_factory.mktemp("events"), secrets.token_urlsafe()
    function = FunctionProcess("cleanup_idle", home, key)
    try:
        function.wait()
        with httpx.Client(base_url=function.url, timeout=60, trust_env=False) as client:
            client.headers["authorization"] = f"Bearer {key}"
            yield client
    finally:
        function.process.terminate()
        function.process.wait(30)
        EmbeddedServer.stop(home)


@st.composite
def messages(draw):
    """Draw headers and a body: a whole event in either form, or one with changes."""
    event = draw(damaged(EVENT, most=2))
    if draw(st.booleans()) or not isinstance(event, dict):
        kind = "application/cloudevents+json" if draw(st.booleans()) else draw(KINDS)
        headers = [(b"content-type", kind.encode())] if kind else []
        body = json.dumps(event).encode() if draw(st.booleans()) else draw(BODIES)
        return headers, body
    headers = [
        (b"ce-" + name.encode(), str(value).replace("\0", "").encode("latin-1", "replace").strip())
        for name, value in event.items()
        if not name.startswith("data") and name.isascii() and name.isalnum()
    ]
    more = draw(st.lists(st.tuples(NAMES, VALUES), max_size=1))
    headers += [(b"ce-" + n.strip().encode(), v.strip().encode("latin-1")) for n, v in more]
    return [*headers, (b"content-type", draw(KINDS).encode())], draw(BODIES)


def is_json(body):
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


def is_whole(headers, body):
    """Return whether it is a CloudEvent of version 1.0, as the specification has it."""
    kind = next((value for name, value in headers if name == b"content-type"), b"").lower()
    kind = kind.partition(b";")[0].strip()
    if kind.startswith(b"application/cloudevents"):
        if kind not in (b"application/cloudevents", b"application/cloudevents+json"):
            return False
        event = json.loads(body) if is_json(body) else None
        values = event if isinstance(event, dict) else {}
        if "data" in values and "data_base64" in values:
            return False  # the specification takes one of them
    else:
        pairs = [(name.decode()[3:].lower(), value.decode("latin-1")) for name, value in headers]
        values, names = dict(pairs), [name for name, _ in pairs]
        if any(names.count(name) > 1 for name in (*NEEDED, "specversion")):
            return False
    texts = [values.get(name) for name in NEEDED]
    return values.get("specversion") == "1.0" and all(
        isinstance(text, str) and text.strip() for text in texts
    )


TEXTS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x10FFFF, exclude_categories=["Cs", "Cc"]),
                min_size=1, max_size=20)  # fmt: skip


@tries(60)
@given(
    id=TEXTS, source=TEXTS, type=TEXTS, data=st.none() | st.text() | st.binary(), form=st.booleans()
)
def test_events_of_the_cloudevents_package_start_one(cleanup, data, form, **attributes):
    event = CloudEvent(attributes, data)
    headers, body = (to_structured if form else to_binary)(event)
    sent = {name: str(value).encode("utf-8") for name, value in headers.items()}
    response = cleanup.post("/", headers=sent, content=body)
    whole = all(value.strip() for value in attributes.values())
    assert response.status_code == (204 if whole else 400), response.text


@tries(250)
@given(message=messages())
def test_only_a_whole_event_starts_a_cleanup(cleanup, message):
    headers, body = message
    response = cleanup.post("/", headers=headers, content=body)
    looks = any(name.startswith(b"ce-") for name, _ in headers) or any(
        b"cloudevents" in value.lower() for name, value in headers if name == b"content-type"
    )
    if response.status_code == 204:
        assert is_whole(headers, body)
    elif response.status_code == 200:
        assert not looks
    else:
        assert response.status_code in {400, 413, 415}, response.text
        assert response.json()["error"]["code"]
        assert not is_whole(headers, body)
