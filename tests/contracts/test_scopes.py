"""A key that is bound to scopes sees those and nothing else, not even that there is more."""

from __future__ import annotations

import asyncio
import json
import secrets
from datetime import datetime

import pytest

from oneseek_sandbox.testing.verbs.calls import call, refused

OPERATOR = "the-key-of-the-operator"
ACME = "the-key-of-tenant-acme"
OTHER = "the-key-of-tenant-other"
BOTH = "the-key-of-both-tenants"

DATA = [
    ("execute", {"command": "true"}),
    ("execute", {"cancel": "r"}),
    ("ls", {}),
    ("read_file", {"path": "/workspace/f"}),
    ("write_file", {"path": "/workspace/f", "content": "x"}),
    ("replace", {"path": "/workspace/f", "old": "a", "new": "b"}),
]


@pytest.fixture(scope="module")
def server(new_server, tmp_path_factory):
    keys = tmp_path_factory.mktemp("keys") / "keys.json"
    keys.write_text(
        json.dumps(
            [
                {"name": "acme", "key": ACME, "scopes": ["acme"]},
                {"name": "other", "key": OTHER, "scopes": ["other"]},
                {"name": "both", "key": BOTH, "scopes": ["acme", "other"]},
            ]
        )
    )
    return new_server(key=OPERATOR, settings={"PROVISIONER_API_KEYS_FILE": str(keys)})


@pytest.fixture
async def as_key(server):
    clients = []

    def as_key(key):
        clients.append(server.async_client())
        clients[-1].headers["authorization"] = f"Bearer {key}"
        return clients[-1]

    yield as_key
    for client in clients:
        await client.aclose()


@pytest.fixture
async def foreign(as_key):
    """A sandbox of `other`, as an operator sees it."""
    client = as_key(OTHER)
    acquired = await call(client, "acquire", thread_id=secrets.token_hex(6))
    yield acquired
    await client.post("/v1/sandbox/release", json={"thread_id": acquired["thread_id"]})


async def test_a_key_with_one_scope_works_in_it_without_naming_it(as_key):
    client = as_key(ACME)
    acquired = await call(client, "acquire", thread_id="mine")
    assert acquired["scope"] == "acme"
    ran = await call(client, "execute", sandbox_id=acquired["sandbox_id"], command="echo hi")
    assert ran["stdout"] == "hi\n"
    assert (await call(client, "release", thread_id="mine"))["released"] is True


@pytest.mark.parametrize(("verb", "fields"), [*DATA, ("release", {})])
async def test_anothers_sandbox_id_is_not_found_and_reads_like_an_unknown_one(
    as_key, foreign, verb, fields
):
    client = as_key(ACME)
    texts = set()
    for sandbox_id in (foreign["sandbox_id"], secrets.token_hex(16)):
        message = await refused(
            client, verb, status=404, code="lease_not_found", sandbox_id=sandbox_id, **fields
        )
        texts.add(message.replace(sandbox_id, "ID"))
    assert len(texts) == 1
    ran = await call(
        as_key(OTHER), "execute", sandbox_id=foreign["sandbox_id"], command="ls /workspace"
    )
    assert ran["stdout"] == ""


@pytest.mark.parametrize(("verb", "fields"), [*DATA, ("release", {}), ("acquire", {})])
async def test_anothers_scope_is_forbidden_by_name(as_key, foreign, verb, fields):
    message = await refused(
        as_key(ACME),
        verb,
        status=403,
        code="forbidden",
        thread_id=foreign["thread_id"],
        scope="other",
        **fields,
    )
    assert "scope" in message


async def test_the_same_thread_id_names_another_sandbox_in_each_scope(as_key, foreign):
    mine = await call(as_key(ACME), "acquire", thread_id=foreign["thread_id"])
    assert mine["reused"] is False
    assert mine["sandbox_id"] != foreign["sandbox_id"]
    await call(as_key(ACME), "release", sandbox_id=mine["sandbox_id"])
    await call(as_key(OTHER), "ls", sandbox_id=foreign["sandbox_id"])


async def test_a_key_with_two_scopes_has_to_name_one(as_key):
    client = as_key(BOTH)
    message = await refused(client, "acquire", status=403, code="forbidden", thread_id="t")
    assert "scope" in message
    acquired = await call(client, "acquire", thread_id="t", scope="acme")
    await call(client, "release", sandbox_id=acquired["sandbox_id"])


