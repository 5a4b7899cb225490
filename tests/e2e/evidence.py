"""What is shown of the cluster when a test fails."""

from __future__ import annotations

from tests.e2e import cluster

_SINCE = "--since=90s"
_READY = '.status.conditions[?(@.type=="Ready")]'
_SERVICES = f"custom-columns=NAME:.metadata.name,READY:{_READY}.status,WHY:{_READY}.message"


def collect():
    """Return the state of services and pods, their warnings, and what functions logged lately."""
    parts = [_ask("services", "get", "ksvc", "-o", _SERVICES)]
    for namespace in (cluster.SYSTEM, cluster.SANDBOXES):
        parts.append(_ask(f"pods of {namespace}", "get", "pods", "-o", "wide", namespace=namespace))
        warnings = ("get", "events", "--field-selector", "type=Warning")
        order = "--sort-by=.lastTimestamp"
        parts.append(_ask(f"warnings of {namespace}", *warnings, order, namespace=namespace))
    plane = "oneseek-sandbox/plane"
    for container, selector in (("function", f"{plane} in (data, control)"), ("nginx", plane)):
        which = ("-l", selector, "-c", container, "--prefix", _SINCE, "--tail=15")
        limit = "--max-log-requests=40"
        parts.append(_ask(f"log of {container}", "logs", *which, limit, "--ignore-errors"))
    return "\n\n".join(parts)


def _ask(title, *arguments, namespace=cluster.SYSTEM):
    try:
        text = cluster.kubectl(*arguments, namespace=namespace, check=False, seconds=20)
    except Exception as error:  # noqa: BLE001 - the test's own failure is the news
        text = str(error)
    return f"-- {title}\n" + "\n".join(text.splitlines()[-40:])
