"""What a sandbox prints does nothing to a person's terminal but draw on it."""

from __future__ import annotations

import random

import pytest

from oneseek_sandbox.cli.screen import Screen

HOSTILE = {
    "clipboard": b"\x1b]52;c;cm0gLXJmIH4K\x07",
    "clipboard, by its long end": b"\x1b]52;c;cm0gLXJmIH4K\x1b\\",
    "clipboard, with a zero before": b"\x1b]052;c;cm0K\x07",
    "clipboard of kitty": b"\x1b]5522;type=read;Lg==\x07",
    "primary device attributes": b"\x1b[c",
    "secondary device attributes": b"\x1b[>0c",
    "tertiary device attributes": b"\x1b[=c",
    "identify": b"\x1bZ",
    "status": b"\x1b[5n",
    "cursor position": b"\x1b[6n",
    "extended cursor position": b"\x1b[?6n",
    "mode": b"\x1b[?2026$p",
    "state of settings": b"\x1bP$qm\x1b\\",
    "capabilities": b"\x1bP+q544e\x1b\\",
    "version": b"\x1b[>q",
    "parameters": b"\x1b[x",
    "checksum of the screen": b"\x1b[1;1;1;1;5;5*y",
    "title": b"\x1b[21t",
    "icon title": b"\x1b[20t",
    "size of the window": b"\x1b[18t",
    "window moved": b"\x1b[3;0;0t",
    "text colour asked for": b"\x1b]10;?\x07",
    "palette asked for": b"\x1b]4;1;?\x1b\\",
    "palette set and asked for": b"\x1b]4;1;#ff0000;2;?\x07",
    "keyboard protocol": b"\x1b[?u",
    "modified keys": b"\x1b[?4m",
    "graphics attributes": b"\x1b[?2;1S",
    "answerback": b"\x05",
    "printer": b"\x1b[5i",
    "graphics from a file": b"\x1b_Ga=T,t=f;L2V0Yy9wYXNzd2Q=\x1b\\",
    "files of iTerm2": b"\x1b]1337;File=name=eA==;inline=0:eA==\x07",
    "notification": b"\x1b]9;hello\x07",
    "reports of sizes": b"\x1b[?2048h",
    "keyboard locked": b"\x1b[2h",
    "8-bit answers": b"\x1b G",
    "another character set": b"\x1b%@",
    "passed through tmux": b"\x1bPtmux;\x1b\x1b]52;c;cm0K\x07\x1b\\",
    "locator": b"\x1b['|",
    "presentation state": b"\x1b[1$w",
}
HARMLESS = {
    "text": "żółw 漢字 👍\r\n\t".encode(),
    "colours": b"\x1b[1;31mred\x1b[0m \x1b[38;2;1;2;3mx\x1b[38:5:1mx",
    "cursor": b"\x1b[2J\x1b[H\x1b[10;20H\x1b[A\x1b[?25l\x1b7\x1b8\x1b[2 q",
    "alternate screen": b"\x1b[?1049h\x1b[22;0;0t\x1b[1;24r\x1b[?1h\x1b=",
    "mouse and paste": b"\x1b[?1000h\x1b[?1006;1002h\x1b[?2004h",
    "title": b"\x1b]0;me@host: ~\x07",
    "link": b"\x1b]8;;https://example.com\x07text\x1b]8;;\x07",
    "colour that is set": b"\x1b]11;#000000\x07",
    "lines": b"\x1b(0lqk\x1b(B\x0e\x0f\x1b#8",
    "editing": b"\x1b[4h\x1b[3P\x1b[2@\x1b[M\x1b[L\x1b[K\x1bM\x1bD",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_asks_or_acts_is_left_out(name):
    shown = Screen().feed(b"a" + HOSTILE[name] + b"z")
    assert b"\x1b" not in shown
    assert b"\x05" not in shown
    assert (shown[:1], shown[-1:]) == (b"a", b"z")


@pytest.mark.parametrize("name", HOSTILE)
def test_it_is_left_out_wherever_it_is_cut(name):
    whole = b"a" + HOSTILE[name] + b"z"
    for cut in range(1, len(whole)):
        screen = Screen()
        assert screen.feed(whole[:cut]) + screen.feed(whole[cut:]) == Screen().feed(whole)


@pytest.mark.parametrize("name", HARMLESS)
def test_what_draws_is_shown(name):
    drawn = HARMLESS[name]
    assert Screen().feed(drawn) == drawn
    for cut in range(1, len(drawn)):
        screen = Screen()
        assert screen.feed(drawn[:cut]) + screen.feed(drawn[cut:]) == drawn


def test_controls_of_eight_bits_are_none():
    for text in ("\x9b6n", "\x9d52;c;cm0K\x07", "\x90$qm\x9c"):
        shown = Screen().feed(text.encode()).decode()
        assert not any("\x80" <= character < "\xa0" for character in shown)
    assert b"\x9b" not in Screen().feed(b"\x9b6n")


def test_a_control_within_a_sequence_breaks_it():
    assert b"\x1b" not in Screen().feed(b"\x1b[6\nn \x1b[\x1b[6n \x1b\x00[6n")


def test_known_modes_pass_without_those_that_are_not():
    assert Screen().feed(b"\x1b[?25;2048;1049h") == b"\x1b[?25;1049h"


def test_a_string_without_an_end_is_not_kept():
    screen = Screen()
    assert screen.feed(b"\x1b]52;c;") == b""
    for _ in range(100):
        assert screen.feed(b"A" * 10_000) == b""
    assert screen.feed(b"\x07after") == b"\x07after"


def test_what_was_changed_is_set_back():
    screen = Screen()
    untouched = screen.reset()
    assert b"?" not in untouched, "nothing that moves the cursor of one who changed nothing"
    screen.feed(b"\x1b[?1049h\x1b[?25l\x1b[?2004h\x1b[?1003h\x1b[?7l\x1b[?1h\x1b[?1l\x1b[4h\x1b=")
    screen.feed(b"\x1b[2;5r\x1b]11;red\x07\x1b[6 q")
    reset = screen.reset()
    wanted = [b"?1049l", b"?25h", b"?2004l", b"?1003l", b"?7h", b"[4l", b"\x1b>", b"\x1b[r"]
    for sequence in [*wanted, b"\x1b]111\x07", b"\x1b[0 q", b"\x1b[0m"]:
        assert sequence in reset
    assert b"?1l" not in reset, "it was set back already"


@pytest.mark.parametrize("backwards", [False, True])
def test_a_mode_and_a_command_of_one_number_are_both_set_back(backwards):
    insert_mode, palette = b"\x1b[4h", b"\x1b]4;1;#123456\x07"
    screen = Screen()
    for sequence in (palette, insert_mode) if backwards else (insert_mode, palette):
        screen.feed(sequence)
    assert b"\x1b[4l" in screen.reset()
    assert b"\x1b]104\x07" in screen.reset()


def test_whatever_comes_is_a_known_sequence_or_none():
    seed = random.Random(11)
    alphabet = b"\x1b\x1b\x1b[[]P_?><;:01256 $*!'cnqtyuhlm\\\x07\x18\x9b\x9c\xc2a\n"
    passed = b"@ABCDEFGHIJKLMPSTXZ`abdefghlmqrstu"
    for _ in range(3000):
        data = bytes(seed.choice(alphabet) for _ in range(40))
        screen = Screen()
        shown = screen.feed(data[:17]) + screen.feed(data[17:])
        for sequence in shown.split(b"\x1b")[1:]:
            assert sequence[:1] not in b"P_^XkZ", data
            if sequence[:1] == b"[":
                body = sequence[1:].lstrip(b"0123456789;:<=>? ")
                assert body[:1] in passed, (data, sequence)
