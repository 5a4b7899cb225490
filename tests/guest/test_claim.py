"""Proof, claim, generations, the restart marker and the worker's own end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.guest.client import Client, Refused, WorkerProcess, below, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

SHORT_LIVED = """
import importlib.util, os, sys
path = os.path.join(os.path.dirname(__file__), "original.py")
spec = importlib.util.spec_from_file_location("worker", path)
worker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)
worker.IDLE_MARGIN_SECONDS = 0.2
worker.IDLE_CHECK_SECONDS = 0.05
worker.UNCLAIMED_SECONDS = 0.4
worker.SPARE_SECONDS = 0.2
worker.main()
"""


@pytest.fixture
def short_lived(tmp_path: Path) -> Path:
    """A program that is the worker with shorter times."""
    path = tmp_path / "short_lived.py"
    path.write_text(SHORT_LIVED)
    return path


def refusal(call: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(Refused) as refused:
        call()
    return refused.value.status, refused.value.code


def test_proof_before_a_claim_tells_no_boot_id(start: Callable[..., WorkerProcess]) -> None:
    answer = start().client().prove()
    assert answer == {"protocol": 1, "claimed": False, "restarted": False}


def test_proof_after_a_claim_shows_that_the_token_is_known(client: Client) -> None:
    answer = client.prove()
    assert answer["claimed"] is True
    assert answer["right"] is True
    assert client.claim()["boot_id"] == answer["boot_id"]


@pytest.mark.finding(7)
def test_a_claim_says_whether_the_workspace_is_empty(client: Client, home: Path) -> None:
    assert client.claim()["empty"] is True
    client.write(f"{home}/a", b"x")
    assert client.claim()["empty"] is False


def test_proof_differs_by_nonce_and_refuses_a_bad_one(client: Client) -> None:
    assert client.prove()["proof"] != client.prove()["proof"]
    for nonce in ("", "12", "g" * 32, "a" * 500):
        call = f"/proof?nonce={nonce}"
        assert refusal(lambda call=call: client.call(call, "GET")) == (400, "invalid_request")


def test_everything_is_refused_before_a_claim(start: Callable[..., WorkerProcess]) -> None:
    client = start().client()
    for path in ("/execute", "/ls", "/read", "/write", "/replace", "/cancel", "/nothing"):
        assert refusal(lambda path=path: client.call(path)) == (409, "unclaimed")
    assert refusal(lambda: client.call("/health", "GET")) == (409, "unclaimed")


def test_another_token_cannot_claim_nor_ask(client: Client, worker: WorkerProcess) -> None:
    other = worker.client(token="another-token-" + "1" * 30)
    assert refusal(other.claim) == (409, "claim_conflict")
    assert refusal(lambda: other.call("/health", "GET")) == (401, "bad_token")
    assert refusal(lambda: other.execute("true")) == (401, "bad_token")
    for token in ("", "x", client.token[:-1], client.token + "0"):
        wrong = worker.client(token=token)
        assert refusal(lambda wrong=wrong: wrong.call("/health", "GET")) == (401, "bad_token")
    assert client.execute("true")["exit_code"] == 0


def test_a_later_generation_shuts_the_earlier_out(worker: WorkerProcess) -> None:
    early, late = worker.client(generation=5), worker.client(generation=6)
    boot_id = early.claim()["boot_id"]
    assert late.claim()["boot_id"] == boot_id
    assert refusal(lambda: early.call("/health", "GET")) == (409, "stale_generation")
    assert refusal(early.claim) == (409, "stale_generation")
    assert late.call("/health", "GET")["commands"] == 0
    assert worker.client(generation=7).call("/health", "GET")["commands"] == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"token": ""},
        {"token": "short"},
        {"token": 5},
        {"token": "ä" * 40},
        {"generation": -1},
        {"generation": "1"},
        {"generation": True},
        {"idle_seconds": 0},
        {"surplus": 1},
    ],
    ids=str,
)
def test_a_malformed_claim_changes_nothing(
    start: Callable[..., WorkerProcess], changes: dict[str, object]
) -> None:
    client = start().client()
    assert refusal(lambda: client.claim(**changes)) == (400, "invalid_request")
    assert client.prove()["claimed"] is False
    client.claim()


@pytest.mark.parametrize("generation", ["", "-1", "1.0", "x", "9" * 30])
def test_a_malformed_generation_is_refused(client: Client, generation: str) -> None:
    client.generation = generation
    assert refusal(lambda: client.call("/health", "GET")) == (400, "invalid_request")


@pytest.mark.finding(1)
def test_a_worker_beside_a_marker_serves_nobody_until_the_same_token_claims_it(
    start: Callable[..., WorkerProcess], tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    client = start("--marker", str(marker)).client()
    assert not marker.exists()
    boot_id = client.claim()["boot_id"]
    assert marker.exists()
    client.claim()
    assert client.execute("true")["exit_code"] == 0

    again = start("--marker", str(marker)).client()
    assert again.prove() == {"protocol": 1, "claimed": False, "restarted": True}
    assert refusal(lambda: again.execute("true")) == (410, "restarted")
    assert refusal(lambda: again.call("/health", "GET")) == (410, "restarted")
    assert again.claim()["boot_id"] != boot_id
    proof = again.prove()
    assert (proof["claimed"], proof["restarted"], proof["right"]) == (True, False, True)
    assert again.execute("true")["exit_code"] == 0


@pytest.mark.finding(1)
def test_a_worker_beside_a_marker_refuses_another_token_and_an_earlier_generation(
    start: Callable[..., WorkerProcess], tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    start("--marker", str(marker)).client(generation=5).claim()
    restarted = start("--marker", str(marker))
    other = restarted.client(token="another-token-" + "1" * 30, generation=9)
    assert refusal(other.claim) == (409, "claim_conflict")
    assert refusal(restarted.client(generation=4).claim) == (409, "stale_generation")
    assert restarted.client().prove()["restarted"] is True
    restarted.client(generation=6).claim()
    # Once more: the generation of the claim before is on the volume too.
    third = start("--marker", str(marker))
    assert refusal(third.client(generation=5).claim) == (409, "stale_generation")
    assert refusal(other.claim) == (409, "claim_conflict")
    third.client(generation=6).claim()


@pytest.mark.finding(1)
def test_a_marker_tells_nothing_of_the_token(
    start: Callable[..., WorkerProcess], tmp_path: Path
) -> None:
    texts = []
    for name in ("one", "two"):
        start("--marker", str(tmp_path / name)).client().claim()
        texts.append((tmp_path / name).read_text())
    assert all("test-token" not in text for text in texts)
    assert texts[0] != texts[1]


@pytest.mark.finding(1)
@pytest.mark.parametrize("how", ["empty", "torn", "longer", "link", "folder", "pipe"])
def test_a_marker_that_names_no_token_lets_nobody_in(
    start: Callable[..., WorkerProcess], tmp_path: Path, how: str
) -> None:
    marker = tmp_path / "marker"
    start("--marker", str(marker)).client().claim()
    content = marker.read_bytes()
    marker.unlink()
    if how == "link":
        (tmp_path / "elsewhere").write_bytes(content)
        marker.symlink_to(tmp_path / "elsewhere")
    elif how == "folder":
        marker.mkdir()
    elif how == "pipe":
        os.mkfifo(marker)
    else:
        damaged = {"empty": b"", "torn": content[:-20], "longer": content + b"x" * 5000}
        marker.write_bytes(damaged[how])
    client = start("--marker", str(marker)).client()
    assert client.prove()["restarted"] is True
    assert refusal(client.claim) == (410, "restarted")
    assert refusal(lambda: client.call("/health", "GET")) == (410, "restarted")


@pytest.mark.finding(1)
def test_the_same_token_gets_in_where_the_marker_cannot_be_renewed(
    start: Callable[..., WorkerProcess], tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    start("--marker", str(marker)).client().claim()
    # What code inside may leave there, like a full volume: it must not lock its own thread out.
    (tmp_path / "marker.new").mkdir()
    again = start("--marker", str(marker)).client(generation=2)
    again.claim()
    assert again.execute("true")["exit_code"] == 0


def test_a_marker_that_cannot_be_written_leaves_the_worker_unclaimed(
    start: Callable[..., WorkerProcess], tmp_path: Path
) -> None:
    client = start("--marker", str(tmp_path / "missing" / "marker")).client()
    assert refusal(client.claim)[1] == "file_not_found"
    assert client.prove()["claimed"] is False


@pytest.mark.finding(21)
def test_a_proof_names_the_sandbox_that_the_worker_was_started_for(
    start: Callable[..., WorkerProcess],
) -> None:
    client = start("--uid", "8f14e45f-ea3a").client()
    assert client.prove()["uid"] == "8f14e45f-ea3a"
    client.claim()
    assert client.prove()["uid"] == "8f14e45f-ea3a"


def test_two_processes_have_two_boot_ids(start: Callable[..., WorkerProcess]) -> None:
    assert len({start().client().claim()["boot_id"] for _ in range(2)}) == 2


def test_an_idle_worker_ends_itself(start: Callable[..., WorkerProcess], short_lived: Path) -> None:
    worker = start(wrapper=short_lived)
    client = worker.client()
    client.claim(idle_seconds=900)
    client.execute("sleep 1000 &")
    client.call("/health?idle_seconds=1", "GET")
    wait_until(lambda: worker.process.poll() is not None, 5)
    assert worker.process.returncode == 0


def test_an_idle_worker_keeps_no_second_process(
    start: Callable[..., WorkerProcess], short_lived: Path
) -> None:
    worker = start(wrapper=short_lived)
    client = worker.client()
    client.claim()
    client.execute("true")
    wait_until(lambda: below(worker.process.pid))
    wait_until(lambda: not below(worker.process.pid))
    assert client.execute("echo again")["stdout"] == b"again\n"


def test_a_worker_with_work_does_not_end_itself(
    start: Callable[..., WorkerProcess], short_lived: Path
) -> None:
    client = start(wrapper=short_lived).client()
    client.claim(idle_seconds=1)
    assert client.execute("sleep 2; echo done")["stdout"] == b"done\n"


def test_an_unclaimed_worker_ends_itself_only_when_told_to(
    start: Callable[..., WorkerProcess], short_lived: Path
) -> None:
    staying = start(wrapper=short_lived)
    leaving = start("--unclaimed-exit", wrapper=short_lived)
    wait_until(lambda: leaving.process.poll() is not None, 5)
    assert leaving.process.returncode == 0
    assert staying.process.poll() is None
    assert staying.client().prove()["claimed"] is False


def test_strangers_do_not_keep_a_worker_alive(
    start: Callable[..., WorkerProcess], short_lived: Path
) -> None:
    worker = start(wrapper=short_lived)
    worker.client().claim(idle_seconds=1)
    stranger = worker.client(token="another-token-" + "1" * 30)

    def ended() -> bool:
        if worker.process.poll() is None:
            try:
                stranger.call("/health", "GET")
            except (Refused, OSError):
                return False
        return worker.process.poll() is not None

    wait_until(ended, 5)
