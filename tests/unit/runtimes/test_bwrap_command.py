"""The command of a sandbox is a pure function of its plan."""

from __future__ import annotations

import dataclasses

from oneseek_sandbox.runtimes.local.bwrap_command import (
    Layout,
    Plan,
    bwrap_command,
    identity_files,
    variants,
)

PLAN = Plan(
    bwrap="/usr/bin/bwrap",
    variant="full",
    layout=Layout(links=(("/bin", "usr/bin"),), folders=("/lib64",)),
    workspace="/state/workspace",
    workspace_dir="/workspace",
    worker="/state/worker",
    payload=("/usr/bin/python3", "/run/worker"),
    data=(("/etc/passwd", 11),),
    seccomp_fd=12,
    tmp_bytes=1024,
    status_fd=13,
)


def pairs(command, option):
    return [command[i + 1 : i + 3] for i, word in enumerate(command) if word == option]


def test_every_namespace_is_new_and_nothing_is_privileged():
    command = bwrap_command(PLAN)
    for kind in ("user", "pid", "ipc", "uts", "net"):
        assert f"--unshare-{kind}" in command
    assert "--disable-userns" in command
    assert [command[command.index("--cap-drop") + 1]] == ["ALL"]
    assert "--clearenv" in command
    assert "--new-session" in command


def test_a_sandbox_outlives_the_server():
    assert "--die-with-parent" not in bwrap_command(PLAN)


def test_only_the_workspace_is_bound_writable():
    command = bwrap_command(PLAN)
    assert pairs(command, "--bind") == [["/state/workspace", "/workspace"]]
    assert pairs(command, "--dev-bind") == []


def test_the_root_and_dev_become_read_only_after_their_last_mount():
    command = bwrap_command(PLAN)
    root = command.index("--remount-ro", command.index("--bind"))
    assert command[root + 1] == "/"
    dev = command.index("--remount-ro")
    assert command[dev + 1] == "/dev"
    assert command.index("/dev/shm") < dev


def test_temporary_file_systems_have_a_size():
    command = bwrap_command(PLAN)
    for place in ("/tmp", "/dev/shm"):
        at = (
            command.index(place)
            if place != "/tmp"
            else command.index("--tmpfs", command.index("/dev/shm")) + 1
        )
        assert command[at - 3 : at - 1] == ["--size", "1024"]


def test_network_keeps_the_namespace_that_was_made_for_it():
    assert "--unshare-net" not in bwrap_command(dataclasses.replace(PLAN, network=True))


def test_less_than_the_full_profile_only_lets_go_of_the_nested_namespaces():
    full = bwrap_command(PLAN)
    less = bwrap_command(dataclasses.replace(PLAN, variant="nested-userns"))
    assert [word for word in full if word != "--disable-userns"] == less


def test_a_lent_python_is_read_only_and_on_the_path():
    plan = dataclasses.replace(PLAN, python_prefix=("/stage/python", "/opt/python"))
    command = bwrap_command(plan)
    assert ["/stage/python", "/opt/python"] in pairs(command, "--ro-bind")
    path = next(value for name, value in pairs(command, "--setenv") if name == "PATH")
    assert path.endswith(":/opt/python/bin")


def test_the_payload_comes_last():
    command = bwrap_command(PLAN)
    assert command[command.index("--") :] == ["--", "/usr/bin/python3", "/run/worker"]


def test_identity_files_name_the_user_and_the_home():
    files = identity_files("/workspace")
    assert "sandbox:x:1000:1000::/workspace:" in files["/etc/passwd"]
    assert "localhost" in files["/etc/hosts"]


def test_the_full_profile_of_every_program_is_tried_first():
    assert list(variants(["/usr/bin/bwrap", "/wheel/bwrap"])) == [
        ("/usr/bin/bwrap", "full"),
        ("/wheel/bwrap", "full"),
        ("/usr/bin/bwrap", "nested-userns"),
        ("/wheel/bwrap", "nested-userns"),
    ]


def test_the_environment_is_what_programs_need_and_no_more():
    names = [name for name, _ in pairs(bwrap_command(PLAN), "--setenv")]
    assert sorted(names) == ["HOME", "LANG", "LOGNAME", "PATH", "TMPDIR", "USER"]
