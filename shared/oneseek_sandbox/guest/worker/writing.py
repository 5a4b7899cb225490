"""What a write request asks for, and what it must not touch."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.base import WorkerError
from oneseek_sandbox.guest.worker.place import check_regular, path_changed

if TYPE_CHECKING:
    from oneseek_sandbox.guest.worker.fields import Fields
    from oneseek_sandbox.guest.worker.place import Place

__all__ = ["WriteOrder", "check_hash", "check_writable"]


class WriteOrder:
    """What a write request asks for besides its bytes."""

    def __init__(self, path: str, fields: Fields) -> None:
        self.path = path
        self.append = fields.flag("append")
        self.create_only = fields.flag("create_only")
        self.sync = fields.flag("sync")
        self.if_sha256 = fields.optional_text("if_sha256", limit=64)
        mode = fields.optional_text("mode", limit=5)
        fields.close()
        if mode is not None and (not 3 <= len(mode) <= 4 or mode.strip("01234567")):
            raise WorkerError("invalid_request", "mode must be octal, like 0644.")
        self.mode = None if mode is None else int(mode, 8) & 0o777
        if self.create_only and (self.append or self.if_sha256 is not None):
            raise WorkerError("invalid_request", "create_only goes with neither of the others.")

    def check(self, place: Place) -> None:
        """Refuse what cannot be written, before and after the bytes have come."""
        if place.name == b".":
            raise WorkerError("is_a_directory", f"{self.path} is a directory, not a file.")
        if place.info is None:
            return
        check_regular(place.info, self.path)
        if self.create_only:
            raise WorkerError("file_exists", f"{self.path} is there already.")
        check_writable(place, self.path)


def check_writable(place: Place, path: str) -> None:
    """Refuse a read-only file, which a rename would replace all the same."""
    if not os.access(place.name, os.W_OK, dir_fd=place.directory, effective_ids=True):
        if place.refresh(path) is None:
            raise path_changed(path)
        raise WorkerError("permission_denied", f"{path} is read-only; change its mode first.")


def check_hash(wanted: str | None, found: str | None, path: str) -> None:
    """Refuse when the content is not the one the caller knows."""
    if wanted is not None and wanted.lower() != found:
        raise WorkerError("content_changed", f"{path} has changed ({found} now); read it again.")
