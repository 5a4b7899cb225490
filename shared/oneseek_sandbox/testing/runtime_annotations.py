"""What a runtime promises of what acquires give: written on an object while it is in use."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

import pytest

from oneseek_sandbox.errors import CreationLostError, SandboxLostError
from oneseek_sandbox.leases.given import write_mapping
from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.runtimes.runtime import Labels

if TYPE_CHECKING:
    from oneseek_sandbox.runtimes.runtime import Runtime, SandboxObject

__all__ = ["AnnotationPromises"]

_THREAD: Final = Thread("default", "annotated")
_OURS: Final = Labels(_THREAD, 1000, idle_ms=900_000, sandbox_id="a" * 32)
_LABELS: Final = write_mapping({"team": "red \u00e4 \"'", "k" * 63: "v" * 256}) or ""


class AnnotationPromises:
    """Tests of `annotate`, and of labels that a creation brings."""

    async def test_labels_come_with_the_creation_and_are_replaced(self, runtime: Runtime) -> None:
        ours = dataclasses.replace(_OURS, labels=_LABELS, env=True)
        made = await runtime.create(ours)
        assert _given(await _found(runtime)) == (_LABELS, True)
        await runtime.annotate(made.uid, made.name, dataclasses.replace(ours, labels="{}"))
        found = await _found(runtime)
        assert _given(found) == ("{}", True)
        assert (found.uid, found.labels and found.labels.sandbox_id) == (made.uid, "a" * 32)
        await runtime.mark_claimed(found)

    async def test_a_sandbox_is_annotated_and_adopted_with_what_it_says(
        self, runtime: Runtime
    ) -> None:
        made = await runtime.create(_OURS)
        assert _given(await _found(runtime)) == ("", False)
        given = dataclasses.replace(_OURS, labels=_LABELS, env=True, idle_ms=1)
        await runtime.annotate(made.uid, made.name, given)
        found = await _found(runtime)
        assert _given(found) == (_LABELS, True)
        assert found.labels is not None
        assert found.labels.idle_ms == _OURS.idle_ms
        await runtime.adopt(found, dataclasses.replace(found.labels, generation=1001))
        assert _given(await _found(runtime)) == (_LABELS, True)

    async def test_a_late_writer_annotates_nothing(self, runtime: Runtime) -> None:
        made = await runtime.create(_OURS)
        for late in ({"generation": 999}, {"generation": 1001}, {"sandbox_id": "b" * 32}):
            with pytest.raises(CreationLostError):
                await runtime.annotate(
                    made.uid, made.name, dataclasses.replace(_OURS, labels=_LABELS, **late)
                )
        assert _given(await _found(runtime)) == ("", False)
        await runtime.stop(made.uid, made.name)
        with pytest.raises((SandboxLostError, CreationLostError)):
            await runtime.annotate(made.uid, made.name, _OURS)


async def _found(runtime: Runtime) -> SandboxObject:
    (found,) = await runtime.find(_THREAD)
    return found


def _given(sandbox: SandboxObject) -> tuple[str, bool]:
    assert sandbox.labels is not None
    return sandbox.labels.labels, sandbox.labels.env
