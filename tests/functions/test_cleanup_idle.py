"""The function `cleanup_idle`."""

from __future__ import annotations

EVENT = {"specversion": "1.0", "id": "1", "source": "/cronjob", "type": "dev.sandbox.cleanup"}


async def test_it_is_guarded(guarded):
    await guarded("cleanup_idle")


async def test_a_plain_post_is_answered_with_what_was_done(client):
    response = await client.post("/v1/sandbox/cleanup_idle")
    assert set(response.json()) == {"expired", "adopted", "lost", "orphans"}


async def test_cloud_events_are_answered_with_204(client):
    binary = await client.post(
        "/v1/sandbox/cleanup_idle",
        headers={f"ce-{name}": value for name, value in EVENT.items()},
        json={"any": "data"},
    )
    structured = await client.post(
        "/v1/sandbox/cleanup_idle",
        headers={"content-type": "application/cloudevents+json; charset=utf-8"},
        json=EVENT,
    )
    assert (binary.status_code, binary.content) == (204, b"")
    assert (structured.status_code, structured.content) == (204, b"")


async def test_events_that_are_none_are_refused(client):
    for headers, body in (
        ({"ce-id": "1"}, b"{}"),
        ({"content-type": "application/cloudevents+json"}, b"{nope"),
        ({"content-type": "application/cloudevents+json"}, b"[]"),
        ({"content-type": "application/cloudevents-batch+json"}, b"[]"),
        ({"ce-specversion": "9", "ce-id": "1", "ce-source": "/", "ce-type": "t"}, b""),
    ):
        response = await client.post("/v1/sandbox/cleanup_idle", headers=headers, content=body)
        assert response.status_code == 400, (headers, response.text)
        assert response.json()["error"]["code"] == "invalid_request"
