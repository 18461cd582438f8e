"""Find and read the runs of a Data Broker Service.

>>> from dbservice import connect
>>> db = connect("https://broker.example.org")
>>> db[-1].table()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "1.0.0"

if TYPE_CHECKING:
    from dbservice.runs import Database, Run, Runs, connect, stack

from dbservice.errors import (
    BadRequest,
    BrokerError,
    BrokerWarning,
    ConnectionLost,
    FileMissing,
    MissingExtra,
    NotFound,
    NotServed,
    SignInNeeded,
    TooLarge,
)

__all__ = [
    "BadRequest",
    "BrokerError",
    "BrokerWarning",
    "ConnectionLost",
    "Database",
    "FileMissing",
    "MissingExtra",
    "NotFound",
    "NotServed",
    "Run",
    "Runs",
    "SignInNeeded",
    "TooLarge",
    "connect",
    "stack",
]


def __getattr__(name: str) -> Any:
    # The network library is loaded when somebody connects, not when somebody imports.
    if name in ("connect", "stack", "Database", "Run", "Runs"):
        from dbservice import runs

        return getattr(runs, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