async def test_a_key_lists_the_sandboxes_of_its_own_scopes(as_key, foreign):
    labels = {"team": "red"}
    mine = await call(as_key(ACME), "acquire", thread_id="listed", labels=labels)
    await call(as_key(OTHER), "acquire", thread_id=foreign["thread_id"], labels=labels)
    both = {mine["sandbox_id"], foreign["sandbox_id"]}
    for key, expected in (
        (ACME, {mine["sandbox_id"]}),
        (OTHER, {foreign["sandbox_id"]}),
        (BOTH, both),
        (OPERATOR, both),
    ):
        for path in ("/v1/sandbox", "/v1/sandbox/acquire", "/v1/sandbox?label=team%3Dred"):
            listed = (await as_key(key).get(path)).json()
            assert {entry["sandbox_id"] for entry in listed["sandboxes"]} & both == expected
            assert {entry["scope"] for entry in listed["sandboxes"]} <= {"acme", "other"}
    await call(as_key(ACME), "release", thread_id="listed")


async def test_only_the_operator_cleans_up(as_key, foreign):
    for key in (ACME, OTHER, BOTH):
        response = await as_key(key).post("/v1/sandbox/cleanup_idle")
        assert (response.status_code, response.json()["error"]["code"]) == (403, "forbidden")
        assert foreign["sandbox_id"] not in response.text
    cloud_event = {"ce-id": "1", "ce-source": "s", "ce-type": "t", "ce-specversion": "1.0"}
    response = await as_key(ACME).post("/v1/sandbox/cleanup_idle", headers=cloud_event)
    assert response.status_code == 403
    listed = (await as_key(OPERATOR).get("/v1/sandbox")).json()["sandboxes"]
    assert foreign["sandbox_id"] in {entry["sandbox_id"] for entry in listed}


async def test_the_operator_reaches_every_scope(as_key, foreign):
    client = as_key(OPERATOR)
    await call(client, "ls", sandbox_id=foreign["sandbox_id"])
    await call(client, "ls", thread_id=foreign["thread_id"], scope="other")
    await refused(client, "ls", status=404, code="lease_not_found", thread_id=foreign["thread_id"])


async def test_a_wrong_key_opens_nothing(as_key):
    for key in (ACME[:-1], ACME + "x", ACME.upper()):
        response = await as_key(key).post("/v1/sandbox/acquire", json={"thread_id": "t"})
        assert response.status_code == 401
        assert key not in response.text


async def test_the_end_of_anothers_sandbox_is_not_told(as_key, foreign):
    sandbox_id = foreign["sandbox_id"]
    # By thread: a server that has not met the id must ask the store.
    await call(as_key(OTHER), "release", thread_id=foreign["thread_id"])
    for verb, fields in [*DATA, ("release", {})]:
        message = await refused(
            as_key(ACME), verb, status=404, code="lease_not_found", sandbox_id=sandbox_id, **fields
        )
        assert sandbox_id in message


@pytest.mark.parametrize("verb_and_fields", DATA, ids=lambda pair: "-".join([pair[0], *pair[1]]))
async def test_the_end_of_ones_own_sandbox_is_told(as_key, verb_and_fields):
    """By a server that has not met the id: the sandbox was only named by its thread."""
    client, thread_id = as_key(ACME), secrets.token_hex(6)
    acquired = await call(client, "acquire", thread_id=thread_id)
    await call(client, "release", thread_id=thread_id)
    verb, fields = verb_and_fields
    await refused(
        client,
        verb,
        status=410,
        code="sandbox_released",
        sandbox_id=acquired["sandbox_id"],
        **fields,
    )


async def test_a_release_of_ones_own_ended_sandbox_is_told_so(as_key):
    client, thread_id = as_key(BOTH), secrets.token_hex(6)
    acquired = await call(client, "acquire", thread_id=thread_id, scope="acme")
    await call(client, "release", thread_id=thread_id, scope="acme")
    for _ in range(2):
        again = await call(client, "release", sandbox_id=acquired["sandbox_id"])
        assert again == {"released": False, "already_released": True}


async def test_an_expired_sandbox_of_ones_own_is_told_as_expired(as_key):
    client, thread_id = as_key(ACME), secrets.token_hex(6)
    acquired = await call(client, "acquire", thread_id=thread_id, idle_timeout_seconds=1)
    expires = datetime.fromisoformat(acquired["expires_at"])
    async with asyncio.timeout(10):
        while datetime.now().astimezone() <= expires:
            await asyncio.sleep(0.1)
    for verb in ("ls", "release"):
        await refused(
            client, verb, status=410, code="sandbox_expired", sandbox_id=acquired["sandbox_id"]
        )
