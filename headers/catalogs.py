"""The catalogs file: one table per beamline database. Knows neither Django nor MongoDB."""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from policies.rule.proposal_paths import ProposalPath, ProposalPaths

REQUIRED = {"title", "beamline", "metadata", "assets", "timezone"}
OPTIONAL = {"proposal", "root_map", "allowed_roots", "handlers", "file_proposal", "layout"} | {
    "facets"
}
NORMALIZED, EMBEDDED = LAYOUTS = ("normalized", "embedded")
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


class CatalogsError(ValueError):
    """The catalogs file is wrong; the text names the place and says what to do."""


def load_catalogs(path: Path, environ: Mapping[str, str] = os.environ) -> tuple[Catalog, ...]:
    """The catalogs of a file, sorted by name. CatalogsError says what is wrong with it."""
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise CatalogsError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogsError(f"{path} is not valid TOML: {error}") from error
    tables = content.get("catalogs")
    if set(content) != {"catalogs"} or not isinstance(tables, dict) or not tables:
        raise CatalogsError(f"{path} needs one or more tables [catalogs.NAME] and nothing else")
    return tuple(_catalog(name, table, environ) for name, table in sorted(tables.items()))


def _catalog(name: str, table: Any, environ: Mapping[str, str]) -> Catalog:
    where = f"[catalogs.{name}]"
    if not NAME.fullmatch(name):
        raise CatalogsError(f"{where}: a name has letters, digits, '_' and '-' only")
    if not isinstance(table, dict):
        raise CatalogsError(f"{where} is not a table")
    if missing := REQUIRED - set(table):
        raise CatalogsError(f"{where} lacks {', '.join(sorted(missing))}")
    if unknown := set(table) - REQUIRED - OPTIONAL:
        raise CatalogsError(f"{where} has unknown keys: {', '.join(sorted(unknown))}")
    for key in sorted(REQUIRED):
        if not isinstance(table[key], str) or not table[key]:
            raise CatalogsError(f"{where} {key}: must be a text")
    return Catalog(
        name=name,
        title=table["title"],
        beamline=table["beamline"],
        metadata=_uri(f"{where} metadata", table["metadata"], environ),
        assets=_uri(f"{where} assets", table["assets"], environ),
        timezone=_timezone(where, table["timezone"]),
        proposal=_proposal_paths(where, table.get("proposal", [])),
        root_map=_root_map(where, table.get("root_map", {})),
        allowed_roots=tuple(_texts(f"{where} allowed_roots", table.get("allowed_roots", []))),
        handlers=frozenset(_texts(f"{where} handlers", table.get("handlers", []))),
        file_proposal=_file_proposal(where, table.get("file_proposal")),
        layout=_layout(where, table.get("layout", NORMALIZED)),
        facets=_facets(where, table.get("facets", [])),
    )


def _uri(where: str, value: str, environ: Mapping[str, str]) -> str:
    if value.startswith("env:"):
        variable = value.removeprefix("env:")
        value = _environment(variable, environ)
        if not value:
            raise CatalogsError(f"{where}: the environment variable {variable} is not set")
    if not ADDRESS.fullmatch(value):
        # The value itself may hold a password, so the message does not repeat it.
        raise CatalogsError(
            f"{where}: needs mongodb://host:port/database, with a database name;"
            " user name and password, if any, percent-encoded"
        )
    return value


def _environment(variable: str, environ: Mapping[str, str]) -> str:
    path = environ.get(f"{variable}_FILE")
    if variable in environ or path is None:
        return environ.get(variable, "")
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise CatalogsError(f"{variable}_FILE: cannot read {path}: {error.strerror}") from error


def _layout(where: str, name: Any) -> str:
    if name not in LAYOUTS:
        raise CatalogsError(f"{where} layout: must be {' or '.join(map(repr, LAYOUTS))}")
    return str(name)


def _timezone(where: str, name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise CatalogsError(f"{where} timezone: {name!r} is not a time zone") from None


def _proposal_paths(where: str, places: Any) -> ProposalPaths:
    if not isinstance(places, list):
        raise CatalogsError(f"{where} proposal: must be a list of {{ path = …, pattern = … }}")
    return ProposalPaths(tuple(_proposal_path(where, place) for place in places))


def _proposal_path(where: str, place: Any) -> ProposalPath:
    known = isinstance(place, dict) and {"path"} <= set(place) <= {"path", "pattern"}
    if not known or not all(isinstance(value, str) for value in place.values()):
        raise CatalogsError(f"{where} proposal: each item needs a path and may have a pattern")
    try:
        return ProposalPath(place["path"], place.get("pattern"))
    except ValueError as error:
        raise CatalogsError(f"{where} proposal: {error}") from error


def _root_map(where: str, roots: Any) -> dict[str, str]:
    if not isinstance(roots, dict) or not all(isinstance(value, str) for value in roots.values()):
        raise CatalogsError(f"{where} root_map: must map recorded folders to folders here")
    return dict(roots)


def _facets(where: str, values: Any) -> tuple[str, ...]:
    paths = _texts(f"{where} facets", values)
    for path in paths:
        if not all(path.split(".")) or "$" in path or "\0" in path or len(path) > MAX_FACET_PATH:
            raise CatalogsError(f"{where} facets: {path!r} is not a dotted path of field names")
    return tuple(dict.fromkeys(paths))


def _file_proposal(where: str, pattern: Any) -> str | None:
    if pattern is None:
        return None
    try:
        groups = re.compile(pattern).groups
    except (re.error, TypeError) as error:
        raise CatalogsError(f"{where} file_proposal: is no regular expression: {error}") from None
    if groups != 1:
        raise CatalogsError(f"{where} file_proposal: needs exactly one group, around the proposal")
    return str(pattern)


def _texts(where: str, values: Any) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise CatalogsError(f"{where}: must be a list of texts")
    return values
