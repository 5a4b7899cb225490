"""The file operations: read, write, replace."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.base import CHUNK, WorkerError
from oneseek_sandbox.guest.worker.connection import ConnectionLost
from oneseek_sandbox.guest.worker.drafts import Draft, Sync, is_draft, write_all
from oneseek_sandbox.guest.worker.fields import utf8
from oneseek_sandbox.guest.worker.listing import list_directory
from oneseek_sandbox.guest.worker.paths import MAX_PATH, OPEN_FILE
from oneseek_sandbox.guest.worker.replacement import Replacement
from oneseek_sandbox.guest.worker.scheduler import Locks, turn
from oneseek_sandbox.guest.worker.survey import Source, Survey
from oneseek_sandbox.guest.worker.writing import WriteOrder, check_hash, check_writable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from typing import Any

    from oneseek_sandbox.guest.worker.connection import Connection
    from oneseek_sandbox.guest.worker.disks import Disks
    from oneseek_sandbox.guest.worker.http import Request
    from oneseek_sandbox.guest.worker.paths import Workspace
    from oneseek_sandbox.guest.worker.place import Place
    from oneseek_sandbox.guest.worker.scheduler import Scheduler

__all__ = ["MAX_REPLACE_BYTES", "MAX_SURVEYED_BYTES", "SURVEY_SECONDS", "Files"]

MAX_REPLACE_BYTES = 64 * 1024 * 1024
MAX_SURVEYED_BYTES = 64 * 1024 * 1024  # larger files have no hash and no lines in answers
SURVEY_SECONDS = 15.0  # well before a caller gives up


class Files:
    """The file operations. Each gives way to other tasks between chunks."""

    def __init__(
        self,
        scheduler: Scheduler,
        workspace: Workspace,
        disks: Disks,
        to_disk: Callable[[list[int]], Awaitable[None]],
    ) -> None:
        self._workspace = workspace
        self._locks = Locks(scheduler)
        self._disks = disks
        self._to_disk = to_disk
        self._drafts: set[bytes] = set()

    async def sweep(self) -> None:
        """Delete the drafts of an earlier worker on these files: it was killed while it wrote."""
        waiting = list(self._workspace.swept)
        while waiting:
            folder = waiting.pop()
            with contextlib.suppress(OSError), os.scandir(folder) as entries:
                for number, entry in enumerate(entries):
                    name = os.fsencode(entry.name)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(folder + b"/" + name)
                    elif is_draft(name) and name not in self._drafts:
                        os.unlink(folder + b"/" + name)
                    if number % 256 == 255:
                        await turn()
            await turn()

    async def ls(self, request: Request) -> None:
        """List a directory, sorted by the names on the path."""
        await list_directory(request, self._workspace)

    async def read(self, request: Request) -> None:
        """Send a file or a range of it; the header says what the whole file is."""
        fields = await request.fields()
        request.subject = path = fields.text("path", limit=MAX_PATH)
        offset = fields.optional_integer("offset", 0, 1 << 62)
        limit = fields.optional_integer("limit", 0, 1 << 62)
        start_line = fields.optional_integer("start_line", 1, 1 << 62)
        end_line = fields.optional_integer("end_line", 1, 1 << 62)
        fields.close()
        if offset is not None and (start_line or end_line):
            raise WorkerError("invalid_request", "Give lines or an offset, not both.")
        fd = self._workspace.open_file(path)
        try:
            source = Source(fd)
            size = os.fstat(fd).st_size
            survey = Survey(start_line or 1, end_line, whole=size <= MAX_SURVEYED_BYTES)
            await self._survey(source, survey, request.connection, limit)
            size = size if survey.sha256 is None else survey.size
            begin = size if survey.begin is None else survey.begin
            begin = min(size, begin if offset is None else offset)
            stop = end = max(begin, size if survey.end is None else survey.end)
            if limit is not None:
                stop = min(end, begin + limit)
            meta = {"size": size, "sha256": survey.sha256, "total_lines": survey.total_lines}
            meta["truncated"] = stop < end
            await self._send_range(request, source, meta, begin, stop)
        finally:
            os.close(fd)

    async def write(self, request: Request) -> None:
        """Write a file whole, or append to it."""
        fields = request.meta()
        request.subject = path = fields.text("path", limit=MAX_PATH)
        order = WriteOrder(path, fields)
        with self._workspace.resolve(path, make_parents=True) as place:
            order.check(place)
            request.body.meter = await self._disks.meter(place, request.body.announced)
            action = self._append if order.append else self._write_whole
            await request.answer(await action(request, place, order))

    async def replace(self, request: Request) -> None:
        """Replace exact bytes, streaming, so that a large file does not become large memory."""
        fields = await request.fields()
        request.subject = path = fields.text("path", limit=MAX_PATH)
        old, new = (utf8(fields.text(name), name) for name in ("old", "new"))
        every = fields.flag("replace_all")
        if_sha256 = fields.optional_text("if_sha256", limit=64)
        fields.close()
        if not old:
            raise WorkerError("invalid_request", "old must not be empty.")
        with self._workspace.resolve_existing(path) as place:
            replacement = Replacement(old, new, every)
            async with self._locks.held(place.key(), request.connection):
                answer = await self._replace(request, place, replacement, if_sha256)
        await request.answer(answer)

    async def _replace(
        self, request: Request, place: Place, replacement: Replacement, if_sha256: str | None
    ) -> dict[str, Any]:
        path = request.subject
        if place.refresh(path) is None:
            raise WorkerError("file_not_found", f"{path} does not exist.")
        fd = self._workspace.open_place(place, path)
        try:
            info = os.fstat(fd)
            check_writable(place, path)
            if info.st_size > MAX_REPLACE_BYTES:
                raise WorkerError(
                    "file_too_large",
                    f"{path} has {info.st_size} bytes, and replace takes {MAX_REPLACE_BYTES} at "
                    "most; change it with a command, for example sed -i.",
                )
            with Draft(place.directory, self._drafts) as draft:
                draft.meter = await self._disks.meter(place, 0)
                survey = Survey()
                for chunk in Source(fd).chunks():
                    survey.feed(chunk)
                    replacement.feed(chunk, draft)
                    await request.connection.turn()
                replacement.close(draft)
                check_hash(if_sha256, survey.sha256, path)
                replacement.check(path)
                os.fchmod(draft.fd, stat.S_IMODE(info.st_mode))
                request.connection.check_present()
                draft.place(place.name)
                size, digest = draft.size, draft.sha256
        finally:
            os.close(fd)
        return {"replacements": replacement.count, "size": size, "sha256": digest}

    async def _write_whole(
        self, request: Request, place: Place, order: WriteOrder
    ) -> dict[str, Any]:
        sync = Sync(self._workspace, self._to_disk if order.sync else None)
        with Draft(place.directory, self._drafts) as draft:
            while piece := await request.body.read():
                draft.write(piece)
                await sync.wrote(draft.fd, len(piece))
                await turn()
            held = self._locks.held(place.key(), request.connection)
            async with held, sync.names(place.directory):
                before = place.refresh(order.path)
                order.check(place)
                await self._check_precondition(request, place, order)
                mode = 0o644 if before is None else stat.S_IMODE(before.st_mode)
                os.fchmod(draft.fd, mode if order.mode is None else order.mode)
                await sync.file(draft.fd)
                request.connection.check_present()
                draft.place(place.name, create_only=order.create_only)
            return {"size": draft.size, "sha256": draft.sha256, "created": before is None}

    async def _append(self, request: Request, place: Place, order: WriteOrder) -> dict[str, Any]:
        """Collect the body first: a client that breaks off must leave the file as it was."""
        head = bytearray()
        while len(head) < CHUNK and (piece := await request.body.read()):
            head += piece
        if request.body.finished:
            return await self._append_staged(request, [bytes(head)], place, order)
        with Draft(place.directory, self._drafts) as draft:
            draft.write(bytes(head))
            while piece := await request.body.read():
                draft.write(piece)
                await turn()
            return await self._append_staged(request, Source(draft.fd).chunks(), place, order)

    async def _append_staged(
        self, request: Request, chunks: Iterable[bytes], place: Place, order: WriteOrder
    ) -> dict[str, Any]:
        sync = Sync(self._workspace, self._to_disk if order.sync else None)
        held = self._locks.held(place.key(), request.connection)
        async with held, sync.names(place.directory):
            before = place.refresh(order.path)
            order.check(place)
            await self._check_precondition(request, place, order)
            request.connection.check_present()
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | OPEN_FILE
            fd = os.open(place.name, flags, 0o644, dir_fd=place.directory)
            try:
                self._workspace.check_file(fd, order.path)
                await self._append_chunks(fd, chunks, place, order, sync)
                size = os.fstat(fd).st_size
                survey = Survey(whole=size <= MAX_SURVEYED_BYTES)
                await self._survey(Source(fd), survey, request.connection)
            finally:
                os.close(fd)
        return {"size": size, "sha256": survey.sha256, "created": before is None}

    @staticmethod
    async def _append_chunks(
        fd: int, chunks: Iterable[bytes], place: Place, order: WriteOrder, sync: Sync
    ) -> None:
        """Add all of it, whoever leaves from here on; what cannot be added whole is taken back."""
        size = os.fstat(fd).st_size
        try:
            for chunk in chunks:
                write_all(fd, chunk)
                await sync.wrote(fd, len(chunk))
                await turn()
            if order.mode is not None:
                os.fchmod(fd, order.mode)
            await sync.file(fd)
        except BaseException:
            os.ftruncate(fd, size)
            if place.info is None:
                os.unlink(place.name, dir_fd=place.directory)
            raise

    async def _check_precondition(self, request: Request, place: Place, order: WriteOrder) -> None:
        if order.if_sha256 is None:
            return
        if place.info is None:
            raise WorkerError("content_changed", f"{order.path} does not exist any more.")
        fd = self._workspace.open_place(place, order.path)
        try:
            survey = Survey()
            await self._survey(Source(fd), survey, request.connection)
        finally:
            os.close(fd)
        check_hash(order.if_sha256, survey.sha256, order.path)

    @staticmethod
    async def _survey(
        source: Source, survey: Survey, connection: Connection, limit: int | None = None
    ) -> None:
        chunks = source.chunks()
        until = time.monotonic() + SURVEY_SECONDS
        while not survey.is_done(limit) and (chunk := next(chunks, b"")):
            survey.feed(chunk)
            await connection.turn()
            if time.monotonic() > until:
                raise WorkerError(
                    "file_too_large",
                    f"What was asked for is not known after {survey.size} bytes of the file. Give "
                    "an offset, or use a command, for example sed -n or sha256sum.",
                )

    @staticmethod
    async def _send_range(
        request: Request, source: Source, meta: dict[str, Any], begin: int, stop: int
    ) -> None:
        headers = (
            f"content-type: application/octet-stream\r\ncontent-length: {stop - begin}\r\n"
            f"x-meta: {json.dumps(meta)}\r\n"
        )
        head = request.head(200, headers)
        while begin < stop:
            chunk = source.at(begin, min(CHUNK, stop - begin))
            if not chunk:
                # The file shrank: a short body tells the client, a filled one would lie.
                raise ConnectionLost
            await request.connection.send(head + chunk)
            head = b""
            begin += len(chunk)
            await turn()
        await request.connection.send(head)
