"""Labels and variables of acquires on their way: to the lease, to the sandbox, to its worker."""

from __future__ import annotations

import json

import pytest
from tests.unit.control.conftest import World

from oneseek_sandbox.errors import (
    InvalidRequestError,
    RuntimeUnavailableError,
    SandboxTooOldError,
    SandboxUnavailableError,
)
from oneseek_sandbox.gateway.schemas import model_schemas
from oneseek_sandbox.leases.given import read_mapping
from oneseek_sandbox.models import AcquireAnswer, ListedSandbox

ENV = {"TOKEN": "s3cret"}


@pytest.fixture(autouse=True)
def knowing(monkeypatch):
    """Let workers say that they know variables."""
    from oneseek_sandbox.testing import memory_runtime
    from oneseek_sandbox.testing.scripted_worker import ScriptedWorker

    monkeypatch.setattr(memory_runtime, "ScriptedWorker", lambda: ScriptedWorker(features=["env"]))


def only(world: World):
    """Return the one sandbox, and its worker."""
    (uid,) = world.runtime.objects
    return world.runtime.objects[uid], world.runtime.workers[uid]


async def test_the_first_claim_brings_variables_and_the_object_says_that_there_were_some(world):
    acquired = await world.acquire(env=ENV, labels={"a": "b"})
    sandbox, worker = only(world)
    assert worker.env == ENV
    assert worker.paths.count("/claim") == 1
    assert (sandbox.labels.env, read_mapping(sandbox.labels.labels)) == (True, {"a": "b"})
    assert not acquired.env_lost
    assert "s3cret" not in repr(sandbox) + repr(await world.store.leases())


async def test_without_them_a_claim_is_one_that_every_worker_knows(world):
    await world.acquire()
    sandbox, worker = only(world)
    assert worker.env is None
    assert (sandbox.labels.env, sandbox.labels.labels) == (False, "")
    assert sandbox.labels.split()[1] == {}


async def test_given_later_they_are_brought_once(world):
    await world.acquire()
    sandbox, worker = only(world)
    for _ in range(3):
        await world.acquire(env=ENV, labels={"a": "b"})
    assert worker.env == ENV
    assert worker.paths.count("/claim") == 2
    sandbox, _ = only(world)
    assert (sandbox.labels.env, read_mapping(sandbox.labels.labels)) == (True, {"a": "b"})
    await world.acquire(env={})
    assert worker.env == {}


async def test_what_a_worker_has_missed_it_is_brought_by_the_next_acquire(world):
    await world.acquire(env=ENV)
    _, worker = only(world)
    worker.env, worker.env_version = None, 0
    await world.acquire()
    assert worker.env == ENV


async def test_an_object_that_cannot_be_written_keeps_the_lease_as_it_was(world, monkeypatch):
    await world.acquire()

    async def fails(*_):
        raise RuntimeUnavailableError("away")

    with monkeypatch.context() as patch:
        patch.setattr(world.runtime, "annotate", fails)
        with pytest.raises(RuntimeUnavailableError):
            await world.acquire(env=ENV)
    _, worker = only(world)
    assert worker.env is None
    await world.acquire(env=ENV)
    sandbox, worker = only(world)
    assert (sandbox.labels.env, worker.env) == (True, ENV)


async def test_a_restarted_worker_gets_them_with_its_claim(world):
    await world.acquire(env=ENV)
    _, worker = only(world)
    worker.boot_id, worker.env, worker.env_version = "b" * 32, None, 0
    acquired = await world.acquire()
    assert acquired.restarted
    assert worker.env == ENV


async def test_after_the_store_was_emptied_they_are_lost_until_they_are_given_again(world):
    first = await world.acquire(env=ENV, labels={"a": "b"})
    world.empty_store()
    for _ in range(2):
        again = await world.acquire()
        assert (again.reused, again.env_lost) == (True, True)
    assert again.sandbox_id != first.sandbox_id
    listed = await world.provisioner.list_sandboxes(world.caller, label={})
    assert [sandbox.labels for sandbox in listed.sandboxes] == [{"a": "b"}]
    other = {"TOKEN": "other"}
    assert not (await world.acquire(env=other)).env_lost
    assert not (await world.acquire()).env_lost
    _, worker = only(world)
    assert worker.env == other


