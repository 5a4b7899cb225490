"""`serve` and `doctor`, as an operator sees them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from oneseek_sandbox.cli.serving import diagnose
from oneseek_sandbox.control import assembly
from oneseek_sandbox.runtimes.runtime import Check
from oneseek_sandbox.settings import Settings

CLI = [sys.executable, "-m", "oneseek_sandbox.cli"]


@pytest.fixture(scope="module")
def server(new_server):
    return new_server()


def run(*arguments, **environment):
    return subprocess.run(
        [*CLI, *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_last_line_of_the_start_works_when_pasted(server):
    line = server.log.read_text().splitlines()[-1]
    answer = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True).stdout
    assert '"reused":false' in answer.replace(" ", "")
    server.release_all()


def test_the_start_says_where_state_is_and_that_there_is_no_key(server):
    text = server.log.read_text()
    assert "home" in text
    assert "PROVISIONER_API_KEY" in text
    assert server.url in text


def test_the_end_says_what_stays_and_how_to_end_it(new_server):
    server = new_server()
    with server.client() as client:
        client.post("/v1/sandbox/acquire", json={"thread_id": "stays"}).raise_for_status()
    server.stop()
    said = server.log.read_text().splitlines()[-1]
    assert said.startswith("Stopped. 1 sandbox keeps running until idle.")
    assert f"PROVISIONER_HOME='{server.home}'" in said
    assert "oneseek-sandbox stop" in said
    server.start()


def test_a_second_server_on_the_port_names_the_first(server, tmp_path):
    second = run("serve", "--port", str(server.port), PROVISIONER_HOME=str(tmp_path))
    assert second.returncode == 1
    assert second.stderr.count("\n") == 1
    assert "oneseek-sandbox server already runs" in second.stderr
    assert f"pid {server.process.pid}" in second.stderr


def test_a_server_for_everybody_needs_a_key(tmp_path):
    refused = run("serve", "--host", "0.0.0.0", "--port", "0", PROVISIONER_HOME=str(tmp_path))
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert "PROVISIONER_ALLOW_NO_KEY" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_wrong_setting_ends_the_start_in_one_line():
    refused = run("serve", PROVISIONER_NETWORK="maybe")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "PROVISIONER_NETWORK" in refused.stderr


def test_the_doctor_tests_this_machine(tmp_path):
    told = run("doctor", PROVISIONER_HOME=str(tmp_path))
    assert told.returncode == 0, told.stdout + told.stderr
    assert "network" in told.stdout
    assert "isolated as required" in told.stdout


def test_the_doctor_says_what_to_do_where_sandboxes_cannot_be(tmp_path):
    # Root of a user namespace with one id: what a rootless container looks like.
    told = subprocess.run(
        ["unshare", "--user", "--map-root-user", *CLI, "doctor"],
        env=os.environ | {"PROVISIONER_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert told.returncode == 1, told.stdout + told.stderr
    assert told.stderr.startswith("oneseek-sandbox: ")
    assert "user" in told.stderr
    assert "Traceback" not in told.stderr


def test_the_doctor_names_what_fails_and_prints_the_fix_as_it_is(capsys, monkeypatch):
    class Runtime:
        async def check(self):
            return [
                Check("starts", passed=True, required=True),
                Check("no tracing", passed=False, required=True, detail="EFAULT", fix="a\n  b"),
                Check("network", passed=False, required=False, fix="apt-get install passt"),
            ]

        async def close(self):
            pass

    monkeypatch.setattr(assembly, "build_runtime", lambda settings: Runtime())
    assert diagnose(Settings()) == 1
    printed = capsys.readouterr().out
    assert "To fix no tracing:\n  a\n    b\n" in printed
    assert "apt-get install passt" in printed
    assert "Sandboxes are not isolated as required: no tracing.\n" in printed


def test_the_banner_is_the_first_thing_printed(server):
    assert server.log.read_text().startswith("oneseek-sandbox ")


@pytest.mark.finding(20)
@pytest.mark.parametrize("command", ["serve", "doctor"])
def test_a_misspelt_setting_is_refused_with_the_nearest_one(command, tmp_path):
    ran = run(command, PROVISIONER_HOME=str(tmp_path), PROVISIONER_MEMORY_LIMIT="64")
    assert ran.returncode != 0
    assert "PROVISIONER_MEMORY_LIMIT is not a setting" in ran.stderr
    assert "did you mean PROVISIONER_MEMORY_LIMIT_MB?" in ran.stderr
