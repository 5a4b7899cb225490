from __future__ import annotations


class SandboxError(Exception): ...


class SandboxRuntimeError(SandboxError): ...
