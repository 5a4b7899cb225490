"""What is remembered of very many things: those that were used last."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

__all__ = ["Recent"]

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


class Recent(Generic[KeyT, ValueT]):
    """A mapping of at most `most` entries: a new one beyond that takes the place of the least used.

    Looking an entry up is a use of it, as is setting it; listing the values is none.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: OrderedDict[KeyT, ValueT] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, key: KeyT) -> ValueT:
        value = self._entries[key]
        self._entries.move_to_end(key)
        return value

    def __setitem__(self, key: KeyT, value: ValueT) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self._most:
            self._entries.popitem(last=False)

    def get(self, key: KeyT) -> ValueT | None:
        """Return the value; None when there is none, or none any more."""
        return self[key] if key in self._entries else None

    def pop(self, key: KeyT) -> ValueT | None:
        """Forget an entry and return its value; None as `get`."""
        return self._entries.pop(key, None)

    def values(self) -> list[ValueT]:
        """Return the values of now, the least used first."""
        return list(self._entries.values())

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()
