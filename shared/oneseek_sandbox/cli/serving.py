"""`serve` and `doctor`: the two commands that work on this machine, not over HTTP."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from oneseek_sandbox.cli.banner import banner, farewell
from oneseek_sandbox.cli.failure import EXIT_ERROR, CommandLineError
from oneseek_sandbox.cli.terminal import print_line, print_table
from oneseek_sandbox.errors import ConfigurationError, SandboxError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oneseek_sandbox.runtimes.runtime import Check
    from oneseek_sandbox.settings import Settings

__all__ = ["diagnose", "doctor", "read_settings", "serve", "start"]


def serve(
    host: Annotated[str | None, typer.Option(help="Over PROVISIONER_HOST.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Overrides PORT.")] = None,
) -> None:
    """Serve sandboxes on this machine.

    Settings are read from PROVISIONER_* variables.
    """
    raise typer.Exit(start(read_settings(host, port)))


def doctor(
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Look from inside two pods of the cluster.")
    ] = False,
) -> None:
    """Test what is isolated on this machine, and say how to fix what is not."""
    raise typer.Exit(diagnose(_cluster_settings() if cluster else read_settings()))


def _cluster_settings() -> Settings:
    """Return the settings that the functions have there; what is set here goes before."""
    import asyncio

    from oneseek_sandbox.runtimes.kubernetes.deployed import read_deployed
    from oneseek_sandbox.settings import Settings

    with _refusals():
        _refuse_unknown()
        here = Settings.from_environment().model_dump(exclude_unset=True)
        deployed = Settings.from_environment(
            asyncio.run(read_deployed(here.get("kubectl_context", "")))
        )
        there = deployed.model_dump(exclude_unset=True, exclude={"api_keys_file"})
        return Settings.model_validate({**there, **here, "runtime": "kubernetes"})


def read_settings(host: str | None = None, port: int | None = None) -> Settings:
    """Read the settings from the environment, with the command line's on top.

    Raises:
        CommandLineError: A setting is not acceptable, or there is no such setting.
    """
    from oneseek_sandbox.settings import Settings

    with _refusals():
        _refuse_unknown()
        settings = Settings.from_environment()
    given = {"host": host, "port": port}
    return settings.model_copy(update={k: v for k, v in given.items() if v is not None})


def _refuse_unknown() -> None:
    """Refuse misspelt settings: whoever wrote one believes that it is in force.

    Raises:
        ConfigurationError: A variable has our prefix and is no setting.
    """
    from oneseek_sandbox.settings import unknown_settings

    if unknown := unknown_settings():
        raise ConfigurationError(f"Settings: {' '.join(unknown)} Correct or unset it.")


def start(settings: Settings) -> int:
    """Serve until told to stop, and return the exit status.

    Raises:
        CommandLineError: The port is taken, or the settings or this machine do not allow it.
    """
    if settings.port:
        from oneseek_sandbox.cli.port import require_free_port

        require_free_port(settings.host, settings.port)
    from oneseek_sandbox.gateway.serve import serve as serve_gateway

    with _refusals():
        status = serve_gateway(settings, on_ready=lambda url: print_line(banner(settings, url)))
    print_line(farewell(settings))
    return status


def diagnose(settings: Settings) -> int:
    """Test a real sandbox, print a table of what is isolated, and return the exit status."""
    import asyncio

    if settings.runtime == "kubernetes":
        context = settings.kubectl_context or "the current one"
        print_line(f"Probing namespace {settings.namespace}, kubeconfig context: {context}.")
    with _refusals():
        checks = asyncio.run(_check(settings))
    _print_checks(checks)
    failed = [check for check in checks if check.required and not check.passed]
    if failed:
        names = ", ".join(check.name for check in failed)
        print_line(f"Sandboxes are not isolated as required: {names}.")
        return EXIT_ERROR
    print_line("Sandboxes here are isolated as required.")
    return 0


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except SandboxError as error:
        raise CommandLineError(f"{error.code}: {error.message}") from None
    except OSError as error:
        from oneseek_sandbox.runtimes.local.host import explain_refusal

        raise CommandLineError(
            f"sandboxes cannot be run on this machine: {explain_refusal(error)}"
        ) from error


async def _check(settings: Settings) -> list[Check]:
    from oneseek_sandbox.control.assembly import build_runtime

    runtime = build_runtime(settings)
    try:
        return await runtime.check()
    finally:
        await runtime.close()


def _print_checks(checks: list[Check]) -> None:
    verdicts = {(False, True): "FAILS", (False, False): "missing"}
    rows = [
        [check.name, verdicts.get((check.passed, check.required), "ok"), check.detail]
        for check in checks
    ]
    print_table(["what", "here", "seen"], rows)
    fixes: dict[str, list[str]] = {}
    for check in checks:
        if not check.passed and check.fix:
            fixes.setdefault(check.fix, []).append(check.name)
    for fix, names in fixes.items():
        print_line(f"\nTo fix {', '.join(names)}:\n  " + fix.replace("\n", "\n  "))
    print_line()
