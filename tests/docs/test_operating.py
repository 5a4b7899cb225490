"""docs/operating.md and its files: what can be run without systemd as process 1 is run."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from oneseek_sandbox.leases.embedded import EmbeddedServer
from oneseek_sandbox.testing.server import LiveServer, free_port

ROOT = Path(__file__).parents[2]
FILES = ROOT / "docs" / "operating"
PAGE = (ROOT / "docs" / "operating.md").read_text()
UNIT = (FILES / "oneseek-sandbox.service").read_text()
KEY = "key-of-the-operating-page"
# Ends and starts a server as the unit does: KillMode=process.
SYSTEMCTL = """\
#!/bin/sh -eu
test "$2" = oneseek-sandbox
case $1 in
  stop) if test -f server.pid; then
      kill "$(cat server.pid)"
      while kill -0 "$(cat server.pid)" 2>/dev/null; do sleep 0.05; done
      rm server.pid
    fi ;;
  start) if test -f server.pid && kill -0 "$(cat server.pid)" 2>/dev/null; then exit; fi
    oneseek-sandbox serve >>server.log 2>&1 &
    echo $! >server.pid
    curl -fsS --retry 100 --retry-delay 1 --retry-connrefused "http://127.0.0.1:$PORT/readyz" ;;
esac
"""


def blocks(heading):
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


class Machine:
    """A folder in which the page's commands find what they name."""

    def __init__(self, folder):
        self.folder = folder
        self.home = folder / "lib" / "oneseek-sandbox"
        (folder / "lib").mkdir()
        (folder / "bin").mkdir()
        self.add("systemctl", SYSTEMCTL)
        self.add(
            "oneseek-sandbox",
            f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m oneseek_sandbox.cli "$@"\n',
        )
        self.environment = os.environ | {
            "PATH": f"{folder / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "PORT": str(free_port()),
            "PROVISIONER_HOME": str(self.home),
            "PROVISIONER_API_KEY": KEY,
            "ONESEEK_SANDBOX_KEY": KEY,
            "NO_PROXY": "*",
        }

    def add(self, name, text):
        (self.folder / "bin" / name).write_text(text)
        (self.folder / "bin" / name).chmod(0o755)

    def run(self, script):
        text = script.replace("/var/lib", str(self.folder / "lib"))
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text.replace("/var/backups", str(self.folder))],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def must(self, script):
        done = self.run(script)
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture
def machine(tmp_path):
    made = Machine(tmp_path)
    yield made
    made.run("systemctl start oneseek-sandbox; oneseek-sandbox release -t a || true")
    made.run("systemctl stop oneseek-sandbox")
    EmbeddedServer.stop(made.home)


def test_a_backup_is_restored_with_the_files_of_its_threads(machine):
    """Also of those whose idle timeout has passed since."""
    (backup,) = blocks("Backup")
    (restore,) = blocks("Restore")
    machine.must("systemctl start oneseek-sandbox")
    machine.must("oneseek-sandbox acquire -t a")
    machine.must("oneseek-sandbox exec -t a -- 'echo kept > notes'")
    began = time.monotonic()
    machine.must(backup)
    # Long enough for what follows on this machine, and short enough to wait for.
    seconds = 5 + round(4 * (time.monotonic() - began))
    machine.must(f"oneseek-sandbox acquire -t a --idle-timeout {seconds}")
    machine.must(backup)
    # It was taken beside a live sandbox, which went on.
    assert "kept" in machine.must("oneseek-sandbox cat -t a /workspace/notes")
    refused = machine.run(restore)
    assert refused.returncode == 1
    assert "1 sandbox is alive: a" in refused.stderr
    machine.must("systemctl start oneseek-sandbox")
    (listed,) = json.loads(machine.must("oneseek-sandbox status --json"))["sandboxes"]
    over = datetime.fromisoformat(listed["expires_at"]).timestamp()
    machine.must("oneseek-sandbox release -t a")
    time.sleep(max(0.0, over - time.time()))
    machine.must(restore)
    machine.must("oneseek-sandbox acquire -t a")
    assert machine.must("oneseek-sandbox cat -t a /workspace/notes") == "kept\n"


def test_the_health_check_of_the_page_answers(machine):
    machine.must("systemctl start oneseek-sandbox")
    (check,) = blocks("Health")
    port = machine.environment["PORT"]
    assert '"ready"' in machine.must(check.replace("8002", port))


def test_every_file_of_the_folder_is_named_and_every_named_one_is_there():
    named = set(re.findall(r"operating/([\w.-]+\.\w+)", PAGE))
    assert named == {file.name for file in FILES.iterdir()}


