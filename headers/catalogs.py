"""The catalogs file: one table per beamline database. Knows neither Django nor MongoDB."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from broker_site.outside import CheckedText, EnvironmentText, checked, one_of, read_toml
from policies.rule.proposal_paths import ProposalPath, ProposalPaths

NORMALIZED, EMBEDDED = "normalized", "embedded"
MAX_FACET_PATH = 256
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[^\s,/?@:\[\]]+)(?::[0-9]{1,5})?"
ADDRESS = re.compile(
    rf"mongodb(\+srv)?://(?:[^\s@/:]+(?::[^\s@/:]*)?@)?{HOST}(?:,{HOST})*"
    r"/[^\s/?.$\"\\]+(?:\?\S*)?"
)
"""what the driver takes, so that a mistake shows at the start and not at the first request"""


@dataclass(frozen=True)
class Catalog:
    """The runs of one beamline: two MongoDB databases, and how to read them."""

    name: str
    title: str
    beamline: str
    metadata: str
    """MongoDB URI with the database of run_start, run_stop, event_descriptor and event"""
    assets: str
    """MongoDB URI with the database of resource and datum; may be the same"""
    timezone: ZoneInfo
    proposal: ProposalPaths
    root_map: Mapping[str, str]
    """resource root → where it is mounted here"""
    allowed_roots: tuple[str, ...]
    """files outside of these folders are never opened"""
    handlers: frozenset[str]
    """resource specs that may be opened; "*" stands for all installed"""
    file_proposal: str | None = None
    """a regular expression whose one group finds, in the real path of a file, its proposal"""
    layout: str = NORMALIZED
    """how the databases hold documents: as suitcase's mongo_normalized or mongo_embedded does"""
    facets: tuple[str, ...] = ()
    """further paths of start documents whose values are indexed"""
    metadata_write: str | None = None
    """the URI of the same database for an account that may write; None: nothing is written"""
    assets_write: str | None = None
    """the same for assets; both are set or none"""


class CatalogsError(ValueError):
    """The catalogs file is wrong; the text names the place and says what to do."""


class MongoURI(EnvironmentText):
    @staticmethod
    def check(value: str) -> None:
        if not ADDRESS.fullmatch(value):
            # The value itself may hold a password, so the message does not repeat it.
            raise ValueError(
                "needs mongodb://host:port/database, with a database name;"
                " user name and password, if any, percent-encoded"
            )


class TimezoneName(CheckedText):
    @staticmethod
    def check(value: str) -> None:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{value!r} is not a time zone") from None


class PathOfProposal(CheckedText):
    @staticmethod
    def check(value: str) -> None:
        ProposalPath(value)


class PatternOfProposal(CheckedText):
    @staticmethod
    def check(value: str) -> None:
        ProposalPath("any", value)


class FacetPath(CheckedText):
    @staticmethod
    def check(value: str) -> None:
        if (
            not all(value.split("."))
            or "$" in value
            or "\0" in value
            or len(value) > MAX_FACET_PATH
        ):
            raise ValueError(f"{value!r} is not a dotted path of field names")


class FileProposal(CheckedText):
    @staticmethod
    def check(value: str) -> None:
        try:
            groups = re.compile(value).groups
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        if groups != 1:
            raise ValueError("needs exactly one group, around the proposal")


class _ProposalKey(msgspec.Struct, forbid_unknown_fields=True):
    path: PathOfProposal
    pattern: PatternOfProposal | None = None


class _CatalogTable(msgspec.Struct, forbid_unknown_fields=True):
    """What `[catalogs.NAME]` may hold."""

    title: Annotated[str, msgspec.Meta(min_length=1)]
    beamline: Annotated[str, msgspec.Meta(min_length=1)]
    metadata: MongoURI
    assets: MongoURI
    timezone: TimezoneName
    proposal: list[_ProposalKey] = []
    root_map: dict[str, str] = {}
    allowed_roots: tuple[str, ...] = ()
    handlers: frozenset[str] = frozenset()
    file_proposal: FileProposal | None = None
    layout: Annotated[str, one_of(NORMALIZED, EMBEDDED)] = NORMALIZED
    facets: tuple[FacetPath, ...] = ()
    metadata_write: MongoURI | None = None
    assets_write: MongoURI | None = None


def load_catalogs(path: Path, environ: Mapping[str, str] = os.environ) -> tuple[Catalog, ...]:
    """The catalogs of a file, sorted by name. CatalogsError says what is wrong with it."""
    content = read_toml(path, CatalogsError)
    tables = content.get("catalogs")
    if set(content) != {"catalogs"} or not isinstance(tables, dict) or not tables:
        raise CatalogsError(f"{path} needs one or more tables [catalogs.NAME] and nothing else")
    catalogs = tuple(_catalog(name, table, environ) for name, table in sorted(tables.items()))
    _check_databases(catalogs)
    return catalogs


def _check_databases(catalogs: Iterable[Catalog]) -> None:
    """Each catalog has runs of its own: in two, each run would be listed twice, by two rules."""
    known: dict[tuple[str, str], str] = {}
    for catalog in catalogs:
        place = _place(catalog.metadata)
        if place in known:
            raise CatalogsError(
                f"catalogs.{catalog.name}.metadata: is the database of catalogs.{known[place]},"
                " too; remove one of them"
            )
        known[place] = catalog.name


def _place(uri: str) -> tuple[str, str]:
    """Hosts and database of a URI, without account and options."""
    hosts, _, name = uri.partition("://")[2].rpartition("@")[2].partition("/")
    return ",".join(sorted(hosts.lower().split(","))), name.partition("?")[0]


def _catalog(name: str, content: Any, environ: Mapping[str, str]) -> Catalog:
    if not NAME.fullmatch(name):
        raise CatalogsError(f"catalogs.{name}: a name has letters, digits, '_' and '-' only")
    table = checked(content, _CatalogTable, f"catalogs.{name}", CatalogsError, environ)
    _check_writing(table, f"catalogs.{name}")
    places = tuple(ProposalPath(place.path, place.pattern) for place in table.proposal)
    parsed = {
        "timezone": ZoneInfo(table.timezone),
        "proposal": ProposalPaths(places),
        "facets": tuple(dict.fromkeys(table.facets)),
    }
    return Catalog(name=name, **msgspec.structs.asdict(table) | parsed)


def _check_writing(table: _CatalogTable, where: str) -> None:
    if (table.metadata_write is None) != (table.assets_write is None):
        lacking = "metadata_write" if table.metadata_write is None else "assets_write"
        raise CatalogsError(f"{where}.{lacking}: both metadata_write and assets_write, or neither")
    if table.metadata_write is not None and table.layout != NORMALIZED:
        raise CatalogsError(f"{where}.metadata_write: only the normalized layout is written")
