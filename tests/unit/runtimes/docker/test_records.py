"""What is written about a sandbox, and who wins when many write."""

from __future__ import annotations

import dataclasses
import threading

import pytest

from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.runtimes.docker.records import GIVEN, RECORD, Record, Records, newest_of
from oneseek_sandbox.runtimes.runtime import Labels

LABELS = Labels(Thread("Ü😀", "a/b\\c"), 7, idle_ms=900_000, sandbox_id="0" * 32, created_ms=5)
RECORD_0 = Record(LABELS)


class VolumesInMemory:
    """The part of an engine that records need: the first maker of a name decides its labels."""

    def __init__(self):
        self._lock = threading.Lock()
        self._volumes = {}

    def create_volume(self, name, labels):
        with self._lock:
            return self._volumes.setdefault(name, labels)

    def volumes(self, *labels):
        wanted = dict(label.split("=", 1) for label in labels)
        with self._lock:
            found = list(self._volumes.values())
        return [{"Labels": have} for have in found if wanted.items() <= have.items()]


@pytest.fixture
def records():
    return Records(VolumesInMemory(), "key")


def test_a_record_comes_back_as_it_was():
    record = Record(LABELS, claimed=True, restarted=True, ending=True, number=3)
    assert Record.from_labels(record.to_labels(), 3) == record


@pytest.mark.parametrize("text", ["", "{}", "[1]", '["a", "b", {}]', '["a", "b", 1]'])
def test_what_is_no_record_is_not_read(text):
    assert newest_of({RECORD: text}, []) is None


def test_the_newest_record_counts(records):
    claimed = records.change("name", RECORD_0, claimed=True)
    assert claimed is not None
    records.change("name", claimed, labels=dataclasses.replace(LABELS, generation=8))
    now = records.newest("name", {RECORD: RECORD_0.to_json()})
    assert now is not None
    assert (now.number, now.claimed, now.labels.generation) == (2, True, 8)


def test_of_many_writers_one_wins(records):
    wins = []
    start = threading.Barrier(16)

    def write(generation):
        start.wait()
        labels = dataclasses.replace(LABELS, generation=generation)
        if records.change("name", RECORD_0, labels=labels):
            wins.append(generation)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1
    now = records.newest("name", {RECORD: RECORD_0.to_json()})
    assert now is not None
    assert now.labels.generation == wins[0]


def test_a_late_writer_changes_nothing(records):
    claimed = records.change("name", RECORD_0, claimed=True)
    assert claimed is not None
    assert records.change("name", claimed, ending=True) is not None
    assert records.change("name", RECORD_0, claimed=False) is None
    assert records.change("name", claimed, ending=False) is None


def test_sandboxes_do_not_share_records(records):
    records.change("name", RECORD_0, claimed=True)
    other = records.newest("other", {RECORD: RECORD_0.to_json()})
    assert other == RECORD_0


def test_what_acquires_gave_is_beside_the_record_that_earlier_versions_read():
    given = dataclasses.replace(LABELS, labels='{"a":"b"}', env=True)
    labels = Record(given).to_labels()
    assert Record.from_labels(labels, 0) == Record(given)
    assert labels.pop(GIVEN)
    assert labels == Record(LABELS).to_labels()
