"""What is written about a local sandbox, for this version and for those before it."""

from __future__ import annotations

import dataclasses
import json

from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.runtimes.local.record import Record
from oneseek_sandbox.runtimes.runtime import Labels

PLAIN = Record("uid", "name", Labels(Thread("s", "t"), 7, 900_000, "s" * 32, 5), claimed=True)


def test_what_acquires_gave_is_beside_the_labels_that_earlier_versions_read():
    given = dataclasses.replace(PLAIN.labels, labels='{"a":"b"}', env=True)
    record = dataclasses.replace(PLAIN, labels=given)
    assert Record.from_json(record.to_json()) == record
    values = json.loads(record.to_json())
    assert values.pop("given") == {"labels": '{"a":"b"}', "env": True}
    assert values == json.loads(PLAIN.to_json())
    assert values["labels"].keys() == {
        "thread", "generation", "idle_ms", "sandbox_id", "created_ms",
    }  # fmt: skip


def test_a_record_of_an_earlier_version_gave_nothing():
    assert Record.from_json(PLAIN.to_json()) == PLAIN
