"""What was read of a file, as deepagents shows files: pages of lines, or base64."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

from deepagents.backends.protocol import ReadResult
from deepagents.backends.sandbox import MAX_BINARY_BYTES, MAX_OUTPUT_BYTES, TRUNCATION_MSG
from deepagents.backends.utils import _get_backend_read_file_type

if TYPE_CHECKING:
    from oneseek_sandbox.models import ReadFileAnswer

__all__ = ["PREVIEW_BYTES", "binary", "is_text", "page"]

PREVIEW_BYTES: Final = MAX_BINARY_BYTES


def is_text(path: str) -> bool:
    """Tell whether deepagents takes a file of this name for text; it shows others as media."""
    return _get_backend_read_file_type(path) == "text"


def binary(path: str, content: bytes, size: int) -> ReadResult:
    """Return a whole file in base64, or the error that it is too large."""
    if size > MAX_BINARY_BYTES:
        return ReadResult(
            error=f"File '{path}': Binary file exceeds maximum preview size of "
            f"{MAX_BINARY_BYTES} bytes"
        )
    if not content:
        return ReadResult(file_data={"content": "", "encoding": "utf-8"})
    encoded = base64.b64encode(content).decode()
    return ReadResult(file_data={"content": encoded, "encoding": "base64"})


def page(path: str, answer: ReadFileAnswer, offset: int, limit: int) -> ReadResult:
    """Return the lines from `offset` on, at most `limit` and what deepagents shows at once.

    Args:
        answer: Of these lines; they end with LF or CRLF.
    """
    if limit == 0 and answer.size:
        return ReadResult(file_data={"content": "", "encoding": "utf-8"}, no_lines_requested=True)
    if answer.size == 0:
        return ReadResult(file_data={"content": "", "encoding": "utf-8"})
    total = answer.total_lines
    if not answer.content if total is None else offset >= total:
        length = f"{answer.size} bytes" if total is None else f"{total} lines"
        return ReadResult(
            error=f"File '{path}': Line offset {offset} exceeds file length ({length})"
        )
    text, is_cut = _at_most(answer.content, MAX_OUTPUT_BYTES - len(TRUNCATION_MSG))
    is_cut = is_cut or answer.truncated
    lines = text.replace("\r\n", "\n").split("\n")
    # After a last newline there is no line; a cut one is shown whole on the next page, except
    # when there is no other: then it counts, so that reading gets on.
    if len(lines) > 1 and (is_cut or not lines[-1]):
        del lines[-1]
    end = offset + len(lines)
    # The lines of a large file are not counted: a full page may have another one behind it.
    is_last = len(lines) < limit and not is_cut if total is None else end >= total
    return ReadResult(
        file_data={
            "content": "\n".join(lines) + (TRUNCATION_MSG if is_cut else ""),
            "encoding": "utf-8",
        },
        total_lines=total,
        start_line=offset + 1,
        end_line=end,
        next_offset=None if is_last else end,
    )


def _at_most(text: str, size: int) -> tuple[str, bool]:
    data = text.encode()
    return data[:size].decode(errors="ignore"), len(data) > size
