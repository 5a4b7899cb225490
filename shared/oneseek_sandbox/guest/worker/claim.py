"""Who this worker belongs to: token, generation, restart marker."""

from __future__ import annotations

import binascii
import contextlib
import errno
import os
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.base import WorkerError, from_os_error
from oneseek_sandbox.guest.worker.digest import hmac_sha256

if TYPE_CHECKING:
    from typing import Any

__all__ = ["FEATURES", "MAX_MARKER_BYTES", "PROTOCOL", "Claim", "Marker", "restarted"]

PROTOCOL = 1
# What this worker knows beyond version 1 of the protocol: fields and verbs by the words that the
# documentation of the protocol gives them. A lease keeps them, so that nothing else is asked.
FEATURES = ("env", "processes", "stdin_path", "terminal")
MAX_MARKER_BYTES = 256


class Marker:
    """What a claim leaves on a volume that outlives the process: who may claim the next one.

    A line of the format's number, a salt, the token's digest under it, and the generation. Code
    inside may write here, so what is read is bounded and checked; it harms its own sandbox only.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.is_there = os.path.lexists(path)

    def check(self, token: bytes, generation: int) -> None:
        """Let only the token that the marker names pass, or any where there is none.

        A marker that cannot be read names no token: nobody passes.
        """
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(self._path, flags)
        except FileNotFoundError:
            self.is_there = False
            return
        except OSError:
            raise restarted() from None
        try:
            content = os.read(fd, MAX_MARKER_BYTES + 1)
            form, salt, digest, claimed = content.decode("ascii").split(" ")
            whole = form == "1" and len(digest) == 64 and claimed.endswith("\n")
            key, last = binascii.unhexlify(salt), int(claimed)
        except (OSError, ValueError):
            whole = False
        finally:
            os.close(fd)
        if not whole or len(content) > MAX_MARKER_BYTES:
            raise restarted()
        if hmac_sha256(key, token).hex() != digest:
            raise WorkerError("claim_conflict", "This sandbox was claimed with another token.")
        if generation < last:
            raise WorkerError("stale_generation", "A later generation holds this sandbox.")

    def leave(self, token: bytes, generation: int) -> None:
        """Name a token that `check` let pass. The kernel may end this process at any time."""
        salt = os.urandom(16)
        line = f"1 {salt.hex()} {hmac_sha256(salt, token).hex()} {generation}\n".encode("ascii")
        new = self._path + ".new"
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(new, flags, 0o600)
            try:
                # Not synced, as the workspace is not: what a power cut leaves of it lets nobody in.
                if os.write(fd, line) != len(line):
                    raise OSError(errno.ENOSPC, "")
            finally:
                os.close(fd)
            os.replace(new, self._path)
        except OSError as error:
            # The one that is there names the token too, if perhaps an earlier generation.
            if not self.is_there:
                raise from_os_error(error, "The restart marker") from None
        self.is_there = True


class Claim:
    """Who this worker belongs to: token, generation, idle time, and the restart marker."""

    def __init__(self, marker: str | None, uid: str | None) -> None:
        self._marker = None if marker is None else Marker(marker)
        self._uid = uid
        self._token: bytes | None = None
        self._compare_key = os.urandom(32)
        self.boot_id = binascii.hexlify(os.urandom(16)).decode("ascii")
        self.generation = 0
        self.idle_seconds = 0
        self.restarted = self._marker is not None and self._marker.is_there

    @property
    def claimed(self) -> bool:
        """Whether the first claim has been made."""
        return self._token is not None

    def prove(self, nonce: str) -> dict[str, Any]:
        """Return the answer to a proof request."""
        if not 16 <= len(nonce) <= 128 or nonce.strip("0123456789abcdefABCDEF"):
            raise WorkerError("invalid_request", "nonce must be 16 to 128 hexadecimal digits.")
        answer: dict[str, Any] = {
            "protocol": PROTOCOL,
            "claimed": self.claimed,
            "restarted": self.restarted,
        }
        if self._uid is not None:
            answer["uid"] = self._uid
        if self._token is None:
            return answer
        proof = hmac_sha256(self._token, f"{nonce}:{self.boot_id}".encode("ascii"))
        return {**answer, "boot_id": self.boot_id, "proof": proof.hex()}

    def take(self, token: str, generation: int, idle_seconds: int) -> dict[str, Any]:
        """Claim, or claim again with the same token, also that of the process before this one."""
        if not (token.isascii() and token.isprintable() and 16 <= len(token) <= 256):
            raise WorkerError("invalid_request", "token must be 16 to 256 ASCII characters.")
        if self._token is not None and not self._is_token(token):
            raise WorkerError("claim_conflict", "This sandbox was claimed with another token.")
        if generation < self.generation:
            raise WorkerError("stale_generation", "A later generation holds this sandbox.")
        taken = token.encode("ascii")
        if self._marker is not None and (self._token is None or generation > self.generation):
            if self._token is None:
                self._marker.check(taken, generation)
            self._marker.leave(taken, generation)
        self._token, self.generation = taken, generation
        self.restarted = False
        self.idle_seconds = idle_seconds
        return {"protocol": PROTOCOL, "boot_id": self.boot_id, "features": list(FEATURES)}

    def check(self, headers: dict[str, str]) -> None:
        """Let only requests of the claimant pass."""
        if self.restarted:
            raise restarted()
        if self._token is None:
            raise WorkerError("unclaimed", "This sandbox is not claimed.")
        if not self._is_token(headers.get("x-sandbox-token", "")):
            raise WorkerError("bad_token", "The token is missing or wrong.")
        generation = headers.get("x-sandbox-generation", "")
        if not (generation.isascii() and generation.isdigit() and len(generation) <= 18):
            raise WorkerError("invalid_request", "x-sandbox-generation must be a number.")
        if int(generation) < self.generation:
            raise WorkerError("stale_generation", "A later generation holds this sandbox.")

    def _is_token(self, text: str) -> bool:
        # Equal hashes under a key nobody knows: the time it takes tells nothing about the token.
        presented = hmac_sha256(self._compare_key, text.encode("latin-1", "replace"))
        return presented == hmac_sha256(self._compare_key, self._token or b"")


def restarted() -> WorkerError:
    """Refuse, since this process stands where another was claimed before."""
    return WorkerError(
        "restarted",
        "The sandbox was started again by itself (its memory limit is the likely cause) and must "
        "be claimed anew.",
    )
