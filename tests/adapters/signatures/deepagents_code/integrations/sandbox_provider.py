from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SandboxProviderMetadata:
    name: str
    working_dir: str
    install: Any = None
    supports_sandbox_id: bool = True
    supports_snapshot_name: bool = False
    backend_module: str | None = None


class SandboxError(Exception): ...


class SandboxNotFoundError(SandboxError): ...


class SandboxProvider(ABC):
    @property
    def metadata(self) -> SandboxProviderMetadata | None:
        return None

    @abstractmethod
    def get_or_create(self, *, sandbox_id: str | None = None, **kwargs: Any) -> Any: ...

    @abstractmethod
    def delete(self, *, sandbox_id: str, **kwargs: Any) -> None: ...

    async def aget_or_create(self, *, sandbox_id: str | None = None, **kwargs: Any) -> Any:
        return await asyncio.to_thread(self.get_or_create, sandbox_id=sandbox_id, **kwargs)

    async def adelete(self, *, sandbox_id: str, **kwargs: Any) -> None:
        await asyncio.to_thread(self.delete, sandbox_id=sandbox_id, **kwargs)
