"""`stop` ends the embedded Valkey of a home that nobody needs any more, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from oneseek_sandbox.leases.embedded import EmbeddedServer
from oneseek_sandbox.runtimes.local.living import living_threads


@pytest.fixture
def server(new_server):
    return new_server()


def stop(home, **environment):
    return subprocess.run(
        [sys.executable, "-m", "oneseek_sandbox.cli", "stop"],
        env=os.environ | {"PROVISIONER_HOME": str(home)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_it_refuses_while_a_server_or_a_sandbox_lives_and_names_both(server):
    valkey = EmbeddedServer.process_id(server.home)
    with server.client() as client:
        fields = {"thread_id": "a thread", "scope": "of somebody"}
        client.post("/v1/sandbox/acquire", json=fields).raise_for_status()

    refused = stop(server.home)
    assert (refused.returncode, refused.stdout, refused.stderr.count("\n")) == (1, "", 1)
    assert f"process {server.process.pid}" in refused.stderr
    assert "of somebody/a thread" in refused.stderr

    server.stop()
    refused = stop(server.home)
    assert refused.returncode == 1
    assert "process" not in refused.stderr
    assert "1 sandbox is alive: of somebody/a thread" in refused.stderr

    server.start()
    server.release_all()
    refused = stop(server.home)
    assert refused.returncode == 1
    assert "alive" not in refused.stderr
    assert f"process {server.process.pid}" in refused.stderr
    assert EmbeddedServer.process_id(server.home) == valkey

    server.stop()
    stopped = stop(server.home)
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert str(server.home) in stopped.stdout
    assert EmbeddedServer.process_id(server.home) is None


def test_a_stop_forgets_no_lease(server):
    with server.client() as client:
        acquire = {"thread_id": "kept"}
        before = client.post("/v1/sandbox/acquire", json=acquire).json()
        client.post(
            "/v1/sandbox/write_file",
            json={"thread_id": "kept", "path": "/workspace/notes", "content": "still here"},
        ).raise_for_status()
        client.post("/v1/sandbox/execute", json={"thread_id": "kept", "command": "kill -9 -1"})
    server.stop()
    end_processes_of(server.home)
    assert stop(server.home).returncode == 0
    server.start()
    with server.client() as client:
        after = client.post("/v1/sandbox/acquire", json=acquire).json()
        read = client.post(
            "/v1/sandbox/read_file", json={"thread_id": "kept", "path": "/workspace/notes"}
        ).json()
    assert after["sandbox_id"] == before["sandbox_id"]
    assert after["restarted"]
    assert read["content"] == "still here"


def end_processes_of(home):
    """Kill a sandbox's first process, as a reboot would; its record and its files stay."""
    from oneseek_sandbox.runtimes.local.liveness import first_process

    for folder in (home / "sandboxes").iterdir():
        os.kill(first_process(folder / "status"), 9)
    deadline = time.monotonic() + 60
    while living_threads(home):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_home_where_nothing_runs_is_no_failure_and_is_not_made(tmp_path):
    done = stop(tmp_path / "nowhere")
    assert (done.returncode, done.stderr) == (0, "")
    assert "No embedded Valkey server runs" in done.stdout
    assert not (tmp_path / "nowhere").exists()


def test_a_server_that_hangs_is_left_alone_and_named(server):
    import signal

    server.stop()
    valkey = EmbeddedServer.process_id(server.home)
    os.kill(valkey, signal.SIGSTOP)
    try:
        refused = stop(server.home)
    finally:
        os.kill(valkey, signal.SIGCONT)
    assert refused.returncode == 1
    assert f"process {valkey}" in refused.stderr
    assert "does not answer" in refused.stderr
    assert EmbeddedServer.process_id(server.home) == valkey


def test_a_misspelt_setting_is_refused(tmp_path):
    refused = stop(tmp_path, PROVISIONER_HOMES="x")
    assert refused.returncode == 1
    assert "PROVISIONER_HOMES is not a setting" in refused.stderr


def test_help_says_what_it_needs():
    told = subprocess.run(
        [sys.executable, "-m", "oneseek_sandbox.cli", "stop", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert "PROVISIONER_HOME" in told
