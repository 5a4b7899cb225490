"""What is before the verbs: who may start, who may call, what the server says of itself."""

from __future__ import annotations

import json

import pytest

from oneseek_sandbox.http.verbs import VERBS
from oneseek_sandbox.testing.server import LiveServer, free_port

KEY = "key-of-the-front-of-the-server"


@pytest.fixture(scope="module")
def server(new_server):
    return new_server(key=KEY)


@pytest.fixture(scope="module")
def open_server(new_server):
    return new_server()


@pytest.fixture
async def client(server):
    async with server.async_client() as client:
        yield client


@pytest.fixture
async def open_client(open_server):
    async with open_server.async_client() as client:
        yield client


def test_without_a_key_it_listens_on_loopback_only(tmp_path):
    for host in ("0.0.0.0", "::"):
        server = LiveServer(tmp_path, settings={"PROVISIONER_HOST": host})
        with pytest.raises(RuntimeError, match="PROVISIONER_API_KEY"):
            server.start()
        assert server.process.returncode == 1
        server.kill()


async def test_without_a_key_everybody_on_this_machine_is_the_operator(open_client, open_server):
    assert (await open_client.get("/v1/sandbox")).status_code == 200
    assert "loopback only" in open_server.log.read_text()


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://[::1"},
        {"sec-fetch-site": "cross-site"},
    ],
)
async def test_a_web_page_is_refused_everywhere(open_client, headers):
    for method, path in (
        ("POST", "/v1/sandbox/acquire"),
        ("POST", "/v1/sandbox/cleanup_idle"),
        ("GET", "/v1/sandbox"),
        ("GET", "/docs"),
        ("OPTIONS", "/v1/sandbox/execute"),
    ):
        response = await open_client.request(method, path, headers=headers)
        assert (response.status_code, response.json()["error"]["code"]) == (403, "forbidden")
        assert response.json()["error"]["trace_id"]
        assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/v1/sandbox/destroy", 404, "unknown_verb"),
        ("POST", "/v1/sandbox/acquire/", 404, "unknown_verb"),
        ("GET", "/", 404, "unknown_verb"),
        ("POST", "/v1/sandbox", 405, "method_not_allowed"),
        ("GET", "/v1/sandbox/execute", 405, "method_not_allowed"),
        ("OPTIONS", "/v1/sandbox/execute", 405, "method_not_allowed"),
        ("POST", "/docs", 405, "method_not_allowed"),
    ],
)
async def test_a_wrong_address_is_told_in_the_same_shape(client, method, path, status, code):
    trace = "0af7651916cd43dd8448eb211c80319c"
    response = await client.request(
        method, path, headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    )
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (status, code)
    assert error["trace_id"] == response.headers["x-trace-id"] == trace
    if status == 405:
        assert response.headers["allow"]


@pytest.mark.parametrize(
    "body",
    [
        {"thread_id": "t", "timeout_seconds": 10**400, "command": "x"},
        {"thread_id": "t", "x" * 1_000_000: 1, "command": "x"},
        {"thread_id": "t", "command": "x", "env": {"A" * 200_000: "a\0b"}},
    ],
)
async def test_a_refusal_is_short_and_quick(client, body):
    response = await client.post("/v1/sandbox/execute", json=body)
    assert response.status_code == 400
    assert len(response.text) < 2000


async def test_many_names_and_one_twice_are_refused_at_once(client):
    names = ",".join(f'"a{number}": 1' for number in range(300_000))
    body = "{" + names + ', "a299999": 2}'
    response = await client.post(
        "/v1/sandbox/acquire",
        content=body,
        headers={"content-type": "application/json"},
        timeout=10,
    )
    assert response.status_code == 400
    assert "a299999: given twice" in response.json()["error"]["message"]


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"{}", b"[" * 50_000, b"\xff", b"{", b"1"])
async def test_a_structured_cloud_event_that_is_none_is_refused(client, body):
    response = await client.post(
        "/v1/sandbox/cleanup_idle",
        content=body,
        headers={"content-type": "application/cloudevents+json"},
    )
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")


