"""Ways to the deployment's public route: an address that is given, an ingress, a port-forward."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.e2e import cluster


@dataclass(frozen=True)
class Route:
    """A base URL, and the Host header it wants when that is not the URL's own."""

    url: str
    host: str | None = None

    @property
    def headers(self):
        return {"host": self.host} if self.host else {}


@contextmanager
def public_route():
    """Return ONESEEK_E2E_URL, or the ksvc's host at KNATIVE_INGRESS, or a forwarded port."""
    if url := os.environ.get("ONESEEK_E2E_URL"):
        yield Route(url, os.environ.get("ONESEEK_E2E_HOST"))
    elif ingress := os.environ.get("KNATIVE_INGRESS"):
        url = cluster.read("ksvc", "sandbox-route")["status"]["url"]
        yield Route(ingress, urlsplit(url).hostname)
    else:
        with forwarded("svc/sandbox-provisioner", 8002) as port:
            yield Route(f"http://127.0.0.1:{port}")


@contextmanager
def forwarded(target, port):
    """Forward a free local port; begun again whenever kubectl loses its pod."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        local = probe.getsockname()[1]
    forward = _Forward(["kubectl", "-n", cluster.SYSTEM, "port-forward", target, f"{local}:{port}"])
    forward.start()
    try:
        yield local
    finally:
        forward.stop()


class _Forward(threading.Thread):
    def __init__(self, command):
        super().__init__(daemon=True)
        self._command = command
        self._lock = threading.Lock()
        self._stopped = False
        self._process = None

    def run(self):
        while True:
            with self._lock:
                if self._stopped:
                    return
                self._process = subprocess.Popen(
                    self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
            self._process.wait()
            time.sleep(0.2)

    def stop(self):
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.terminate()
        self.join(timeout=10)
