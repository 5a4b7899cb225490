"""What the findings of a probe inside a pod mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from oneseek_sandbox.runtimes.runtime import Check

if TYPE_CHECKING:
    from collections.abc import Mapping

    from oneseek_sandbox.runtimes.findings import Findings

__all__ = ["checks", "is_enforced"]

_UNLIMITED: Final = 1 << 60
_NEIGHBOUR: Final = "another sandbox"


def is_enforced(findings: Findings) -> bool:
    """Return whether the cluster enforces NetworkPolicy.

    Decided by the way to another sandbox's worker alone: something is known to listen there, so
    that a closed way is the policy's work. Elsewhere, closed may only mean that nobody listens.
    """
    return findings.reached[_NEIGHBOUR] != "open"


def checks(findings: Findings, *, open_allowed: bool) -> list[Check]:
    """Return the checks, network first."""
    return [*_network(findings, required=not open_allowed), *_inside(findings.facts)]


def _network(findings: Findings, *, required: bool) -> list[Check]:
    fix = (
        "Use a network plugin that enforces NetworkPolicy (Calico, Cilium; kind and Docker Desktop "
        "have none by default), and the component network-policy. Or accept it with "
        "PROVISIONER_ALLOW_OPEN_NETWORK=true; the warm pool stays at 0 without."
    )
    result = []
    for target, seen in findings.reached.items():
        closed = seen != "open"
        result.append(
            Check(
                name=f"no way to {target}",
                passed=closed,
                required=required and target != "the internet",
                detail=seen,
                fix="" if closed else fix,
            )
        )
    return result


def _inside(facts: Mapping[str, Any]) -> list[Check]:
    processes, memory = str(facts["processes"]), str(facts["memory"])
    has_memory = memory.isdigit() and int(memory) < _UNLIMITED
    hardened = {
        "not root": (facts["uid"] != 0, f"uid {facts['uid']}"),
        "no capabilities": (facts["capabilities"] == 0, f"{facts['capabilities']:#x}"),
        "no new privileges": (facts["no_new_privs"] == 1, ""),
        "read-only root": (not facts["writable_root"], ""),
        "no service account token": (not facts["token"], ""),
        "no cluster addresses in the environment": (not facts["environment"], ""),
    }
    required = [
        Check(name, passed, True, detail, "" if passed else "Look at PROVISIONER_POD_PATCH_FILE.")
        for name, (passed, detail) in hardened.items()
    ]
    own_kernel = "gvisor" in str(facts["kernel"]).lower()
    return [
        *required,
        Check("system call filter", facts["seccomp"] == 2 or own_kernel, True),
        Check(
            "memory limit",
            has_memory,
            False,
            memory,
            "" if has_memory else "Set PROVISIONER_POD_MEMORY_LIMIT, or a LimitRange.",
        ),
        Check(
            "process limit",
            processes.isdigit(),
            False,
            processes,
            "" if processes.isdigit() else "Set podPidsLimit in the kubelet's configuration.",
        ),
        Check(
            "a kernel of its own",
            own_kernel,
            False,
            "gVisor" if own_kernel else "shared with the node",
            "" if own_kernel else "Set PROVISIONER_RUNTIME_CLASS where the cluster has gVisor.",
        ),
    ]