async def test_the_description_has_every_verb_and_resolves(open_client):
    described = (await open_client.get("/openapi.json")).json()
    assert described["openapi"].startswith("3.1")
    assert {f"/v1/sandbox/{verb}" for verb in VERBS} <= set(described["paths"])
    text = json.dumps(described)
    for part in text.split('"$ref": "#/components/schemas/')[1:]:
        assert part.partition('"')[0] in described["components"]["schemas"]
    execute = described["paths"]["/v1/sandbox/execute"]["post"]
    assert "text/event-stream" in execute["responses"]["200"]["content"]
    read = described["paths"]["/v1/sandbox/read_file"]["post"]
    assert "application/octet-stream" in read["responses"]["200"]["content"]
    write = described["paths"]["/v1/sandbox/write_file"]["post"]
    assert "application/octet-stream" in write["requestBody"]["content"]
    assert {parameter["name"] for parameter in write["parameters"]} >= {"path", "append"}
    assert described["paths"]["/v1/sandbox/cleanup_idle"]["post"]["responses"]["204"]


async def test_the_page_shows_types_as_people_write_them(open_client):
    page = (await open_client.get("/docs")).text
    for leaked in ("FieldInfo", "Annotated", "typing", "PydanticUndefined", "<class", "Literal"):
        assert leaked not in page, leaked
    for shown in ("integer (1 to 86400)", "or list of strings", "text/event-stream", "curl"):
        assert shown in page, shown
    for verb in VERBS:
        assert f"<h2 id={verb}>" in page


async def test_no_secret_is_logged_or_given_to_a_sandbox(client, server):
    acquired = (await client.post("/v1/sandbox/acquire", json={"thread_id": "s"})).json()
    ran = await client.post(
        "/v1/sandbox/execute",
        json={
            "thread_id": "s",
            "command": "env; cat /proc/*/environ /proc/*/cmdline | tr '\\0' '\\n'",
        },
    )
    assert KEY not in ran.text
    assert "PROVISIONER" not in ran.text
    await client.post("/v1/sandbox/acquire", json={}, headers={"authorization": f"Bearer {KEY}x"})
    await client.post("/v1/sandbox/release", json={"sandbox_id": acquired["sandbox_id"]})
    token_key = (server.home / "token.key").read_text().strip()
    for secret in (KEY, token_key):
        assert secret not in server.log.read_text()


def test_a_port_that_is_taken_is_refused_with_a_name(server, tmp_path):
    second = LiveServer(tmp_path, key=KEY)
    second.environment["PORT"] = str(server.port)
    second.port = free_port()
    with pytest.raises(RuntimeError, match=str(server.port)):
        second.start()
    second.kill()


@pytest.mark.finding(18)
@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("specversion", "0.3"),
        ("specversion", "1.1"),
        ("id", ""),
        ("source", ""),
        ("type", ""),
        ("id", None),
    ],
)
@pytest.mark.parametrize("form", ["binary", "structured"])
async def test_a_cloud_event_of_another_version_or_with_an_empty_attribute_is_refused(
    client, form, attribute, value
):
    event = {"specversion": "1.0", "id": "1", "source": "/cron", "type": "cleanup"}
    changed = {**event, attribute: value}
    if value is None:
        del changed[attribute]
    if form == "binary":
        sent = {"headers": {f"ce-{name}": given for name, given in changed.items()}}
    else:
        sent = {"headers": {"content-type": "application/cloudevents+json"}, "json": changed}
    response = await client.post("/v1/sandbox/cleanup_idle", **sent)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")


@pytest.mark.finding(18)
@pytest.mark.parametrize("kind", ["application/cloudevents+json", "application/cloudevents"])
@pytest.mark.parametrize("body", [b"", b"{}"])
async def test_what_is_said_to_be_structured_is_read_from_the_body_alone(client, kind, body):
    event = {"specversion": "1.0", "id": "1", "source": "/cron", "type": "cleanup"}
    headers = {f"ce-{name}": value for name, value in event.items()}
    response = await client.post(
        "/v1/sandbox/cleanup_idle", headers={**headers, "content-type": kind}, content=body
    )
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")


@pytest.mark.finding(18)
async def test_an_event_in_the_body_is_none_where_the_headers_have_another(client):
    event = {"specversion": "1.0", "id": "1", "source": "/cron", "type": "cleanup"}
    response = await client.post("/v1/sandbox/cleanup_idle", headers={"ce-id": "1"}, json=event)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")
