"""What a command printed, made into text for an answer. Pure."""

from __future__ import annotations

import base64
import codecs
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "OutputDecoder",
    "StreamDecoder",
    "StreamName",
    "hint_for",
    "joined",
    "printable",
    "to_text",
    "without_control_characters",
    "without_partial_end",
]

StreamName = Literal["stdout", "stderr"]

_NO_NETWORK: Final = (
    "temporary failure in name resolution",
    "name or service not known",
    "could not resolve host",
    "network is unreachable",
    "failed to establish a new connection",
    "no address associated with hostname",
    "getaddrinfo",
    "eai_again",
    "temporary failure resolving",
    "unable to resolve host",
    "connecttimeouterror",
    "connection timed out",
    "etimedout",
    "(from versions: none)",  # pip, whatever it was that kept it from its index
)
_NOT_THAT: Final = (
    " The sandbox has no network, so more time does not help a command that waits for one."
)
_WITHOUT_NETWORK: Final = (
    "This sandbox has no network access by design. Put what the command needs into the workspace with "
    "write_file, or ask the operator for a sandbox with network."
)


def joined(head: bytes, tail: bytes, total: int | None, *, exact: bool = False) -> bytes:
    """Join what was kept of an output; between head and tail a line says how much was left out.

    UTF-8 characters that the cut divides are left out whole.

    Args:
        total: How much it was; None if something was left out and nobody knows how much.
        exact: The bytes as they were printed, with nothing between and nothing more left out.
    """
    if exact or (total is not None and total <= len(head) + len(tail)):
        return head + tail
    head = without_partial_end(head)
    tail = tail[_partial_start(tail) :]
    left_out = "output" if total is None else f"{total - len(head) - len(tail)} bytes"
    return head + f"\n[... {left_out} left out ...]\n".encode() + tail


def to_text(data: bytes, *, encoding: str) -> tuple[str, bool]:
    r"""Return the text for an answer, and whether bytes were shown as `\xNN`."""
    if encoding == "base64":
        return base64.b64encode(data).decode("ascii"), False
    try:
        return data.decode("utf-8"), False
    except UnicodeDecodeError:
        return data.decode("utf-8", "backslashreplace"), True


class StreamDecoder:
    r"""Decodes output piece by piece; characters that a piece divides wait for the next one."""

    def __init__(self, encoding: str) -> None:
        self._base64 = encoding == "base64"
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def feed(self, data: bytes) -> str:
        """Return the text that `data` completes; may be empty."""
        if self._base64:
            return base64.b64encode(data).decode("ascii")
        return self._decoder.decode(data)

    def end(self) -> str:
        r"""Return what still waited, as `\xNN`; mostly empty."""
        return self._decoder.decode(b"", final=True)


class OutputDecoder:
    """Decodes what a command prints on both its streams."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._decoders: dict[StreamName, StreamDecoder] = {
            "stdout": StreamDecoder(encoding),
            "stderr": StreamDecoder(encoding),
        }

    def feed(self, stream: StreamName, data: bytes) -> list[tuple[StreamName, str]]:
        """Return the text that `data` completes, with its stream; mostly one pair."""
        text = self._decoders[stream].feed(data)
        return [(stream, text)] if text else []

    def break_off(self, stream: StreamName) -> list[tuple[StreamName, str]]:
        """Return what still waited on one stream, of which a part is missing now."""
        text = self._decoders[stream].end()
        self._decoders[stream] = StreamDecoder(self._encoding)
        return [(stream, text)] if text else []

    def end(self) -> list[tuple[StreamName, str]]:
        """Return what still waited; mostly nothing."""
        texts = [(stream, decoder.end()) for stream, decoder in self._decoders.items()]
        return [(stream, text) for stream, text in texts if text]


def hint_for(
    *,
    exit_code: int,
    killed_by: str | None,
    oom_kills: int = 0,
    stderr: str,
    network: bool,
    memory_limit: str,
    timeout_seconds: float,
    max_timeout_seconds: int,
    process_limit: int,
    ended: Mapping[str, int],
) -> str | None:
    """Return what went wrong with a command and what to do, where that is known."""
    out_of_memory = oom_kills > 0 or killed_by == "out_of_memory"
    failed = killed_by is None and exit_code != 0 and not ended
    may_miss_network = not (network or out_of_memory) and (failed or killed_by == "timeout")
    if may_miss_network and _speaks_of_network(stderr):
        return _WITHOUT_NETWORK
    hint = _HINTS.get(killed_by or "", "")
    hints = [hint.format(limit=process_limit)] if hint else []
    if killed_by == "timeout":
        hints = [
            f"The command timed out after {timeout_seconds:g} s; it and its child processes were killed. "
            f"Raise timeout_seconds (up to {max_timeout_seconds}), or start it in the background: "
            f"'cmd > log 2>&1 &'.{'' if network else _NOT_THAT}"
        ]
    if out_of_memory and not hint:
        hints.append(_memory_hint(memory_limit, oom_kills))
    if ended and not hints:
        names = ", ".join(f"{count} × {printable(name)}" for name, count in ended.items())
        hints.append(
            f"The sandbox had reached its limit of {process_limit} processes and threads. What "
            f"earlier commands had left running was ended to make room, newest first: {names}."
        )
    return " ".join(hints) or None


_HINTS: Final = {
    "monitor_killed": (
        "The process that supervises the command was killed from inside the sandbox, so the "
        "command was ended. Kill processes by their own id or name only."
    ),
    "process_limit": (
        "The command had started more than the {limit} processes and threads that a sandbox may "
        "have, so it was ended. Run fewer at once."
    ),
    "disk_limit": (
        "The workspace reached its disk limit, or the disk is nearly full, so everything that ran "
        "in the sandbox was ended. Delete files (rm works), then write less."
    ),
}


def _memory_hint(memory_limit: str, oom_kills: int) -> str:
    return (
        f"The sandbox reached its memory limit ({memory_limit}) and the kernel killed "
        f"{'a process' if oom_kills < 2 else f'{oom_kills} processes'} while the command ran, "
        "whatever its exit code says; output may be missing. Work on less at once."
    )


def _speaks_of_network(stderr: str) -> bool:
    text = stderr[-20_000:].lower()
    return any(phrase in text for phrase in _NO_NETWORK)


def printable(name: str) -> str:
    r"""Return a file name on one line, with control characters as escapes like `\n`."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in name
    )


def without_control_characters(text: str) -> str:
    r"""Return a text whose control characters, but newline and tab, are shown like `\x1b`.

    What a sandbox prints is hostile to the terminal that shows it.
    """
    return "".join(
        character
        if character in "\n\t" or character.isprintable()
        else character.encode("unicode_escape").decode()
        for character in text
    )


def without_partial_end(data: bytes) -> bytes:
    """Cut a character that lacks its last bytes; bytes that are no UTF-8 anyway stay."""
    for length in range(1, min(4, len(data) + 1)):
        byte = data[-length]
        if byte & 0xC0 == 0x80:
            continue
        needed = 2 if byte & 0xE0 == 0xC0 else 3 if byte & 0xF0 == 0xE0 else 4
        return data[:-length] if byte >= 0xC0 and length < needed else data
    return data


def _partial_start(data: bytes) -> int:
    """Count the bytes at the start that continue a character whose first byte is missing."""
    count = 0
    while count < min(3, len(data)) and data[count] & 0xC0 == 0x80:
        count += 1
    return count