def test_the_unit_keeps_what_outlives_the_server():
    assert "\nKillMode=process\n" in UNIT
    assert "\nDelegateSubgroup=oneseek-servers\n" in UNIT
    refused = re.findall(r"^\| (`[^|]*`) \|", PAGE.split("### Hardening")[1], re.MULTILINE)
    for option in re.findall(r"`([A-Z]\w+=)", " ".join(refused)):
        if option != "RestrictAddressFamilies=":
            assert f"\n{option}" not in UNIT, option


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_accepts_the_unit(tmp_path):
    unit = tmp_path / "oneseek-sandbox.service"
    unit.write_text(UNIT.replace("/opt/oneseek-sandbox/current/bin/oneseek-sandbox", "/bin/sh"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)],
        env=os.environ | {"SYSTEMD_LOG_COLOR": "0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # Before 254 that one is not known yet.
    said = [line for line in done.stderr.splitlines() if "DelegateSubgroup" not in line]
    assert (done.returncode, said) == (0, [])


@pytest.mark.skipif(not shutil.which("logrotate"), reason="needs logrotate")
def test_logrotate_accepts_its_file(tmp_path):
    done = subprocess.run(
        ["logrotate", "--debug", "--state", tmp_path / "state", FILES / "logrotate.conf"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "error:" not in done.stderr


@pytest.fixture
def front(tmp_path):
    """A server with a key behind nginx with the page's configuration; gives a client and both."""
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    openssl = shutil.which("openssl")
    if not (nginx and openssl):
        pytest.skip("needs nginx and openssl")
    names = {"PROVISIONER_ALLOWED_HOSTS": "sandbox.example.com"}
    with LiveServer(tmp_path, key=KEY, settings=names) as server:
        port = free_port()
        site = (FILES / "nginx.conf").read_text()
        for old, new in {
            "127.0.0.1:8002": f"127.0.0.1:{server.port}",
            "listen 443": f"listen 127.0.0.1:{port}",
            "/etc/oneseek-sandbox": str(tmp_path),
        }.items():
            assert old in site
            site = site.replace(old, new)
        (make_certificate,) = [b for b in blocks("nginx with TLS") if "openssl" in b]
        subprocess.run(
            ["sh", "-c", make_certificate.replace("/etc/oneseek-sandbox", str(tmp_path))],
            check=True,
            capture_output=True,
        )
        (tmp_path / "site.conf").write_text(site)
        kept = "".join(
            f"{what}_temp_path {tmp_path}/{what};\n"
            for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (tmp_path / "nginx.conf").write_text(
            f"daemon off;\npid {tmp_path}/nginx.pid;\nerror_log stderr;\nevents {{}}\n"
            f"http {{\naccess_log off;\n{kept}include {tmp_path}/site.conf;\n}}\n"
        )
        command = [nginx, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")]
        tested = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
        assert tested.returncode == 0, tested.stderr
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            made = Front(server, port)
            with contextlib.closing(made.client):
                yield made
        finally:
            process.terminate()
            process.wait(60)


class Front:
    """Calls a server by its name, through nginx."""

    def __init__(self, server, port):
        self.server = server
        self.client = httpx.Client(
            base_url=f"https://127.0.0.1:{port}",
            headers={"authorization": f"Bearer {KEY}", "host": "sandbox.example.com"},
            verify=False,
            trust_env=False,
            timeout=120,
        )
        deadline = time.monotonic() + 60
        while not self.is_up():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def is_up(self):
        try:
            return self.client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def post(self, verb, **fields):
        return self.client.post(f"/v1/sandbox/{verb}", json={"thread_id": "a", **fields})


def test_events_and_large_bodies_pass_nginx_as_they_come(front):
    assert front.post("acquire").status_code == 200
    # The command ends only when its first line has arrived here.
    waiting = "echo first; while [ ! -e go ]; do sleep 0.05; done; echo last"
    fields = {"thread_id": "a", "command": waiting, "timeout_seconds": 100}
    accept = {"accept": "text/event-stream"}
    seen = ""
    with front.client.stream("POST", "/v1/sandbox/execute", json=fields, headers=accept) as events:
        for piece in events.iter_text():
            if "first" in piece and "first" not in seen:
                front.post("write_file", path="/workspace/go", content="").raise_for_status()
            seen += piece
    assert "last" in seen
    content = "x" * 8_000_000
    written = front.post("write_file", path="/workspace/large", content=content)
    assert written.status_code == 200
    assert front.post("write_file", path="/workspace/l", content=content * 3).status_code == 413


def test_other_names_are_refused_and_an_absent_server_is_told_in_json(front):
    other = front.client.get("/v1/sandbox", headers={"host": "other.example.com"})
    assert (other.status_code, other.json()["error"]["code"]) == (403, "forbidden")
    front.server.stop()
    away = front.client.get("/v1/sandbox")
    assert (away.status_code, away.headers["retry-after"]) == (503, "2")
    assert away.json()["error"]["retryable"] is True
    front.server.start()
    assert front.client.get("/readyz").status_code == 200
