#!/bin/bash
# cloudevents 2 turns the text "5" into the number 5 on its way, and says "True" for true.
#
# One would expect:  with datacontenttype application/json a text is sent as a JSON string, quotes
#   and all, and arrives as the text it was, in binary and in structured mode alike.
# What happens:  in binary mode a text is sent as it stands. "hello" is then no valid JSON for
#   any other reader; "5", "true" and "null" arrive as 5, True and None. JSON that is given as bytes
#   arrives decoded in binary mode and as bytes in structured mode (sent there as base64), and an
#   empty text as None or as empty text. A boolean attribute travels as "True" in a header, where
#   the specification writes "true".
# Version:  cloudevents 2.2.0 (the interface that is new in 2.0).
# Matters to:  functions that get events from several senders: an id made of digits changes its type,
#   and what is received depends on the mode that the sender chose. Send objects, never bare text.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile cloudevents==2.2.0
cd "$work"

cat >see.py <<'EOF'
import importlib.metadata
import sys

from cloudevents.core.bindings import http
from cloudevents.core.v1.event import CloudEvent

JSON = {"datacontenttype": "application/json"}
PLAIN = {"datacontenttype": "text/plain"}
# data, attributes, and what arrives: by binary mode, by structured mode
SEEN = [
    ("hello", JSON, "hello", "hello"),
    ("5", JSON, 5, "5"),
    ("true", JSON, True, "true"),
    ("null", JSON, None, "null"),
    (b'{"a": 1}', JSON, {"a": 1}, b'{"a": 1}'),
    ("", PLAIN, None, ""),
    ({"a": 1}, JSON, {"a": 1}, {"a": 1}),
]


def event(data, attributes):
    return CloudEvent({"type": "t", "source": "s", "id": "1", **attributes}, data)


print("cloudevents", importlib.metadata.version("cloudevents"))
same = True
for data, attributes, *expected in SEEN:
    binary = http.to_binary_event(event(data, attributes))
    structured = http.to_structured_event(event(data, attributes))
    arrived = [http.from_http_event(message).get_data() for message in (binary, structured)]
    print(f"sent {data!r:12} body {binary.body!r:12} arrives {arrived[0]!r} (binary), {arrived[1]!r}")
    same = same and [(type(item), item) for item in arrived] == [(type(i), i) for i in expected]

header = http.to_binary_event(event({}, {**JSON, "urgent": True})).headers["ce-urgent"]
print(f"attribute True: header {header!r}")
if not (same and header == "True"):
    sys.exit("not seen: the behaviour has changed")
EOF
"$work/venv/bin/python" see.py
