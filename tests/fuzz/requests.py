"""Requests to a worker as bytes: well-formed ones from a grammar, and what is broken of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
from tests.guest.client import TOKEN

__all__ = ["GENERATION", "Delivery", "deliveries"]

GENERATION = 10**17
"""Above every generation that a drawn claim may set."""

ODD_VALUES = st.sampled_from(
    [
        None, True, False, 0, 1, -1, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 10**19, 10**400, 0.5,
        float("inf"), float("nan"), "", "*", "\0", "\ud800", "é\u202e\r\n", "x" * 20_000, "base64:",
        "base64:/w==", "base64:AAAA", "base64:é", "0644", "9999", [], {}, [[]], {"a": {}}, ["true"],
        ["true", 1], ["\ud800"], {"": "x"}, {"a=b": ""}, {"A": None}, {"A": "\0"}, "..",
    ]
)  # fmt: skip
NEEDED = {"path", "depth", "command", "timeout_ms", "max_output_bytes", "stream", "old", "new",
          "token", "generation", "idle_seconds"}  # fmt: skip
PLACES = st.sampled_from(
    ["", "/", "/file", "/new/file", "/dir", "/dir/", "/..", "/../../etc/passwd", "/loop", "/out",
     "/out/passwd", "/fifo", "/" + "n" * 300, "/" + "d/" * 3000, "/\ud800", "/.oneseek-x"]
)  # fmt: skip
COMMANDS = st.sampled_from(
    ["true", ["true"], "cat", ["cat"], "exit 3", "echo out; echo err >&2", "head -c 300000 /dev/zero",
     ["none-of-this-name"], "sleep 0.05", "kill -9 $$", "(sleep 0.1 &)", ""]
)  # fmt: skip
IDS = st.sampled_from([None, "a", "b", "c", "*", "i" * 128, "i" * 129])
JUNK = st.binary(max_size=12) | st.sampled_from(
    [b"\r\n", b"\n", b"\0", b" ", b":", b"\r\n\r\n", b"0\r\n\r\n", b"\xff\xfe", b"HTTP/1.1"]
)

ODD_HEADERS = st.sampled_from(
    [b"connection: close", b"expect: 100-continue", b"x-live-bytes: 5", b"x-live-bytes: \xb2",
     b"x-sandbox-generation: 1", b"a: " + b"v" * 9000, b"folded:\r\n more", b"no colon",
     b"name : value", b"x-meta: {", b"x-meta: \xc3\xa9"]
)  # fmt: skip


@dataclass(frozen=True)
class Delivery:
    """What is sent on one connection, and how.

    Attributes:
        pieces: Sent one after the other.
        ending: What the client does then: `wait`, `half` (closes its sending side), `close`, or
            `reset` (closes with what came unread).
        pause: Seconds between the pieces.
    """

    pieces: list[bytes]
    ending: str
    pause: float

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)


def paths(root: str) -> st.SearchStrategy[Any]:
    inside = PLACES.map(lambda place: root + place)
    return inside | st.sampled_from(["/etc/passwd", "/proc/self/environ", "file", ""])


def bodies(root: str) -> dict[str, dict[str, st.SearchStrategy[Any]]]:
    """Return each verb's fields, as callers fill them."""
    path = paths(root)
    small = st.integers(0, 40)
    text = st.sampled_from(["text", "t", "\n", "no such text", "line"])
    return {
        "/ls": {"path": path, "depth": st.integers(1, 32), "limit": small, "cursor": path},
        "/read": {"path": path, "offset": small, "limit": small, "start_line": small, "end_line": small},
        "/write": {"path": path, "append": st.booleans(), "mode": st.sampled_from(["0644", "7777"]),
                   "create_only": st.booleans(), "sync": st.booleans()},
        "/replace": {"path": path, "old": text, "new": text, "replace_all": st.booleans()},
        "/execute": {"command": COMMANDS, "cwd": path, "timeout_ms": st.integers(1, 900),
                     "grace_ms": st.just(0), "max_output_bytes": st.integers(1, 5000),
                     "stream": st.booleans(), "request_id": IDS, "stdin": text,
                     "env": st.just({"A": "b"})},
        "/cancel": {"request_id": IDS},
        "/claim": {"token": st.sampled_from([TOKEN, TOKEN + "x"]), "generation": small,
                   "idle_seconds": st.integers(1, 900)},
        "/health?idle_seconds=60": {},
        "/proof?nonce=0123456789abcdef": {},
    }  # fmt: skip


