"""Names of the Redis keys.

All carry one hash tag, so that a cluster keeps them in one slot and a script may touch several.
A thread's tag is length-prefixed: whatever characters scope and thread id have, no two threads
share one.
"""

from __future__ import annotations

import base64
import hashlib
import re

from oneseek_sandbox.errors import ConfigurationError
from oneseek_sandbox.leases.store import Thread

__all__ = ["KeyNames", "noted", "request_digest", "thread_of_tag", "thread_tag"]


def thread_tag(thread: Thread) -> str:
    """Return the one name of a thread, like `7:default:abc`."""
    return f"{len(thread.scope)}:{thread.scope}:{thread.thread_id}"


def thread_of_tag(tag: str) -> Thread:
    """Return whose name `thread_tag` made."""
    length, _, rest = tag.partition(":")
    return Thread(rest[: int(length)], rest[int(length) + 1 :])


def noted(boot_id: str, pin_id: str) -> str:
    """Return what is noted of a request: the boot it was sent to, and its pin while it has one only."""
    return f"{boot_id} {pin_id}"


def request_digest(request_id: str) -> str:
    """Return what a store keeps of a `request_id`: 16 characters, whatever its length and content."""
    digest = hashlib.sha256(request_id.encode(errors="surrogatepass")).digest()
    return base64.urlsafe_b64encode(digest[:12]).decode("ascii")


class KeyNames:
    """The keys under one prefix.

    Attributes:
        stem: What every key begins with.
        live: Sorted set: tag of each lease → when it is over, in milliseconds.
        doomed: Sorted set: uid → when to look at it next, in milliseconds.
        doomed_entries: Hash: uid → what must be deleted, as JSON.
        doomed_tries: Hash: uid → how often that was tried.
        generation: The last generation given out.
        notices: Channel; a message is the tag of the thread that changed.
    """

    def __init__(self, prefix: str) -> None:
        # A brace would end the hash tag early, and the keys would scatter over the slots.
        if not re.fullmatch(r"[^{}\s]+", prefix):
            raise ConfigurationError(
                f"The Redis key prefix {prefix!r} must not be empty or contain braces or spaces."
            )
        self.stem = f"{{{prefix}}}:"
        self.live = self.stem + "live"
        self.doomed = self.stem + "doomed"
        self.doomed_entries = self.stem + "doomed-entries"
        self.doomed_tries = self.stem + "doomed-tries"
        self.generation = self.stem + "generation"
        self.notices = self.stem + "notices"

    def lease(self, tag: str) -> str:
        """Return the hash with the fields of a thread's lease."""
        return f"{self.stem}lease:{tag}"

    def pins(self, tag: str) -> str:
        """Return the sorted set of a lease's pins: pin id → deadline, in milliseconds."""
        return f"{self.stem}pins:{tag}"

    def requests(self, tag: str) -> str:
        """Return the hash of a lease's requests: digest of the `request_id` → where it was sent."""
        return f"{self.stem}requests:{tag}"

    def last_end(self, tag: str) -> str:
        """Return the generation of a thread's last end, while that is remembered."""
        return f"{self.stem}last-end:{tag}"

    def sandbox(self, sandbox_id: str) -> str:
        """Return the hash with a sandbox's thread and, once it ended, the reason."""
        return f"{self.stem}sandbox:{sandbox_id}"

    def env(self, sandbox_id: str) -> str:
        """Return the string with the variables that a lease was given, as JSON."""
        return f"{self.stem}env:{sandbox_id}"

    def once(self, name: str) -> str:
        """Return the string that is there while a `once` holds."""
        return f"{self.stem}once:{name}"

    def of_store(self) -> list[str]:
        """Return what transitions of any thread may touch."""
        doomed = [self.doomed, self.doomed_entries, self.doomed_tries]
        return [self.live, *doomed, self.generation]

    def of_thread(self, tag: str) -> list[str]:
        """Return what transitions of this thread may touch, but for ids they only learn there."""
        own = [self.lease(tag), self.pins(tag), self.requests(tag), self.last_end(tag)]
        return [*own, *self.of_store()]
