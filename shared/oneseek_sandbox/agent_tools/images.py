"""Images in a sandbox, for models that can look at them: told by their first bytes. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["LARGEST_IMAGE_BYTES", "Image", "image_type"]

LARGEST_IMAGE_BYTES: Final = 5 * 1024**2
"""What models accept at most; larger images are named, but not shown."""

_BEGINNINGS: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


@dataclass(frozen=True, slots=True)
class Image:
    """An image as the file has it.

    Attributes:
        media_type: Like `image/png`.
    """

    data: bytes
    media_type: str


def image_type(head: bytes) -> str | None:
    """Return the media type of a file that begins so (12 bytes suffice); None if it is no image."""
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for beginning, kind in _BEGINNINGS if head.startswith(beginning)), None)
