"""Files anywhere in the sandbox, where PROVISIONER_FILE_SCOPE is `sandbox`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from oneseek_sandbox.testing.verbs.calls import VerbsFixtures

if TYPE_CHECKING:
    from oneseek_sandbox.testing.verbs.calls import Sandbox

__all__ = ["PathsContract"]

_FOREIGN: Final = ("/new", "/etc/new", "/usr/bin/new", "/usr/new/new", "/etc/passwd")
_OWN: Final = ("/workspace/new", "/tmp/new", "/tmp/a/b/new", "/dev/shm/new")  # noqa: S108
_KERNELS: Final = ("/proc/self/environ", "/proc/1/root/etc/passwd", "/dev/fd/0", "/proc/new")


class PathsContract(VerbsFixtures):
    """What a server promises that serves every path of its sandboxes."""

    @pytest.mark.essential
    async def test_files_beside_the_workspace_are_served(self, sandbox: Sandbox) -> None:
        await sandbox.write("/tmp/deep/file", "one\ntwo\n")  # noqa: S108
        assert (await sandbox.run("cat /tmp/deep/file"))["stdout"] == "one\ntwo\n"
        await sandbox.call("replace", path="/tmp/deep/file", old="two", new="three")  # noqa: S108
        assert (await sandbox.read("/tmp/deep/file"))["content"] == "one\nthree\n"  # noqa: S108
        listed = await sandbox.call("ls", path="/tmp", depth=2)  # noqa: S108
        assert [e["path"] for e in listed["entries"]] == ["/tmp/deep", "/tmp/deep/file"]  # noqa: S108
        assert (await sandbox.run("pwd", cwd="/usr"))["stdout"] == "/usr\n"

    async def test_the_workspace_is_what_ls_lists_when_nothing_is_named(
        self, sandbox: Sandbox
    ) -> None:
        await sandbox.write("/workspace/file", "")
        listed = await sandbox.call("ls")
        assert [entry["path"] for entry in listed["entries"]] == ["/workspace/file"]

    @pytest.mark.essential
    @pytest.mark.parametrize("path", [*_OWN, *_FOREIGN])
    async def test_a_write_succeeds_where_a_command_may_write(
        self, sandbox: Sandbox, path: str
    ) -> None:
        parent = path.rpartition("/")[0]
        ended = await sandbox.run(f"mkdir -p '{parent}/' && printf x > '{path}'")
        fields = {"path": path, "content": "x"}
        if ended["exit_code"]:
            await sandbox.refused("write_file", status=403, code="permission_denied", **fields)
        else:
            await sandbox.run(f"rm '{path}'")
            assert (await sandbox.call("write_file", **fields))["created"] is True
        assert (ended["exit_code"] == 0) == (path in _OWN)

    async def test_links_lead_out_of_the_workspace(self, sandbox: Sandbox) -> None:
        await sandbox.run("ln -s /etc etc")
        read = await sandbox.read("/workspace/etc/passwd")
        assert read["content"] == (await sandbox.run("cat /etc/passwd"))["stdout"]

    @pytest.mark.essential
    @pytest.mark.parametrize("path", _KERNELS)
    async def test_what_the_kernel_makes_up_is_forbidden(self, sandbox: Sandbox, path: str) -> None:
        await sandbox.run(f"ln -s {path} link")
        for name in (path, "/workspace/link"):
            await sandbox.refused("read_file", status=403, code="permission_denied", path=name)
            await sandbox.refused(
                "write_file", status=403, code="permission_denied", path=name, content="x"
            )
            await sandbox.refused(
                "replace", status=403, code="permission_denied", path=name, old="a", new="b"
            )
        await sandbox.refused("ls", status=403, code="permission_denied", path="/proc")
        await sandbox.refused(
            "execute", status=403, code="permission_denied", command="true", cwd="/proc"
        )

    @pytest.mark.parametrize("path", ["relative", "/workspace/../etc/passwd", "base64:!"])
    async def test_a_path_is_absolute_and_without_dots(self, sandbox: Sandbox, path: str) -> None:
        await sandbox.refused("read_file", status=400, code="path_outside_workspace", path=path)

    async def test_devices_pipes_and_sockets_are_no_files(self, sandbox: Sandbox) -> None:
        await sandbox.run(
            "mkfifo /tmp/pipe; python3 -c 'import socket; socket.socket(1).bind(\"/tmp/sock\")'"
        )
        for path in ("/dev/null", "/dev/zero", "/tmp/pipe", "/tmp/sock"):  # noqa: S108
            await sandbox.refused("read_file", status=409, code="not_a_regular_file", path=path)
            await sandbox.refused(
                "write_file", status=409, code="not_a_regular_file", path=path, content="x"
            )
        await sandbox.refused("ls", status=409, code="not_a_directory", path="/tmp/pipe")  # noqa: S108
