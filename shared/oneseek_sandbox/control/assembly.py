"""Puts the parts together as the settings say: the only module that knows all implementations."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from oneseek_sandbox.clock import SystemClock
from oneseek_sandbox.control.pins import Pins
from oneseek_sandbox.control.provisioner import Provisioner
from oneseek_sandbox.leases.store import LeaseTerms
from oneseek_sandbox.workers.client import WorkerClient

if TYPE_CHECKING:
    from oneseek_sandbox.leases.store import LeaseStore
    from oneseek_sandbox.runtimes.runtime import Runtime
    from oneseek_sandbox.settings import Settings

__all__ = [
    "build_provisioner",
    "build_runtime",
    "build_store",
    "lease_terms",
    "open_provisioner",
    "put_servers_first",
]


def lease_terms(settings: Settings) -> LeaseTerms:
    """Return what the settings say about leases."""
    return LeaseTerms(
        idle_ms=1000 * settings.idle_timeout_seconds,
        lifetime_ms=1000 * settings.max_lifetime_seconds,
        max_sandboxes=settings.max_sandboxes,
    )


def build_store(settings: Settings) -> LeaseStore:
    """Return the lease store: a file, the Redis of REDIS_URL, or the embedded server.

    Imported here, so that none is loaded that is not used.
    """
    terms = lease_terms(settings)
    if settings.state_store == "file":
        from oneseek_sandbox.leases.file import FileLeaseStore

        return FileLeaseStore(settings.home, terms)
    if url := settings.redis_url.get_secret_value():
        from oneseek_sandbox.leases.redis import RedisLeaseStore

        return RedisLeaseStore(url, terms, settings.redis_prefix)
    from oneseek_sandbox.leases.embedded_store import EmbeddedLeaseStore

    return EmbeddedLeaseStore(settings.home, terms, settings.redis_prefix)


def build_runtime(settings: Settings) -> Runtime:
    """Return the runtime. Imported here so that data verbs never load one."""
    if settings.runtime == "kubernetes":
        from oneseek_sandbox.runtimes.kubernetes.runtime import KubernetesRuntime

        return KubernetesRuntime(settings)
    if settings.runtime == "docker":
        from oneseek_sandbox.runtimes.docker.runtime import DockerRuntime

        return DockerRuntime(settings)
    from oneseek_sandbox.runtimes.local.runtime import LocalRuntime

    return LocalRuntime(settings)


def build_provisioner(settings: Settings, *, control: bool = True) -> Provisioner:
    """Return the provisioner, not yet connected.

    Args:
        control: Whether this process serves control verbs; if not, it gets neither the runtime
            nor the token key.
    """
    store = build_store(settings)
    workers = WorkerClient()
    acquisition = None
    if control:
        from oneseek_sandbox.auth import TokenKey
        from oneseek_sandbox.control.acquisition import Acquisition
        from oneseek_sandbox.control.claiming import Claims
        from oneseek_sandbox.control.creation import Creator
        from oneseek_sandbox.control.judgement import Judge

        runtime = build_runtime(settings)
        claims = Claims(
            runtime,
            workers,
            TokenKey.from_settings(settings),
            startup_seconds=settings.startup_timeout_seconds,
        )
        creator = Creator(store, runtime, claims, creation_ms=lease_terms(settings).creation_ms)
        acquisition = Acquisition(
            store,
            runtime,
            creator,
            Judge(store, runtime, workers),
            patience_seconds=settings.startup_timeout_seconds + 30,
        )
    return Provisioner(
        settings=settings,
        store=store,
        workers=workers,
        pins=Pins(store),
        clock=SystemClock(),
        acquisition=acquisition,
    )


async def open_provisioner(settings: Settings, *, control: bool = True) -> Provisioner:
    """Return a provisioner whose store answers and whose sandboxes are isolated.

    Raises:
        ConfigurationError: One of the two is not so; the message says how to fix it.
        StoreUnavailableError: The store does not answer.
    """
    from oneseek_sandbox.leases.reserve import Reserve

    # A start needs a little room: for the self-test's sandbox, and for where the store's socket is.
    Reserve(settings.home).give_up_if_full()
    provisioner = build_provisioner(settings, control=control)
    try:
        await provisioner.open()
    except BaseException:
        await provisioner.close()
        raise
    return provisioner


def put_servers_first(settings: Settings) -> None:
    """Give this process and its embedded store more of the processor than all sandboxes have.

    For a process that does nothing but serve, once its store is open. Where sandboxes run on other
    machines, or another program starts them, there is nothing to do.
    """
    if settings.runtime in ("docker", "kubernetes"):
        return
    from oneseek_sandbox.runtimes.local.shares import put_servers_first as put_first

    servers = [os.getpid()]
    if settings.state_store != "file" and not settings.redis_url.get_secret_value():
        from oneseek_sandbox.leases.embedded import EmbeddedServer

        store = EmbeddedServer.process_id(settings.home)
        servers += [store] if store else []
    put_first(servers)
