"""Connections to the catalogs' MongoDB databases, for the repository modules only."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, cast

import pymongo
from bson.codec_options import CodecOptions, DatetimeConversion
from django.conf import settings
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import ExecutionTimeout, NetworkTimeout, OperationFailure, PyMongoError

from headers.catalogs import EMBEDDED, Catalog
from headers.embedded import EmbeddedDatabase

Doc = dict[str, Any]

CONNECT_SECONDS = 2
HEARTBEAT_SECONDS = 2
"""between looks at a server; one that answers none for longer than CONNECT_SECONDS ends what waits
for it"""
REST_AFTER_FAILURE_SECONDS = 3
BAD_PATTERN_CODES = {2, 51091}
"""how MongoDB answers a regular expression or a value that it does not take"""
ACCOUNT_CODES = {13, 18}
"""Unauthorized, AuthenticationFailed"""

# Text that is not UTF-8 and dates beyond Python's are read as well as they can be.
CODEC: CodecOptions[Doc] = CodecOptions(
    tz_aware=True,
    unicode_decode_error_handler="replace",
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)


class CatalogUnavailable(Exception):
    """The database of a catalog is away, refuses us, or took too long."""

    def __init__(self, catalog: Catalog, reason: str) -> None:
        super().__init__(f"catalog {catalog.name}: {reason}")
        self.catalog = catalog


class QueryRefused(ValueError):
    """The database does not accept a value of the caller's query."""


def query_milliseconds() -> int:
    """The time limit that goes with every command."""
    return int(settings.QUERY_SECONDS * 1000)


@cache
def database(uri: str) -> Database[Doc]:
    """The database that a catalog's URI names. One client per URI and process."""
    client: MongoClient[Doc] = MongoClient(
        uri,
        appname="data-broker-service",
        heartbeatFrequencyMS=HEARTBEAT_SECONDS * 1000,
        connectTimeoutMS=CONNECT_SECONDS * 1000,
        serverSelectionTimeoutMS=CONNECT_SECONDS * 1000,
        # Later than the limit that the server is given, for a server that hangs.
        socketTimeoutMS=query_milliseconds() + 2000,
    )
    return client.get_default_database(codec_options=CODEC)


def metadata(catalog: Catalog) -> Database[Doc]:
    """run_start, run_stop, event_descriptor and event, whatever the layout of the catalog."""
    return _in_layout(catalog, catalog.metadata)


def assets(catalog: Catalog) -> Database[Doc]:
    """resource and datum, whatever the layout of the catalog."""
    return _in_layout(catalog, catalog.assets)


def _in_layout(catalog: Catalog, uri: str) -> Database[Doc]:
    stored = database(uri)
    if catalog.layout == EMBEDDED:
        # Of a database it has what the repositories use.
        return cast("Database[Doc]", EmbeddedDatabase(stored))
    return stored


class _Resting:
    """Catalogs that failed a moment ago, so that not every request waits for them."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._lock = threading.Lock()

    def begin(self, catalog: Catalog) -> None:
        with self._lock:
            self._until[catalog.metadata] = time.monotonic() + REST_AFTER_FAILURE_SECONDS

    def clear(self) -> None:
        with self._lock:
            self._until.clear()

    def includes(self, catalog: Catalog) -> bool:
        return time.monotonic() < self._until.get(catalog.metadata, 0.0)


resting = _Resting()


@contextmanager
def asking(catalog: Catalog) -> Iterator[None]:
    """Turns what the driver raises into CatalogUnavailable or QueryRefused."""
    if resting.includes(catalog):
        raise CatalogUnavailable(catalog, "did not answer a moment ago")
    try:
        yield
    except ExecutionTimeout as error:
        reason = f"the query took longer than {settings.QUERY_SECONDS} s"
        raise CatalogUnavailable(catalog, reason) from error
    except OperationFailure as error:
        if error.code in BAD_PATTERN_CODES:
            raise QueryRefused("the database does not take this query") from error
        raise CatalogUnavailable(catalog, _refusal(error)) from error
    except NetworkTimeout as error:
        # This one query took too long. Whether the server is gone for all, only asking it tells.
        if not _answers(catalog):
            resting.begin(catalog)
        raise CatalogUnavailable(catalog, "the database did not answer in time") from error
    except PyMongoError as error:
        resting.begin(catalog)
        # What follows tells of the driver's view of all servers, at length.
        cause = str(error).partition(" (configured")[0].partition(", Timeout:")[0]
        raise CatalogUnavailable(catalog, f"the database does not answer: {cause}") from error


def _refusal(error: OperationFailure) -> str:
    if error.code in ACCOUNT_CODES:
        return (
            "the database refuses this account; check user name, password, authSource and the"
            " role (read) in the URI of the catalogs file"
        )
    return "the database refused the command"


def _answers(catalog: Catalog) -> bool:
    try:
        with pymongo.timeout(CONNECT_SECONDS):
            database(catalog.metadata).command("ping")
    except PyMongoError:
        return False
    return True
