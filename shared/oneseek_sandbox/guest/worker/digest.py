"""SHA-256 without OpenSSL."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["hmac_sha256", "sha256"]

if TYPE_CHECKING:
    from hashlib import sha256
else:
    try:
        from _sha2 import sha256  # what hashlib stands on, without OpenSSL's 2 MiB
    except ImportError:
        from _sha256 import sha256


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """Return HMAC-SHA256; the hmac module would load OpenSSL."""
    if len(key) > 64:
        key = sha256(key).digest()
    block = key.ljust(64, b"\0")
    inner = sha256(bytes(byte ^ 0x36 for byte in block) + message).digest()
    return sha256(bytes(byte ^ 0x5C for byte in block) + inner).digest()
