"""Run in fresh network and mount namespaces: makes a small Internet and says what can be reached.

A second namespace at the other end of a virtual cable plays everybody else; its name server answers
every question with one address. Nothing leaves the two namespaces.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from conftest import Commands  # type: ignore[import-not-found]
from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.runtimes.local import liveness, processes
from oneseek_sandbox.runtimes.local.runtime import LocalRuntime
from oneseek_sandbox.runtimes.runtime import Labels
from oneseek_sandbox.settings import Settings

OURS = ["198.51.100.5", "10.9.9.9", "203.0.113.77", "127.0.0.1"]
THEIRS = ["93.184.216.34", "10.9.9.1", "192.168.7.1", "169.254.169.254", "100.64.0.1"]
NEW_NET = 0x40000000


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)


def serve(address):
    listener = socket.create_server((address, 80))
    while True:
        connection, _ = listener.accept()
        connection.sendall(b"reached")
        connection.close()


def answer_names():
    """Answer every question for an IPv4 address with the public one."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("93.184.216.34", 53))
    while True:
        question, sender = server.recvfrom(512)
        end = question.index(b"\0", 12) + 5
        is_ipv4 = question[end - 4 : end - 2] == b"\0\1"
        header = question[:2] + struct.pack(">HHHHH", 0x8180, 1, int(is_ipv4), 0, 0)
        record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton("93.184.216.34")
        server.sendto(header + question[12:end] + (record if is_ipv4 else b""), sender)


def everybody_else(ready, go):
    os.read(go, 1)
    for address in THEIRS:
        ip("addr", "add", f"{address}/32", "dev", "lo")
    ip("link", "set", "lo", "up")
    ip("addr", "add", "198.51.100.1/24", "dev", "far")
    ip("link", "set", "far", "up")
    for address in THEIRS:
        threading.Thread(target=serve, args=(address,), daemon=True).start()
    threading.Thread(target=answer_names, daemon=True).start()
    os.write(ready, b"x")
    signal.pause()


def make_world():
    """Return the process that plays everybody else."""
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    (ready, says_ready), (go, says_go), (made, says_made) = os.pipe(), os.pipe(), os.pipe()
    other = os.fork()
    if other == 0:
        ctypes.CDLL(None).unshare(NEW_NET)
        os.write(says_made, b"x")
        everybody_else(says_ready, go)
    os.read(made, 1)
    ip("link", "add", "near", "type", "veth", "peer", "name", "far", "netns", str(other))
    ip("link", "set", "lo", "up")
    for address in OURS[:2]:
        ip("addr", "add", f"{address}/24", "dev", "near")
    ip("addr", "add", f"{OURS[2]}/32", "dev", "lo")
    ip("link", "set", "near", "up")
    os.write(says_go, b"x")
    os.read(ready, 1)
    ip("route", "add", "default", "via", "198.51.100.1")
    for address in OURS:
        threading.Thread(target=serve, args=(address,), daemon=True).start()
    return other


def open_tun_and_resolver(folder):
    """Give this mount namespace a tun device for every user, and a name server."""
    subprocess.run(["mount", "-t", "tmpfs", "none", str(folder)], check=True)
    os.mknod(folder / "tun", 0o20666, os.makedev(10, 200))
    (folder / "tun").chmod(0o666)
    subprocess.run(["mount", "--bind", str(folder / "tun"), "/dev/net/tun"], check=True)
    (folder / "resolv.conf").write_text("nameserver 93.184.216.34\n")
    resolver = os.path.realpath("/etc/resolv.conf")
    subprocess.run(["mount", "--bind", str(folder / "resolv.conf"), resolver], check=True)


CONNECT = """python3 -c "
import socket
try:
    print(socket.create_connection(('{}', 80), 5).recv(100).decode())
except OSError as error:
    print(error.strerror or error)
" """


async def report(home):
    runtime = LocalRuntime(Settings(home=home, network="on"))
    await runtime.open()
    labels = Labels(Thread("default", "conversation"), 1, 900_000, "0" * 32)
    sandbox = await runtime.create(labels)
    run = Commands()
    for address in [*THEIRS, *OURS, "2001:db8::1"]:
        print(address, (await run(sandbox, CONNECT.format(address))).output)
    name = "python3 -c \"import socket; print(socket.gethostbyname('example.test'))\""
    print("name", (await run(sandbox, name)).output)
    status = liveness.read_status(home / "sandboxes" / sandbox.name / "status")
    assert await runtime.stop(sandbox.uid, sandbox.name)
    left = [role for role in ("monitor", "child", "pasta") if lives(status, role)]
    print("left", " ".join(left) or "none")
    sandbox = await runtime.create(labels)
    status = liveness.read_status(home / "sandboxes" / sandbox.name / "status")
    os.kill(status["child-pid"], signal.SIGKILL)
    while await runtime.inspect(sandbox.uid, sandbox.name) != "stopped":
        await asyncio.sleep(0.01)
    await runtime.maintain()
    print("orphan", "runs" if lives(status, "pasta") else "ended")
    await runtime.stop(sandbox.uid, sandbox.name)
    await runtime.close()


def lives(status, role):
    return processes.start_time(status[f"{role}-pid"]) is not None


def main():
    home, folder = Path(tempfile.mkdtemp()), Path(tempfile.mkdtemp())
    other = make_world()
    try:
        open_tun_and_resolver(folder)
        asyncio.run(asyncio.wait_for(report(home), 90))
    finally:
        os.kill(other, signal.SIGKILL)
        shutil.rmtree(home)
        subprocess.run(["umount", "--lazy", str(folder)], check=False)
        folder.rmdir()


main()
