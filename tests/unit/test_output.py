"""Output made into text."""

from __future__ import annotations

import pytest

from oneseek_sandbox.output import StreamDecoder, hint_for, joined, to_text, without_partial_end


def hint(**changes):
    facts = {
        "exit_code": 1,
        "killed_by": None,
        "stderr": "",
        "network": False,
        "memory_limit": "64 MB",
        "timeout_seconds": 30,
        "max_timeout_seconds": 600,
        "process_limit": 512,
        "ended": {},
    }
    return hint_for(**{**facts, **changes})


def test_whole_output_is_untouched():
    assert joined(b"ab", b"", 2) == b"ab"
    assert joined(b"a\xe2", b"\x82\xac", 4) == b"a\xe2\x82\xac"


def test_what_was_left_out_is_counted():
    assert joined(b"head", b"tail", 108) == b"head\n[... 100 bytes left out ...]\ntail"
    assert joined(b"head", b"tail", None) == b"head\n[... output left out ...]\ntail"


def test_exact_bytes_have_nothing_of_ours_in_them():
    assert joined(b"a\xe2", b"\x82b", 108, exact=True) == b"a\xe2\x82b"


@pytest.mark.parametrize("cut", range(1, 12))
def test_characters_at_the_cut_are_left_out_whole(cut):
    data = "aé€😀".encode() * 3
    text, shown = to_text(joined(data[:cut], data[-cut:], 1000), encoding="utf-8")
    assert not shown
    assert set(text.replace("bytes left out", "")) <= set("aé€😀\n[.] 0123456789")


def test_only_partial_characters_are_cut_from_the_end():
    assert without_partial_end("a€".encode()) == "a€".encode()
    assert without_partial_end("a€".encode()[:-1]) == b"a"
    assert without_partial_end(b"a\xff") == b"a"
    assert without_partial_end(b"") == b""


def test_bytes_that_are_no_text_are_shown():
    assert to_text(b"a\xffb", encoding="utf-8") == ("a\\xffb", True)
    assert to_text(b"a\xffb", encoding="base64") == ("Yf9i", False)


def test_a_stream_waits_for_the_rest_of_a_character():
    decoder = StreamDecoder("utf-8")
    assert [decoder.feed(piece) for piece in (b"a\xe2", b"\x82", b"\xacb")] == ["a", "", "€b"]


@pytest.mark.finding(19)
def test_more_time_is_not_advised_for_what_waits_for_a_network_that_is_not_there():
    waited = "WARNING: Retrying: Failed to establish a new connection"
    assert "timeout_seconds" not in hint(killed_by="timeout", exit_code=124, stderr=waited)
    assert "no network" in hint(killed_by="timeout", exit_code=124, stderr=waited)
    silent = hint(killed_by="timeout", exit_code=124)
    assert "Raise timeout_seconds" in silent
    assert "no network" in silent
    assert "no network" not in hint(killed_by="timeout", exit_code=124, network=True)
    assert "no network" in hint(stderr="ERROR: No matching version (from versions: none)")


def test_hints_name_the_cause_and_the_way_out():
    assert "up to 600" in hint(killed_by="timeout")
    assert "64 MB" in hint(killed_by="out_of_memory")
    assert "more than the 512" in hint(killed_by="process_limit")
    assert "250 × sleep, 2 × a\\nb" in hint(exit_code=0, ended={"sleep": 250, "a\nb": 2})
    assert "no network" in hint(stderr="curl: (6) Could not resolve host: x")
    assert hint(stderr="Could not resolve host", network=True) is None
    assert hint(stderr="Could not resolve host", exit_code=0) is None
    assert hint(stderr="segfault") is None


@pytest.mark.finding(10)
@pytest.mark.parametrize("killed_by", [None, "timeout", "out_of_memory"])
def test_memory_that_ran_out_is_said_whatever_the_exit_code(killed_by):
    text = hint(exit_code=0, killed_by=killed_by, oom_kills=2)
    assert "memory limit (64 MB)" in text
    assert "2 processes" in text
    assert ("timeout_seconds" in text) is (killed_by == "timeout")
