"""Run schedules of faults on a deployment: `python -m tests.faults.deployed [--count N]`.

On the cluster of KUBECONFIG, deployed by `make deploy`, which nobody else uses meanwhile; as root on
its only node, so that processes in pods can be paused and what commands did be seen. Functions that
ask the API server are led through a proxy in this process, and back at the end. A failure does
not end the run: its history, findings and logs go to a folder, and all are summed up at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import os
import secrets
import signal
import socket
import ssl
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from tests.e2e import cluster
from tests.faults.deployed.api_proxy import ApiProxy
from tests.faults.deployed.drive import Entry, run_schedule
from tests.faults.deployed.schedule import make_schedule
from tests.faults.live.__main__ import summary
from tests.faults.live.drive import Run

_CONTROL = ["acquire", "release", "cleanup_idle"]
_NAME = "faults-kubeconfig"
_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"
_KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: faults
clusters: [{{name: faults, cluster: {{server: "{server}"}}}}]
users: [{{name: faults, user: {{tokenFile: {token}}}}}]
contexts: [{{name: faults, context: {{cluster: faults, user: faults}}}}]
"""


def main() -> int:
    """Run, tell, and return 1 when anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.deployed", description=__doc__)
    parser.add_argument("--first", type=int, default=1, help="first seed")
    parser.add_argument("--count", type=int, default=20, help="how many seeds")
    parser.add_argument("--minutes", type=float, default=1e6, help="begin no seed after so many")
    parser.add_argument("--keep", type=Path, default=Path(".faults/deployed"), help="for failures")
    given = parser.parse_args()
    # Stopped, it still gives the functions back; a shell's background job would ignore this signal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        return asyncio.run(_run(given))
    except KeyboardInterrupt:
        return 130


async def _run(given: argparse.Namespace) -> int:
    runs = []
    begin = time.monotonic()
    entry = await _entry()
    async with _through_proxy() as proxy:
        try:
            for seed in range(given.first, given.first + given.count):
                if time.monotonic() - begin > 60 * given.minutes:
                    break
                prefix = f"faults-{seed}-{secrets.token_hex(3)}-"
                schedule = make_schedule(seed)
                run = await run_schedule(schedule, entry, proxy, prefix=prefix, keep=given.keep)
                runs.append(run)
                _tell(run)
        finally:
            print(summary(runs, time.monotonic() - begin))
            hit = ", ".join(f"{count} {what}" for what, count in sorted(proxy.hit.items()))
            print(f"calls to the API server: {hit}", flush=True)
    return 1 if any(run.findings for run in runs) else 0


def _tell(run: Run) -> None:
    took = " ".join(f"{name} {each:.0f}" for name, each in run.seconds.items())
    print(f"{'FOUND' if run.findings else 'ok   '} {took}  {run.schedule}", flush=True)
    for finding in run.findings:
        print(f"        {finding}", flush=True)


async def _entry() -> Entry:
    """Return the public route, as it is reached through the ingress."""
    ingress = os.environ["KNATIVE_INGRESS"]
    host = urlsplit(cluster.read("ksvc", "sandbox-route")["status"]["url"]).hostname
    key = cluster.secret("oneseek-sandbox-keys", "backend-key")
    entry = Entry(ingress, {"host": host, "authorization": f"Bearer {key}"})
    async with httpx.AsyncClient(base_url=ingress, headers=entry.headers) as client:
        await cluster.answers(client)
    return entry


@contextlib.asynccontextmanager
async def _through_proxy() -> AsyncIterator[ApiProxy]:
    """Lead the functions that ask the API server through a proxy for a while."""
    config = _cluster_of_kubeconfig()
    tls = ssl.create_default_context(cadata=config["authority"])
    tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
    proxy = ApiProxy(config["server"], tls)
    await proxy.start()
    server = f"http://{_address_towards_pods()}:{proxy.port}"
    text = _KUBECONFIG.format(server=server, token=_TOKEN)
    cluster.kubectl("create", "configmap", _NAME, f"--from-literal=config={text}")
    environment = {"KUBECONFIG": f"/etc/{_NAME}/config"}
    scale = {"autoscaling.knative.dev/min-scale": "1"}
    try:
        async with cluster.changed(_CONTROL, environment, scale, mounted=_NAME):
            yield proxy
    finally:
        cluster.kubectl("delete", "configmap", _NAME)
        await proxy.stop()


def _cluster_of_kubeconfig() -> dict[str, str]:
    found = cluster.kubectl(
        "config", "view", "--raw", "--minify", "-o",
        "jsonpath={.clusters[0].cluster.server} {.clusters[0].cluster.certificate-authority-data}",
        namespace="",
    )  # fmt: skip
    server, _, authority = found.partition(" ")
    return {"server": server, "authority": base64.b64decode(authority).decode()}


def _address_towards_pods() -> str:
    """Return this machine's address on its way to the pods."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        pods = cluster.read("pods", "-l", "app=oneseek-sandbox-redis")["items"]
        way.connect((pods[0]["status"]["podIP"], 80))
        return str(way.getsockname()[0])


if __name__ == "__main__":
    sys.exit(main())
