"""A workspace that grows past its limit: what fills it is stopped, and nothing else is."""

from __future__ import annotations

import os

import pytest
from tests.guest.client import Refused, wait_until, worker_process
from tests.guest.conftest import UNUSED_UID, as_first_process, python_for

pytestmark = pytest.mark.finding(12)

MB = 1024**2
LIMIT = 24 * MB
VOLUME = 64 * MB
SLOWLY = "while :; do head -c 500000 /dev/zero >> file; sleep 0.02; done"


class Limited:
    """A worker whose workspace is a volume of 64 MB of its own."""

    def __init__(self, process):
        self.client = process.client()
        self.client.claim()
        self.root = str(process.workspace)

    def run(self, command, seconds=60):
        return self.client.execute(command, timeout_ms=1000 * seconds)

    def output(self, command):
        return self.run(command)["stdout"].decode()

    def used(self):
        return 1024 * int(self.output("du -sk . | cut -f1"))

    def write(self, name, body, **fields):
        return self.client.write(f"{self.root}/{name}", body, **fields)

    def refused(self, name, body, **fields):
        with pytest.raises(Refused) as error:
            self.write(name, body, **fields)
        return error.value


@pytest.fixture
def start_limited():
    uid = UNUSED_UID if os.geteuid() == 0 else None

    def prefix(folder):
        volume = ["--size", str(VOLUME), "--tmpfs", str(folder / "workspace"), "--"]
        return [*as_first_process(folder)[:-1], *volume]

    def start(*options):
        return worker_process(*options, python=python_for(uid), uid=uid, prefix=prefix)

    return start


@pytest.fixture
def limited(start_limited):
    with start_limited("--disk-limit", str(LIMIT)) as process:
        yield Limited(process)


def test_a_command_that_fills_the_workspace_is_stopped_and_says_so(limited):
    answer = limited.run(SLOWLY)
    assert answer["killed_by"] == "disk_limit"
    assert not answer["timed_out"]
    assert LIMIT <= limited.used() < 60 * MB


def test_what_a_finished_command_left_running_is_stopped_too(limited):
    limited.run(f"({SLOWLY}) > /dev/null 2>&1 & true")
    wait_until(lambda: limited.client.call("/health", "GET")["processes"] == 0, 30)
    assert LIMIT <= limited.used() < 60 * MB


def test_a_deleted_file_that_is_still_open_counts(limited):
    grows = "exec 3> file; rm file; while :; do head -c 500000 /dev/zero >&3; sleep 0.02; done"
    assert limited.run(grows)["killed_by"] == "disk_limit"


@pytest.mark.parametrize("mode", ["300", "000", "400"])
@pytest.mark.parametrize("folder", ["closed", "closed/below/closed"])
def test_what_is_written_into_a_closed_folder_counts_and_it_stays_closed(limited, mode, folder):
    fills = (
        f"mkdir -p {folder}; exec 3> {folder}/file; chmod {mode} {folder}; chmod {mode} closed; "
    )
    fills += "while :; do head -c 500000 /dev/zero >&3; sleep 0.02; done"
    assert limited.run(fills)["killed_by"] == "disk_limit"
    assert limited.output("stat -c %a closed") == f"{int(mode)}\n"
    limited.run("chmod -R u+rwX closed; rm -rf closed")
    limited.write("other", b"more")


def test_past_the_limit_files_are_read_deleted_and_cut_but_not_written(limited):
    limited.run(SLOWLY)
    assert limited.output("head -c 3 file | wc -c") == "3\n"
    assert limited.refused("other", b"more").code == "disk_full"
    assert limited.refused("file", b"more", append=True).code == "disk_full"
    assert limited.run("sleep 0.5; truncate -s 1000000 file; sleep 0.5")["killed_by"] is None
    limited.write("other", b"more")
    limited.run(SLOWLY)
    assert limited.run("rm file; sleep 0.5")["killed_by"] is None
    limited.write("other", b"more")


def test_a_write_that_would_pass_the_limit_is_refused_and_leaves_nothing(limited):
    error = limited.refused("large", bytes(LIMIT + 1))
    assert error.code == "disk_full"
    assert "24 MB" in error.message
    limited.write("half", bytes(LIMIT // 2))
    assert limited.refused("chunked", (bytes(65536) for _ in range(LIMIT // 65536))).code == (
        "disk_full"
    )
    assert limited.output("ls -A") == "half\n"


def test_a_replace_that_would_pass_the_limit_is_refused_and_leaves_the_file(limited):
    limited.write("file", b"a" * 1000)
    fields = {"old": "a", "new": "b" * (LIMIT // 500), "replace_all": True}
    with pytest.raises(Refused) as error:
        limited.client.call("/replace", path=f"{limited.root}/file", **fields)
    assert error.value.code == "disk_full"
    assert limited.output("ls -A; tr -d a < file | wc -c") == "file\n0\n"


def test_a_file_that_is_written_again_and_again_counts_once(limited):
    for _ in range(6):
        limited.write("third", bytes(LIMIT // 3))


def test_below_the_floor_only_what_grows_is_stopped(start_limited):
    with start_limited("--disk-floor", str(40 * MB)) as process:
        limited = Limited(process)
        assert limited.run(SLOWLY)["killed_by"] == "disk_limit"
        assert VOLUME - limited.used() < 40 * MB
        assert limited.run("sleep 1; echo small > small; cat small")["killed_by"] is None
        assert "all sandboxes" in limited.refused("note", b"a small one").message
        limited.run("rm file")
        limited.write("large", bytes(3 * MB))


def test_below_the_floor_a_little_is_written_by_everybody(start_limited):
    with start_limited("--disk-floor", str(2 * VOLUME)) as process:
        limited = Limited(process)
        limited.write("note", b"a small one")
        assert limited.refused("large", bytes(3 * MB)).code == "disk_full"
        assert limited.output("cat note; ls -A") == "a small onenote\n"


def test_without_a_limit_the_volume_is_the_limit(start_limited):
    with start_limited() as process:
        answer = Limited(process).run("cat /dev/zero > file")
        assert (answer["killed_by"], b"No space left" in answer["stderr"]) == (None, True)
