"""What can go wrong, as exceptions that say what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = [
    "BadRequest",
    "BrokerError",
    "BrokerWarning",
    "ConnectionLost",
    "FileMissing",
    "MissingExtra",
    "NotFound",
    "NotServed",
    "SignInNeeded",
    "TooLarge",
]


class BrokerWarning(UserWarning):
    """The answer is right but not whole: something was left out, and this names it."""


class BrokerError(Exception):
    """The service did not give what was asked for.

    status: the HTTP status, 0 when there was no answer. detail: what is wrong and what to do.
    request_id: finds the request in the logs of the service.
    """

    def __init__(
        self, detail: str, status: int = 0, request_id: str = "", about: Mapping[str, Any] = {}
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.request_id = request_id
        self.about = dict(about)

    def __str__(self) -> str:
        marks = [str(self.status)] if self.status else []
        marks += [f"request {self.request_id}"] if self.request_id else []
        return f"{self.detail} [{', '.join(marks)}]" if marks else self.detail

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.detail, self.status, self.request_id, self.about)


class NotFound(BrokerError, KeyError):
    """There is nothing here that you may read."""


class BadRequest(BrokerError, ValueError):
    """What was asked for makes no sense to the service."""


class SignInNeeded(BrokerError, PermissionError):
    """Nobody is signed in, and nobody can be asked."""


class FileMissing(BrokerError, FileNotFoundError):
    """A detector file is missing or unreadable at the facility."""


class TooLarge(BrokerError, ValueError):
    """The answer is larger than the service gives at once.

    slice: one that fits, None if the service does not know one.
    """

    @property
    def slice(self) -> str | None:
        return self.about.get("slice")


class NotServed(BrokerError, NotImplementedError):
    """The data exists in a form, or in a place, that the service does not read."""


class ConnectionLost(BrokerError, ConnectionError):
    """No connection, or it broke in the middle of an answer."""


class MissingExtra(ImportError):
    """An optional library is needed for this."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(
            f"{library} is not installed; it comes with: pip install 'databroker-service[{extra}]'",
            name=library,
        )


BY_STATUS: dict[int, type[BrokerError]] = {
    400: BadRequest,
    401: SignInNeeded,
    404: NotFound,
    406: BadRequest,
    409: BadRequest,
    410: FileMissing,
    413: TooLarge,
    422: BadRequest,
    501: NotServed,
}


def error_of(status: int, headers: Mapping[str, str], content: bytes) -> BrokerError:
    """The exception for an answer that is an error. headers: names in lower case."""
    about = _problem(content)
    detail = str(about.get("detail") or about.get("title") or f"The service answered {status}.")
    kind = BY_STATUS.get(status, BrokerError)
    return kind(detail, status, headers.get("x-request-id", ""), about)


def _problem(content: bytes) -> dict[str, Any]:
    try:
        about = json.loads(content)
    except ValueError:
        return {}
    return about if isinstance(about, dict) else {}
