"""What a sandbox prints, made harmless for the terminal of a person. Pure.

A terminal does what it is told by the bytes that it shows: it fills the clipboard, prints, reads
files, and answers questions as if the answer had been typed. So only sequences that draw and set
what can be set back pass; whatever is not known is left out. A sequence passes whole or not at all,
so that terminals which read broken ones differently have none to read.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

__all__ = ["Screen"]

_LONGEST: Final = 4096
"""Characters of a sequence; what is longer is left out."""

_TOKEN: Final = re.compile(
    r"(?P<text>[^\x00-\x06\x10-\x1f\x7f-\x9f]+)"  # with bell, tabs, ends of lines, shifts
    r"|\x1b\[(?P<private>[<=>?]?)(?P<numbers>[0-9;:]*)(?P<between>[ -/]*)(?P<final>[@-~])"
    r"|\x1b\](?P<command>[^\x07\x18\x1a\x1b\x9c]*)(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[PX^_k][^\x18\x1a\x1b\x9c]*(?:\x1b\\|\x9c)"
    r"|\x1b(?P<escape>[ -/]*[0-Z\\`-~])"
    r"|(?:[\x00-\x06\x10-\x1f\x7f-\x9f])"
)
_BEGUN: Final = re.compile(
    r"\x1b(?:\[[<=>?]?[0-9;:]*[ -/]*|[\]PX^_k][^\x07\x18\x1a\x1b\x9c]*\x1b?|[ -/]*)"
)
_ENDLESS: Final = re.compile(r"\x1b[\]PX^_k]")
_STRING_END: Final = re.compile(r"[\x07\x18\x1a\x1b\x9c]")

_ESCAPES: Final = re.compile(r"[78=>DEHMNOc]|[()*+][0-9A-Za-z<>]|#[34568]")
# By final character, those without anything between but numbers: moving, erasing, colours, scrolling.
_PLAIN: Final = frozenset("@ABCDEFGHIJKLMPSTXZ`abdefgmrsu")
_WITH_SOMETHING: Final = frozenset({("?", "", "J"), ("?", "", "K"), (">", "", "m"), ("", " ", "q")})
_TITLE_STACK: Final = re.compile(r"2[23](?:;[0-9]*)*")
_ANSI_MODES: Final = frozenset({"4", "20"})
# Modes that send nothing by themselves, but for the mouse and the focus, which are set back.
_MODES: Final = frozenset(
    map(str, (1, 5, 6, 7, 12, 25, 45, 47, 66, 1000, *range(1002, 1008), 1015, *range(1047, 1050)))
) | {"2004", "2026"}
_ON_BY_DEFAULT: Final = frozenset({"7", "25"})
_CURSOR_SAVED: Final = frozenset({"1048"})  # which setting it back would move
_COMMANDS: Final = frozenset({"0", "1", "2", "4", "8", "10", "11", "12", "17", "19", "133"})
_COLOURS: Final = frozenset({"4", "10", "11", "12", "17", "19"})
_COLOUR_RESETS: Final = frozenset({"104", "110", "111", "112", "117", "119"})


class Screen:
    """Filters the bytes of one terminal, however they are cut, and knows how to set it back."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""  # the beginning of a sequence
        self._skips = False  # a string that was too long, up to its end
        self._modes: dict[str, bool] = {}
        self._undo: dict[str, str] = {}  # by the beginning and name of what is undone

    def feed(self, data: bytes) -> bytes:
        """Return what a terminal may be shown of the next bytes."""
        text = self._rest + self._decoder.decode(data)
        self._rest = ""
        if self._skips:
            end = _STRING_END.search(text)
            if end is None:
                return b""
            self._skips, text = False, text[end.start() :]
        shown: list[str] = []
        position = 0
        while position < len(text):
            if text[position] == "\x1b" and (begun := _BEGUN.fullmatch(text, position)):
                self._keep(begun[0])
                break
            token = _TOKEN.match(text, position)
            assert token is not None  # noqa: S101 - it takes any character
            shown.append(self._allowed(token))
            position = token.end()
        return "".join(shown).encode()

    def reset(self) -> bytes:
        """Return what sets the terminal back to what it was, as far as it was changed."""
        changed = [
            mode
            for mode, is_on in self._modes.items()
            if is_on != (mode in _ON_BY_DEFAULT) and mode not in _CURSOR_SAVED
        ]
        modes = [f"\x1b[?{mode}{'h' if mode in _ON_BY_DEFAULT else 'l'}" for mode in changed]
        return "".join(["\x1b[0m\x0f\x1b(B", *self._undo.values(), *modes]).encode()

    def _keep(self, begun: str) -> None:
        """Keep the beginning of a sequence until the rest is there."""
        if len(begun) <= _LONGEST:
            self._rest = begun
        else:
            self._skips = _ENDLESS.match(begun) is not None

    def _allowed(self, token: re.Match[str]) -> str:
        if token["text"] is not None:
            return token[0]
        if token["escape"] is not None:
            if token["escape"] == "=":
                self._undo["="] = "\x1b>"
            return token[0] if _ESCAPES.fullmatch(token["escape"]) else ""
        if token["command"] is not None:
            return self._command(token["command"])
        return "" if token["final"] is None else self._control_sequence(token)

    def _command(self, command: str) -> str:
        """Allow titles, links, and colours that are set and not asked for."""
        name, _, value = command.partition(";")
        clean = "".join(character for character in command if character.isprintable())
        if name in _COLOUR_RESETS or (
            name in _COMMANDS and not (name in _COLOURS and "?" in value)
        ):
            if name in _COLOURS:
                self._undo[f"]{name}"] = f"\x1b]{100 + int(name)}\x07"
            elif name == "8":
                self._undo["]8"] = "\x1b]8;;\x07"
            return f"\x1b]{clean}\x07"
        return ""

    def _control_sequence(self, token: re.Match[str]) -> str:
        private, between, final = token["private"], token["between"], token["final"]
        if len(token[0]) > _LONGEST:
            return ""
        if not between and final in "hl":
            return self._modes_of(private, token["numbers"], final)
        if (private, between, final) in _WITH_SOMETHING:
            if final in "mq":
                self._undo[f"[{final}"] = "\x1b[>4m" if final == "m" else "\x1b[0 q"
            return token[0]
        if private or between:
            return ""
        if final == "r":
            self._undo[f"[{final}"] = "\x1b7\x1b[r\x1b8"  # the cursor stays
        is_title = final == "t" and _TITLE_STACK.fullmatch(token["numbers"]) is not None
        return token[0] if final in _PLAIN or is_title else ""

    def _modes_of(self, private: str, numbers: str, final: str) -> str:
        known = {"?": _MODES, "": _ANSI_MODES}.get(private, frozenset())
        modes = [mode for mode in numbers.split(";") if mode in known]
        for mode in modes:
            if private:
                self._modes[mode] = final == "h"
            else:
                self._undo[f"[{mode}"] = f"\x1b[{mode}l"
        return f"\x1b[{private}{';'.join(modes)}{final}" if modes else ""