@st.composite
def _fields(draw: st.DrawFn, fields: dict[str, st.SearchStrategy[Any]]) -> dict[str, Any]:
    kept = {name for name in fields if name in NEEDED or draw(st.booleans())}
    values = {name: draw(value) for name, value in fields.items() if name in kept}
    for name in [*fields, "other"]:
        if draw(st.integers(0, 15)) == 0:
            values[name] = draw(ODD_VALUES)
    return values


@st.composite
def _framed(draw: st.DrawFn, body: bytes, odd: bool) -> tuple[list[bytes], bytes]:
    """Return headers that frame a body, perhaps wrongly, and the bytes that follow them."""
    ways = ["length", "length", "chunked", *(["none", "both", "longer", "odd"] if odd else [])]
    way = draw(st.sampled_from(ways))
    if way == "chunked" or way == "both":
        cut = draw(st.integers(0, len(body)))
        chunks = [chunk for chunk in (body[:cut], body[cut:]) if chunk]
        sent = b"".join(b"%x;e=1\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
        headers = [b"transfer-encoding: chunked"]
        headers += [b"content-length: %d" % len(body)] if way == "both" else []
        return headers, sent + b"0\r\n" + draw(st.sampled_from([b"", b"x-t: 1\r\n"])) + b"\r\n"
    if way == "none":
        return [], body
    lengths = {"longer": len(body) + draw(st.integers(1, 10**9)), "length": len(body)}
    numbers = st.sampled_from([b"-1", b"+1", b"0x2", b"", b"1 2", b"9" * 30, b"\xb2", b"1,1"])
    length = draw(numbers) if way == "odd" else b"%d" % lengths[way]
    return [b"content-length: " + length], body


@st.composite
def _requests(draw: st.DrawFn, root: str) -> bytes:
    """Draw a request: of each four, one has an odd head, and any may have odd fields."""
    odd = draw(st.integers(0, 3)) == 0
    verbs = bodies(root)
    target = draw(st.sampled_from(list(verbs)))
    method = b"GET" if target.startswith(("/health", "/proof")) else b"POST"
    values = draw(_fields(verbs[target]))
    encoded = json.dumps(values).encode()
    token, version, more = TOKEN.encode(), b"HTTP/1.1", []
    if odd:
        method = draw(st.sampled_from([method, method, b"HEAD", b"PUT", b"get", b""]))
        token = draw(st.sampled_from([token, token, b"", token[:-1], b"\xff" * 40]))
        version = draw(st.sampled_from([version, version, b"HTTP/1.0", b"HTTP/2.0", b"http/1.1"]))
        more = draw(st.lists(ODD_HEADERS, max_size=2))
    headers = [b"host: worker", b"x-sandbox-token: " + token]
    headers.append(b"x-sandbox-generation: %d" % GENERATION)
    if target == "/write":
        headers.append(b"x-meta: " + encoded)
        encoded = draw(st.binary(max_size=40) | st.just(b"line\n" * 60_000))
    framing, body = draw(_framed(encoded, odd))
    head = method + b" " + target.encode() + b" " + version
    return b"\r\n".join([head, *headers, *framing, *more, b"", b""]) + body


@st.composite
def _broken(draw: st.DrawFn, data: bytes) -> bytes:
    """Return bytes with some of them lost, doubled, changed or put in."""
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 1, 1, 2]))):
        start = draw(st.integers(0, min(len(data), 700)))
        end = start + draw(st.sampled_from([0, 0, 1, 2, 10, 100, len(data)]))
        data = data[:start] + draw(JUNK | st.just(data[start:end] * 2)) + data[end:]
    return data


@st.composite
def deliveries(draw: st.DrawFn, root: str) -> Delivery:
    """Draw one to three requests in a row, perhaps broken, in pieces of any size."""
    data = b"".join(draw(st.lists(_requests(root), min_size=1, max_size=3)))
    data = draw(_broken(data))
    cuts = sorted(draw(st.lists(st.integers(0, min(len(data), 900)), max_size=4)))
    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    ending = draw(st.sampled_from(["wait", "wait", "wait", "half", "close", "reset"]))
    return Delivery(pieces, ending, draw(st.sampled_from([0, 0, 0, 0.002])))
