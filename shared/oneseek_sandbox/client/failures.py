"""What went wrong between this client and a server, as an error of the service."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx

from oneseek_sandbox.client.answers import broken
from oneseek_sandbox.errors import ServerUnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oneseek_sandbox.client.server import Server

__all__ = ["failures"]


@contextmanager
def failures(server: Server) -> Iterator[None]:
    """Turn httpx's errors into `ServerUnreachableError`; its `may_have_run` says what is known."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise ServerUnreachableError(
            f"{server.url} cannot be reached ({str(error) or type(error).__name__}). Is a server "
            f"running there (`oneseek-sandbox serve`), and is {server.url_setting} right?",
            may_have_run=False,
        ) from error
    except httpx.LocalProtocolError:
        raise ServerUnreachableError(
            f"The request to {server.url} cannot be sent as HTTP; a header of it is not acceptable.",
            may_have_run=False,
        ) from None
    except httpx.TimeoutException as error:
        raise broken(server, "did not answer in time") from error
    except httpx.RequestError as error:
        raise broken(
            server, f"ended the connection before its answer ({type(error).__name__})"
        ) from (error)
