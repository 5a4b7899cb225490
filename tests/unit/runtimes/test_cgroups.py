"""Control groups, on made-up trees of both versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from oneseek_sandbox.runtimes.local import cgroups, shares
from oneseek_sandbox.runtimes.local.cgroups import Limits, Parent


@pytest.fixture
def proc(tmp_path):
    """A /proc/self whose mounts are below the test's folder."""

    def make(groups, mounts):
        folder = tmp_path / "self"
        folder.mkdir()
        (folder / "cgroup").write_text(groups)
        lines = [
            f"30 20 0:25 {root} {tmp_path}{mount} rw,nosuid - {kind} {kind} {options}"
            for root, mount, kind, options in mounts
        ]
        (folder / "mountinfo").write_text("\n".join(lines) + "\n")
        return folder

    return make


def group(path, controllers=""):
    path.mkdir(parents=True, exist_ok=True)
    (path / "cgroup.procs").write_text("")
    (path / "cgroup.subtree_control").write_text(controllers)


@pytest.fixture(autouse=True)
def _kernel_makes_the_files(monkeypatch):
    """A new folder in a real tree has its files at once; in ours only where a parent has them."""
    make = Path.mkdir

    def mkdir(self, *arguments, **options):
        make(self, *arguments, **options)
        if (self.parent / "cgroup.procs").exists():
            (self / "cgroup.procs").write_text("")

    remove = Path.rmdir

    def rmdir(self):
        (self / "cgroup.procs").unlink(missing_ok=True)
        remove(self)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    monkeypatch.setattr(Path, "rmdir", rmdir)


def test_version_1_has_a_group_per_controller(proc, tmp_path):
    for path in ("memory/box", "pids", "cpu"):
        group(tmp_path / path)
    folder = proc(
        "9:name=systemd:/\n8:pids:/\n4:memory:/box\n1:cpu,cpuacct:/\n",
        [
            ("/", "/memory", "cgroup", "rw,memory"),
            ("/", "/pids", "cgroup", "rw,pids"),
            ("/", "/cpu", "cgroup", "rw,cpu,cpuacct"),
            ("/", "/systemd", "cgroup", "rw,name=systemd"),
        ],
    )
    found = {
        (str(p.path.relative_to(tmp_path)), *p.controllers) for p in cgroups.find_parents(folder)
    }
    assert found == {("memory/box", "memory"), ("pids", "pids"), ("cpu", "cpu")}


def test_version_2_goes_up_to_where_controllers_are_shared(proc, tmp_path):
    group(tmp_path / "unified", "memory")
    group(tmp_path / "unified/user", "cpu memory pids")
    group(tmp_path / "unified/user/server")
    folder = proc("0::/user/server\n", [("/", "/unified", "cgroup2", "rw")])
    (parent,) = cgroups.find_parents(folder)
    assert parent == Parent(tmp_path / "unified/user", 2, frozenset({"cpu", "memory", "pids"}))


def test_inside_a_container_the_mount_shows_a_part_of_the_tree(proc, tmp_path):
    group(tmp_path / "memory")
    folder = proc("4:memory:/docker/abc\n", [("/docker/abc", "/memory", "cgroup", "rw,memory")])
    (parent,) = cgroups.find_parents(folder)
    assert parent.path == tmp_path / "memory"


def test_a_server_in_the_servers_group_puts_sandboxes_beside_it(proc, tmp_path):
    group(tmp_path / "cpu")
    group(tmp_path / "cpu/oneseek-servers")
    folder = proc("1:cpu:/oneseek-servers\n", [("/", "/cpu", "cgroup", "rw,cpu")])
    (parent,) = cgroups.find_parents(folder)
    assert parent.path == tmp_path / "cpu"


def test_a_group_that_was_delegated_to_the_server_is_shared_out(proc, tmp_path, monkeypatch):
    """As with systemd's Delegate=yes and DelegateSubgroup=oneseek-servers."""
    write = Path.write_text

    def enable(self, text, **options):
        if self.name == "cgroup.subtree_control" and self.exists():
            text = f"{self.read_text()} {text.removeprefix('+')}"
        return write(self, text, **options)

    group(tmp_path / "unified/unit")
    group(tmp_path / "unified/unit/oneseek-servers")
    monkeypatch.setattr(Path, "write_text", enable)
    folder = proc("0::/unit/oneseek-servers\n", [("/", "/unified", "cgroup2", "rw")])
    (parent,) = cgroups.find_parents(folder)
    assert parent == Parent(tmp_path / "unified/unit", 2, frozenset({"cpu", "memory", "pids"}))


@pytest.mark.finding(15)
@pytest.mark.parametrize(
    ("version", "file", "weight"), [(1, "cpu.shares", "4096"), (2, "cpu.weight", "200")]
)
def test_all_sandboxes_share_one_weight(tmp_path, monkeypatch, version, file, weight):
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    memory = Parent(tmp_path / "memory", 1, frozenset({"memory"}))
    parent = Parent(tmp_path, version, frozenset({"pids", "cpu"}))
    gathered = Parent(tmp_path / "oneseek-sandboxes", version, parent.controllers)
    assert shares.gather([memory, parent]) == [memory, gathered]
    assert (gathered.path / file).read_text() == weight
    if version == 2:
        assert (gathered.path / "cgroup.subtree_control").read_text() == "+cpu +pids"


def test_sandboxes_are_not_gathered_where_that_is_refused(tmp_path):
    (tmp_path / "oneseek-sandboxes").touch()
    parent = Parent(tmp_path, 2, frozenset({"cpu"}))
    assert shares.gather([parent]) == [parent]


def test_where_nothing_can_be_written_there_is_nothing(proc, tmp_path):
    folder = proc("0::/\n", [("/", "/unified", "cgroup2", "rw")])
    assert cgroups.find_parents(folder) == []


def made_group(tmp_path, version, files):
    parent = tmp_path / "parent"
    target = parent / "oneseek-name"
    target.mkdir(parents=True)
    for file in files:
        (target / file).write_text("")
    controllers = frozenset({"memory", "pids", "cpu"})
    limits = Limits(memory_bytes=1000, processes=50, cpus=1.5)
    assert cgroups.create_groups([Parent(parent, version, controllers)], "name", limits) == [target]
    return {file: (target / file).read_text() for file in files}


def test_limits_of_version_2(tmp_path):
    assert made_group(tmp_path, 2, ["memory.max", "memory.swap.max", "pids.max", "cpu.max"]) == {
        "memory.max": "1000",
        "memory.swap.max": "0",
        "pids.max": "50",
        "cpu.max": "150000 100000",
    }


def test_limits_of_version_1(tmp_path):
    files = ["memory.limit_in_bytes", "pids.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"]
    assert made_group(tmp_path, 1, files) == {
        "memory.limit_in_bytes": "1000",
        "pids.max": "50",
        "cpu.cfs_quota_us": "150000",
        "cpu.cfs_period_us": "100000",
    }


def test_kills_for_want_of_memory_are_counted(tmp_path):
    (tmp_path / "memory.events").write_text("low 0\noom 4\noom_kill 3\n")
    assert cgroups.out_of_memory_kills([tmp_path]) == 3
    assert cgroups.out_of_memory_kills([]) == 0
