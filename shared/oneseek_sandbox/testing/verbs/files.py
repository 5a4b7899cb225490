"""ls, read_file, write_file, replace: exact bytes, atomic writes, and nothing outside the workspace."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import TYPE_CHECKING

import pytest

from oneseek_sandbox.testing.verbs.calls import Sandbox, VerbsFixtures

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["FilesContract"]

_EVERY_BYTE = bytes(range(256))


class FilesContract(VerbsFixtures):
    """What files promise."""

    async def test_text_comes_back_exactly(self, sandbox: Sandbox) -> None:
        text = "one\r\ntwo\n\tthree\u2028\u00e4\U0001f600 no newline at the end"
        written = await sandbox.write("/workspace/t", text)
        read = await sandbox.read("/workspace/t")
        assert read["content"] == text
        assert read["encoding"] == "utf-8"
        assert read["sha256"] == written["sha256"] == hashlib.sha256(text.encode()).hexdigest()
        assert read["size"] == written["size"] == len(text.encode())
        assert written["created"] is True

    @pytest.mark.essential
    async def test_every_byte_comes_back_exactly(self, sandbox: Sandbox) -> None:
        encoded = base64.b64encode(_EVERY_BYTE).decode()
        await sandbox.write("/workspace/b", encoded, encoding="base64")
        read = await sandbox.read("/workspace/b")
        assert read["encoding"] == "base64"
        assert base64.b64decode(read["content"]) == _EVERY_BYTE

    @pytest.mark.essential
    async def test_ten_mebibytes_stream_both_ways(self, sandbox: Sandbox) -> None:
        content = _EVERY_BYTE * 40_960
        response = await sandbox.client.post(
            "/v1/sandbox/write_file",
            params={"sandbox_id": sandbox.id, "path": "/workspace/big"},
            headers={"content-type": "application/octet-stream"},
            content=_in_pieces(content),
        )
        assert response.status_code == 200, response.text
        assert response.json()["sha256"] == hashlib.sha256(content).hexdigest()
        read = await sandbox.client.post(
            "/v1/sandbox/read_file",
            json={"sandbox_id": sandbox.id, "path": "/workspace/big"},
            headers={"accept": "application/octet-stream"},
        )
        assert read.status_code == 200, read.text
        assert read.headers["x-sandbox-size"] == str(len(content))
        assert read.content == content

    async def test_lines_are_read_by_number(self, sandbox: Sandbox) -> None:
        await sandbox.write("/workspace/l", "1\n2\n3\n4")
        part = await sandbox.read("/workspace/l", start_line=2, end_line=3)
        assert part["content"] == "2\n3\n"
        assert part["total_lines"] == 4
        assert part["truncated"] is False
        assert (await sandbox.read("/workspace/l", start_line=4))["content"] == "4"
        assert (await sandbox.read("/workspace/l", start_line=9))["content"] == ""

    async def test_a_path_that_ends_with_a_slash_is_no_file(self, sandbox: Sandbox) -> None:
        for path in ("/workspace/newdir/", "/workspace/newdir/."):
            message = await sandbox.refused(
                "write_file", path=path, content="x", status=409, code="is_a_directory"
            )
            assert "give the path of a file" in message
        listed = await sandbox.call("ls")
        assert "/workspace/newdir" not in [entry["path"] for entry in listed["entries"]]

    async def test_bytes_are_read_by_offset(self, sandbox: Sandbox) -> None:
        await sandbox.write("/workspace/o", "0123456789")
        part = await sandbox.read("/workspace/o", offset=3, limit=4)
        assert (part["content"], part["truncated"]) == ("3456", True)

    async def test_writing_makes_parents_and_keeps_the_mode(self, sandbox: Sandbox) -> None:
        await sandbox.write("/workspace/a/b/run.sh", "echo 1", mode="0755")
        await sandbox.write("/workspace/a/b/run.sh", "echo 2")
        assert (await sandbox.run("./a/b/run.sh"))["stdout"] == "2\n"

    async def test_a_reader_never_sees_half_a_write(self, sandbox: Sandbox) -> None:
        old, new = "a" * 500_000, "b" * 500_000
        await sandbox.write("/workspace/x", old)
        watch = "import time\nend=time.time()+1.5\nwhile time.time()<end:\n" + (
            " s=set(open('x').read()); assert len(s)==1, s\n"
        )
        watching = asyncio.create_task(sandbox.run(["python3", "-c", watch]))
        for content in (new, old) * 5:
            await sandbox.write("/workspace/x", content)
        assert (await watching)["exit_code"] == 0

    async def test_appends_never_interleave(self, sandbox: Sandbox) -> None:
        lines = [str(number % 10) * 20_000 + "\n" for number in range(20)]
        await asyncio.gather(
            *(sandbox.write("/workspace/log", line, append=True) for line in lines)
        )
        content = (await sandbox.read("/workspace/log"))["content"]
        assert sorted(content.splitlines(keepends=True)) == sorted(lines)

    async def test_create_only_refuses_a_file_that_is_there(self, sandbox: Sandbox) -> None:
        await sandbox.write("/workspace/c", "first", create_only=True)
        await sandbox.refused(
            "write_file",
            status=409,
            code="file_exists",
            path="/workspace/c",
            content="second",
            create_only=True,
        )
        assert (await sandbox.read("/workspace/c"))["content"] == "first"

    async def test_if_sha256_refuses_a_file_that_changed(self, sandbox: Sandbox) -> None:
        first = await sandbox.write("/workspace/p", "first")
        await sandbox.write("/workspace/p", "second", if_sha256=first["sha256"])
        for verb, fields in (
            ("write_file", {"content": "third"}),
            ("replace", {"old": "second", "new": "third"}),
        ):
            await sandbox.refused(
                verb,
                status=409,
                code="content_changed",
                path="/workspace/p",
                if_sha256=first["sha256"],
                **fields,
            )
        assert (await sandbox.read("/workspace/p"))["content"] == "second"

    async def test_replace_is_exact(self, sandbox: Sandbox) -> None:
        await sandbox.write("/workspace/r", "a.*b\r\na+b\n")
        answer = await sandbox.call("replace", path="/workspace/r", old="a.*b\r\n", new="$1\\n")
        assert answer["replacements"] == 1
        assert (await sandbox.read("/workspace/r"))["content"] == "$1\\na+b\n"

    @pytest.mark.essential
    async def test_replace_wants_one_place_or_all(self, sandbox: Sandbox) -> None:
        await sandbox.write("/workspace/r", "x y x")
        fields = {"path": "/workspace/r", "new": "z"}
        message = await sandbox.refused(
            "replace", status=409, code="text_not_unique", old="x", **fields
        )
        assert "2" in message
        await sandbox.refused("replace", status=409, code="text_not_found", old="q", **fields)
        assert (await sandbox.read("/workspace/r"))["content"] == "x y x"
        answer = await sandbox.call("replace", old="x", replace_all=True, **fields)
        assert answer["replacements"] == 2
        assert (await sandbox.read("/workspace/r"))["content"] == "z y z"

    @pytest.mark.essential
    async def test_ls_is_sorted_and_pages(self, sandbox: Sandbox) -> None:
        await sandbox.run("mkdir -p d/e && touch d/e/f d/a b && ln -s b link && mkfifo fifo")
        whole = await sandbox.call("ls", depth=3)
        assert [(e["path"], e["type"]) for e in whole["entries"]] == [
            ("/workspace/b", "file"),
            ("/workspace/d", "directory"),
            ("/workspace/d/a", "file"),
            ("/workspace/d/e", "directory"),
            ("/workspace/d/e/f", "file"),
            ("/workspace/fifo", "other"),
            ("/workspace/link", "symlink"),
        ]
        paged: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = await sandbox.call("ls", depth=3, limit=2, **cursor)
            paged += [entry["path"] for entry in page["entries"]]
            if not page["truncated"]:
                break
            cursor = {"cursor": page["cursor"]}
        assert paged == [entry["path"] for entry in whole["entries"]]

    async def test_odd_names_are_listed_and_can_be_used(self, sandbox: Sandbox) -> None:
        script = "import os\nfor n in (b'new\\nline', b' sp ace ', b'\\xff\\xfe', b'-rf', b'\"q'):"
        await sandbox.run(["python3", "-c", script + " open(n,'wb').write(n)"])
        entries = (await sandbox.call("ls"))["entries"]
        assert len(entries) == 5
        contents = {
            base64.b64decode((await sandbox.read(e["path"], encoding="base64"))["content"])
            for e in entries
        }
        assert contents == {b"new\nline", b" sp ace ", b"\xff\xfe", b"-rf", b'"q'}

    @pytest.mark.parametrize(
        "path",
        ["relative", "/etc/passwd", "/workspace/../etc/passwd", "/workspace2/x", "/", "base64:!"],
    )
    async def test_paths_outside_the_workspace_are_refused(
        self, sandbox: Sandbox, path: str
    ) -> None:
        for verb, fields in _file_calls(path):
            await sandbox.refused(verb, status=400, code="path_outside_workspace", **fields)

    @pytest.mark.essential
    async def test_symlinks_out_of_the_workspace_are_refused(self, sandbox: Sandbox) -> None:
        await sandbox.run("ln -s /etc etc; ln -s /etc/passwd passwd; ln -s ../tmp/new new")
        for path in ("etc/passwd", "passwd", "new"):
            for verb, fields in _file_calls(f"/workspace/{path}"):
                if verb != "ls":
                    await sandbox.refused(verb, status=400, code="path_outside_workspace", **fields)
        await sandbox.refused(
            "ls", status=400, code="path_outside_workspace", path="/workspace/etc"
        )

    async def test_symlinks_inside_the_workspace_are_followed(self, sandbox: Sandbox) -> None:
        await sandbox.run("mkdir real; ln -s real a; ln -s /workspace/real/f b; touch real/f")
        await sandbox.write("/workspace/b", "by link")
        assert (await sandbox.read("/workspace/a/f"))["content"] == "by link"
        assert (await sandbox.run("readlink b"))["stdout"] == "/workspace/real/f\n"

    async def test_what_is_no_file_is_refused_at_once(self, sandbox: Sandbox) -> None:
        await sandbox.run("mkfifo fifo; mkdir dir; ln -s loop loop")
        refusals = {
            "fifo": (409, "not_a_regular_file"),
            "dir": (409, "is_a_directory"),
            "missing": (404, "file_not_found"),
            "loop": (400, "path_outside_workspace"),
        }
        for name, (status, code) in refusals.items():
            await sandbox.refused("read_file", status=status, code=code, path=f"/workspace/{name}")
        await sandbox.write("/workspace/file", "")
        await sandbox.refused("ls", status=409, code="not_a_directory", path="/workspace/file")
        await sandbox.refused("ls", status=404, code="file_not_found", path="/workspace/nothing")

    async def test_a_mode_that_forbids_reading_is_told(self, sandbox: Sandbox) -> None:
        await sandbox.write("/workspace/closed", "x", mode="0000")
        await sandbox.refused(
            "read_file", status=403, code="permission_denied", path="/workspace/closed"
        )


def _file_calls(path: str) -> list[tuple[str, dict[str, object]]]:
    return [
        ("read_file", {"path": path}),
        ("write_file", {"path": path, "content": "x"}),
        ("replace", {"path": path, "old": "a", "new": "b"}),
        ("ls", {"path": path}),
    ]


async def _in_pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 100_000):
        yield content[start : start + 100_000]
