"""What is wrong with a request."""

from __future__ import annotations

from oneseek_sandbox.errors.base import SandboxError

__all__ = [
    "ForbiddenError",
    "InvalidRequestError",
    "MethodNotAllowedError",
    "RequestError",
    "RequestTooLargeError",
    "UnauthenticatedError",
    "UnknownVerbError",
    "UnsupportedMediaTypeError",
]


class RequestError(SandboxError):
    """Raised when the request itself is wrong; nothing was changed."""

    code = "request_error"
    status = 400


class InvalidRequestError(RequestError):
    """Raised when a field, a header or the body is invalid."""

    code = "invalid_request"


class UnauthenticatedError(RequestError):
    """Raised when the Bearer key is missing or wrong."""

    code = "unauthenticated"
    status = 401


class ForbiddenError(RequestError):
    """Raised when the key is valid but has no access to this scope or verb."""

    code = "forbidden"
    status = 403


class UnknownVerbError(RequestError):
    """Raised when the path is not a verb."""

    code = "unknown_verb"
    status = 404


class MethodNotAllowedError(RequestError):
    """Raised when the path does not support this HTTP method."""

    code = "method_not_allowed"
    status = 405


class RequestTooLargeError(RequestError):
    """Raised when the body exceeds the limit of this verb."""

    code = "request_too_large"
    status = 413


class UnsupportedMediaTypeError(RequestError):
    """Raised when the verb does not support the body's content type."""

    code = "unsupported_media_type"
    status = 415
