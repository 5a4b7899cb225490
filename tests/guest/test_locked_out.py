"""Whoever takes access to the workspace from himself can undo it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.guest.client import Client, Refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

pytestmark = pytest.mark.finding(14)

FIRST: dict[str, Callable[[Client, str], Any]] = {
    "execute": lambda client, home: client.execute("true"),
    "ls": lambda client, home: client.call("/ls", path=home),
    "read": lambda client, home: client.read(f"{home}/file"),
    "write": lambda client, home: client.write(f"{home}/new", b"new"),
    "replace": lambda client, home: client.call("/replace", path=f"{home}/file", old="a", new="b"),
}


@pytest.mark.parametrize("verb", FIRST)
@pytest.mark.parametrize("mode_bits", ["000", "644", "600", "a-x"])
def test_a_workspace_without_access_is_given_back(
    client: Client, home: Path, verb: str, mode_bits: str
) -> None:
    client.write(f"{home}/file", b"a")
    client.execute(f"chmod {mode_bits} .")
    FIRST[verb](client, str(home))
    assert client.execute("stat -c %A . | cut -c 1-4")["stdout"] == b"drwx\n"


def test_what_lies_below_is_given_back_by_the_command_that_the_error_names(
    client: Client, home: Path, mode: str
) -> None:
    client.write(f"{home}/dir/file", b"text")
    client.execute("chmod 644 dir; chmod 644 .")
    if mode != "root":
        with pytest.raises(Refused, match=r"permission_denied.*chmod -R u\+rwX"):
            client.read(f"{home}/dir/file")
    assert client.execute("chmod -R u+rwX .")["exit_code"] == 0
    assert client.read(f"{home}/dir/file")[1] == b"text"


def test_a_workspace_that_only_refuses_writing_stays_so(client: Client, home: Path) -> None:
    client.execute("chmod 555 .")
    client.call("/ls", path=str(home))
    assert client.execute("stat -c %a .; chmod 755 .")["stdout"] == b"555\n"
