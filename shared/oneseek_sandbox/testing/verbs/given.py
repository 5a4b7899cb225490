"""What acquires give: labels to find a sandbox by, and variables for its commands."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from oneseek_sandbox.testing.verbs.calls import Sandbox, VerbsFixtures, call, refused

if TYPE_CHECKING:
    import httpx

__all__ = ["GivenContract"]

_MOST: Final = 65_536


class GivenContract(VerbsFixtures):
    """What labels and variables promise."""

    @pytest.mark.essential
    @pytest.mark.new
    async def test_the_list_names_labels_and_is_asked_by_them(
        self, client: httpx.AsyncClient, thread: str
    ) -> None:
        labels = {"team": "red & green=ä", thread: ""}
        acquired = await call(client, "acquire", thread_id=thread, labels=labels)
        assert await _listed(client, [f"{thread}="]) == {acquired["sandbox_id"]: labels}
        assert await _listed(client, [f"{thread}=", "team=red & green=ä"]) == {
            acquired["sandbox_id"]: labels
        }
        assert await _listed(client, [f"{thread}=", "team=blue"]) == {}
        assert await _listed(client, [f"{thread}=x"]) == {}
        await call(client, "release", thread_id=thread)
        assert await _listed(client, [f"{thread}="]) == {}

    @pytest.mark.new
    async def test_labels_are_replaced_as_a_whole_and_absent_they_stay(
        self, client: httpx.AsyncClient, thread: str
    ) -> None:
        acquired = await call(client, "acquire", thread_id=thread, labels={thread: "a", "b": "c"})
        await call(client, "acquire", thread_id=thread)
        await call(client, "acquire", thread_id=thread, env={"A": "1"})
        assert await _listed(client, [f"{thread}=a"]) == {
            acquired["sandbox_id"]: {thread: "a", "b": "c"}
        }
        await call(client, "acquire", thread_id=thread, labels={thread: "d"})
        assert await _listed(client, [f"{thread}=d"]) == {acquired["sandbox_id"]: {thread: "d"}}
        await call(client, "acquire", thread_id=thread, labels={})
        assert await _listed(client, [f"{thread}=d"]) == {}
        await call(client, "release", thread_id=thread)

    @pytest.mark.parametrize(
        "labels",
        [
            {str(number): "" for number in range(17)},
            {"": "x"},
            {"k" * 64: "x"},
            {"ä" * 32: "x"},
            {"k": "v" * 257},
            {"k": "ä" * 129},
            {"k=v": "x"},
            {"k": "a\nb"},
            {"k": "a\0b"},
            {"k": 1},
            ["k"],
        ],
        ids=lambda labels: str(labels)[:20],
    )
    @pytest.mark.new
    async def test_labels_over_the_bounds_are_refused(
        self, client: httpx.AsyncClient, thread: str, labels: object
    ) -> None:
        message = await refused(
            client, "acquire", status=400, code="invalid_request", thread_id=thread, labels=labels
        )
        assert message.startswith("labels")

    @pytest.mark.new
    async def test_labels_at_the_bounds_are_kept(
        self, client: httpx.AsyncClient, thread: str
    ) -> None:
        labels = {f"{number:02}" + "k" * 61: "v" * 256 for number in range(15)}
        labels[thread] = "\u00e4" * 128
        acquired = await call(client, "acquire", thread_id=thread, labels=labels)
        assert await _listed(client, [f"{thread}={labels[thread]}"]) == {
            acquired["sandbox_id"]: labels
        }
        await call(client, "release", thread_id=thread)

    @pytest.mark.parametrize("query", ["label=team", "team=red", "label==x", "label=a%3D%FF"])
    @pytest.mark.new
    async def test_a_list_by_something_else_is_refused(
        self, client: httpx.AsyncClient, query: str
    ) -> None:
        response = await client.get(f"/v1/sandbox?{query}")
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "invalid_request"

    @pytest.mark.essential
    @pytest.mark.new
    async def test_variables_reach_every_command_that_starts_afterwards(
        self, client: httpx.AsyncClient, thread: str
    ) -> None:
        env = {"TOKEN": "s3cret '\u00e4\n", "EMPTY": ""}
        acquired = await call(client, "acquire", thread_id=thread, env=env)
        sandbox = Sandbox(client, acquired)
        assert await _environment(sandbox) >= env.items()
        assert await _environment(sandbox, env={"TOKEN": "other"}) >= {("TOKEN", "other")}
        await call(client, "acquire", thread_id=thread)
        assert await _environment(sandbox) >= env.items()
        await call(client, "acquire", thread_id=thread, env={"NEXT": "1"})
        names = dict(await _environment(sandbox))
        assert (names["NEXT"], names.get("TOKEN"), names.get("EMPTY")) == ("1", None, None)
        assert "HOME" in names
        await call(client, "acquire", thread_id=thread, env={})
        assert "NEXT" not in dict(await _environment(sandbox))
        assert "env_lost" not in acquired
        await call(client, "release", thread_id=thread)

    @pytest.mark.new
    async def test_a_new_sandbox_of_the_thread_starts_without_them(
        self, client: httpx.AsyncClient, thread: str
    ) -> None:
        await call(client, "acquire", thread_id=thread, env={"TOKEN": "s3cret"})
        await call(client, "release", thread_id=thread)
        acquired = await call(client, "acquire", thread_id=thread)
        assert "TOKEN" not in dict(await _environment(Sandbox(client, acquired)))
        await call(client, "release", thread_id=thread)

    @pytest.mark.essential
    @pytest.mark.new
    async def test_variables_stand_nowhere_but_in_the_environment_of_commands(
        self, client: httpx.AsyncClient, thread: str
    ) -> None:
        acquired = await call(client, "acquire", thread_id=thread, env={"TOKEN": "s3cret-value"})
        sandbox = Sandbox(client, acquired)
        script = (
            "grep -l s3cret-value /proc/1/environ /proc/1/cmdline; "
            "for p in /proc/[0-9]*; do [ $p = /proc/$$ ] || grep -lz s3cret-value $p/cmdline; done"
        )
        assert (await sandbox.run(["sh", "-c", script]))["stdout"] == ""
        listed = (await client.get("/v1/sandbox")).text
        assert acquired["sandbox_id"] in listed
        assert "s3cret-value" not in listed + json.dumps(acquired)
        await call(client, "release", thread_id=thread)

    @pytest.mark.parametrize(
        "env",
        [
            {"A": "a\0b-s3cret"},
            {"A\0B": "s3cret"},
            {"A=B": "s3cret"},
            {"": "s3cret"},
            {"S3CRET_NAME": 1},
            {"A": "s3cret" + "x" * (_MOST - 6)},
            {f"A{number}": "s3cret" * 1000 for number in range(11)},
            "A=s3cret",
        ],
        ids=lambda env: str(env)[:16],
    )
    @pytest.mark.new
    async def test_impossible_variables_are_refused_and_not_repeated(
        self, client: httpx.AsyncClient, thread: str, env: object
    ) -> None:
        message = await refused(
            client, "acquire", status=400, code="invalid_request", thread_id=thread, env=env
        )
        assert message.startswith("env")
        assert "s3cret" not in message.lower()

    @pytest.mark.new
    async def test_as_many_bytes_as_may_be_are_taken(
        self, client: httpx.AsyncClient, thread: str
    ) -> None:
        env = {"A": "\u0001" * (_MOST - 1)}
        sandbox = Sandbox(client, await call(client, "acquire", thread_id=thread, env=env))
        ended = await sandbox.run('printf %s "$A" | wc -c', env={"B": "x" * 1000})
        assert ended["stdout"].strip() == str(_MOST - 1)
        await call(client, "release", thread_id=thread)


async def _listed(client: httpx.AsyncClient, labels: list[str]) -> dict[str, Any]:
    response = await client.get("/v1/sandbox", params=[("label", label) for label in labels])
    assert response.status_code == 200, response.text
    return {entry["sandbox_id"]: entry["labels"] for entry in response.json()["sandboxes"]}


async def _environment(sandbox: Sandbox, **fields: object) -> set[tuple[str, str]]:
    script = "import os, json; print(json.dumps(dict(os.environ)))"
    ended = await sandbox.run(["python3", "-c", script], **fields)
    return set(json.loads(ended["stdout"]).items())
