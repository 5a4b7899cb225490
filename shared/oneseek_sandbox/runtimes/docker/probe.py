"""The self-test: two trial sandboxes, what is closed to one of them, and what that means.

They are marked as ending from the start: nobody adopts them, and who comes by later deletes what a
crash left.
"""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any, Final

from oneseek_sandbox.errors import SandboxStartError
from oneseek_sandbox.guest.bundle import bundle
from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.runtimes.docker import container_state
from oneseek_sandbox.runtimes.docker.container_spec import PORT, USER, listener_name
from oneseek_sandbox.runtimes.docker.engine import EngineRefusalError
from oneseek_sandbox.runtimes.docker.records import Record
from oneseek_sandbox.runtimes.findings import Findings
from oneseek_sandbox.runtimes.runtime import Check, Labels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oneseek_sandbox.runtimes.docker.engine import Engine
    from oneseek_sandbox.runtimes.docker.resources import SandboxResources
    from oneseek_sandbox.settings import Settings

__all__ = ["judge", "probe"]

_PROGRAM: Final = bundle("network_probe").decode()
_INTERNET: Final = "the internet"
_HOST: Final = "the engine's host"
_UNLIMITED: Final = 1 << 60
# A refusal comes from somebody: the way there is open.
_REACHED: Final = ("open", "refused")
_FIX_HARDENING: Final = (
    "Look at what the engine does by default (daemon.json, containers.conf): its seccomp profile, "
    "its capabilities, and programs between it and its clients that change requests."
)
_FIX_LIMITS: Final = (
    "The engine has no control groups for this: see the warnings of `docker info`. Until then a "
    "sandbox can use all of it that the engine's machine has."
)
_FIX_NETWORK: Final = "Set PROVISIONER_NETWORK=off, which leaves sandboxes no network at all."


def probe(
    settings: Settings, engine: Engine, resources: SandboxResources, *, now_ms: int
) -> list[Check]:
    """Start the two, look, and remove them whatever happened.

    Raises:
        SandboxStartError: They do not start here.
    """
    labels = Labels(Thread("", "self-test"), 0, idle_ms=0, sandbox_id="", created_ms=now_ms)
    names = [f"oneseek-sb-trial-{secrets.token_hex(6)}" for _ in range(2)]
    try:
        uids = []
        for name in names:
            uids.append(resources.make(name, Record(labels, ending=True)))
            resources.start(uids[-1], listener_name(name))
        findings = _look(engine, uids[0], _targets(engine, names))
    except EngineRefusalError as error:
        raise container_state.start_refusal(error, settings) from error
    finally:
        for name in names:
            resources.remove(name)
    return judge(findings, settings)


def _targets(engine: Engine, names: list[str]) -> dict[str, list[Any]]:
    own, neighbour = [_network_of(engine, name) for name in names]
    return {
        "another sandbox": [neighbour["IPAddress"], PORT],
        _HOST: [own["Gateway"], 9],
        "the cloud's metadata": ["169.254.169.254", 80],
        _INTERNET: ["1.1.1.1", 443],
    }


def _network_of(engine: Engine, name: str) -> dict[str, str]:
    listener = engine.container(listener_name(name))
    networks = listener["NetworkSettings"]["Networks"] if listener else {}
    for network in networks.values():
        if network.get("IPAddress"):
            return {"IPAddress": network["IPAddress"], "Gateway": network["Gateway"]}
    raise SandboxStartError("The container with a sandbox's network did not stay up. Try again.")


def _look(engine: Engine, uid: str, targets: dict[str, list[Any]]) -> Findings:
    command = ["python3", "-c", _PROGRAM, json.dumps(targets)]
    output, errors = engine.execute(uid, command, f"{USER}:{USER}")
    try:
        found = json.loads(output)
        return Findings(reached=found.pop("reached"), facts=found)
    except (ValueError, KeyError):
        problem = errors.decode(errors="replace").strip()[-500:] or output[:200].decode("latin-1")
        raise SandboxStartError(f"The self-test failed in its sandbox: {problem}") from None


def judge(findings: Findings, settings: Settings) -> list[Check]:
    """Return what the findings mean."""
    return [*_network(findings, settings), *_hardening(findings), *_limits(findings)]


def _network(findings: Findings, settings: Settings) -> Iterator[Check]:
    for target, seen in findings.reached.items():
        closed = seen not in _REACHED
        if settings.network == "on" and target == _INTERNET:
            yield Check("a way to the internet", not closed, required=False, detail=seen)
            continue
        fix = "" if closed else _FIX_NETWORK
        yield Check(f"no way to {target}", closed, required=True, detail=seen, fix=fix)


def _hardening(findings: Findings) -> Iterator[Check]:
    facts = findings.facts
    own_kernel = "gvisor" in str(facts["kernel"]).lower()
    holds = {
        "not root": (facts["uid"] == USER, f"uid {facts['uid']}"),
        "no capabilities": (facts["capabilities"] == 0, f"{facts['capabilities']:#x}"),
        "no new privileges": (facts["no_new_privs"] == 1, ""),
        "system call filter": (facts["seccomp"] == 2 or own_kernel, f"mode {facts['seccomp']}"),
        "read-only root": (not facts["writable_root"], ""),
    }
    for name, (passed, detail) in holds.items():
        fix = "" if passed else _FIX_HARDENING
        yield Check(name, passed, required=True, detail=detail, fix=fix)


def _limits(findings: Findings) -> Iterator[Check]:
    memory, processes = str(findings.facts["memory"]), str(findings.facts["processes"])
    limits = {
        "memory limit": (memory.isdigit() and int(memory) < _UNLIMITED, memory),
        "process limit": (processes.isdigit(), processes),
    }
    for name, (passed, detail) in limits.items():
        fix = "" if passed else _FIX_LIMITS
        yield Check(name, passed, required=False, detail=detail, fix=fix)