async def test_an_acquire_that_gives_them_loses_nothing(world):
    await world.acquire(env=ENV)
    world.empty_store()
    assert not (await world.acquire(env={"OTHER": "1"})).env_lost
    _, worker = only(world)
    assert worker.env == {"OTHER": "1"}


async def test_what_the_cleanup_adopted_tells_the_next_acquire(world):
    await world.acquire(env=ENV)
    world.empty_store()
    await world.cleanup().run()
    assert (await world.acquire()).env_lost


async def test_a_worker_of_before_is_too_old_for_variables_and_not_for_labels(world):
    await world.acquire()
    _, worker = only(world)
    worker.features = None
    worker.boot_id = "b" * 32
    await world.acquire(labels={"a": "b"})
    for env in (ENV, ENV, {}):
        with pytest.raises(SandboxTooOldError, match="'env'"):
            await world.acquire(env=env)
    await world.acquire()
    assert worker.env is None


async def test_a_claim_that_fails_is_told_and_made_good(world):
    await world.acquire()
    _, worker = only(world)

    async def fails(call):
        await call.answer({"error": {"code": "internal", "message": "?"}}, 500)

    async def ends(call):
        call.writer.close()

    for script in (fails, ends):
        worker.scripts["/claim"] = script
        with pytest.raises(SandboxUnavailableError):
            await world.acquire(env=ENV)
    del worker.scripts["/claim"]
    await world.acquire()
    assert worker.env == ENV


async def test_no_text_about_a_request_shows_its_variables(world):
    from oneseek_sandbox.models import AcquireRequest
    from oneseek_sandbox.models.checking import check
    from oneseek_sandbox.telemetry.facts import facts_of

    request = AcquireRequest(thread_id="t", env=ENV)
    assert "s3cret" not in repr(request) + str(request) + str(facts_of(request))
    with pytest.raises(InvalidRequestError) as refused:
        check(AcquireRequest, {"thread_id": "t", "env": {"NAME": "s3cret\0"}})
    assert "NAME" not in str(refused.value)


async def test_answers_to_clients_of_before_have_the_fields_they_know(world):
    acquired = await world.acquire()
    listed = await world.provisioner.list_sandboxes(world.caller, label={})
    known = {*AcquireAnswer.model_fields} - {"env_lost"}
    assert json.loads(acquired.model_dump_json()).keys() == known
    (entry,) = json.loads(listed.model_dump_json())["sandboxes"]
    assert entry.keys() == {*ListedSandbox.model_fields} - {"labels"}


def test_the_description_names_all_fields():
    schemas = model_schemas()
    assert schemas["AcquireAnswer"]["properties"]["env_lost"]["type"] == "boolean"
    assert schemas["ListedSandbox"]["properties"]["labels"]["type"] == "object"
    assert schemas["AcquireRequest"]["properties"]["env"]["anyOf"][0]["type"] == "object"


async def test_a_worker_of_before_in_a_sandbox_with_variables_is_used_and_told_of(world):
    """An earlier server started it again: its worker cannot be given what the lease has."""
    await world.acquire(env=ENV)
    _, worker = only(world)

    async def refuses(call):
        if "env" in call.body:
            error = {"code": "invalid_request", "message": "Unknown field 'env'."}
            await call.answer({"error": error}, 400)
        else:
            await worker._honest(call)

    worker.scripts["/claim"] = refuses
    worker.features, worker.boot_id = None, "b" * 32
    worker.env, worker.env_version = None, 0
    for _ in range(2):
        acquired = await world.acquire()
        assert (acquired.reused, acquired.env_lost) == (True, True)
    with pytest.raises(SandboxTooOldError):
        await world.acquire(env=ENV)
