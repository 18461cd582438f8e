"""Lists of runs and single ones: the requests, and what the answers say."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from dbservice.errors import BadRequest, BrokerWarning, NotFound
from dbservice.query import Selection
from dbservice.wire import Request, Steps, exchange

Header = dict[str, Any]
PAGE = 200
LARGEST_PAGE = 1000
SHORTEST_PREFIX = 5
OF_RUN = ("uid", "catalog", "proposal")
"""what a header says beside its documents"""


@dataclass(frozen=True)
class Page:
    headers: list[Header]
    cursor: str | None
    """of the next page"""


def path(*parts: str) -> str:
    """An address below the API's root."""
    return "".join(f"{quote(part, safe='')}/" for part in parts)


def page(
    selection: Selection,
    cursor: str | None = None,
    size: int = PAGE,
    fields: Sequence[str] | None = None,
) -> Steps[Page]:
    """One page of runs. fields: paths to which the documents are reduced."""
    params = {**selection.params, "page_size": min(size, LARGEST_PAGE)}
    if selection.oldest_first:
        params["ordering"] = "time"
    if fields:
        params["fields"] = ",".join(fields)
    if cursor:
        params["cursor"] = cursor
    content = (yield from exchange(Request("GET", "headers/", params))).json()
    _warn_of_gaps(content)
    return Page(content["results"], cursor_of(content))


def cursor_of(content: Mapping[str, Any]) -> str | None:
    """Where the next page begins. Its address is ours to make: tokens go nowhere else."""
    following = content.get("next")
    if not following:
        return None
    return str(parse_qs(urlsplit(following).query)["cursor"][0])


def _warn_of_gaps(content: Mapping[str, Any]) -> None:
    if gaps := content.get("incomplete"):
        since = ", ".join(f"{name}: {moment}" for name, moment in dict(gaps).items())
        message = f"The list is not complete yet ({since})."
        warnings.warn(message, BrokerWarning, stacklevel=2)


def newest(selection: Selection, count: int) -> Steps[list[Header]]:
    """The first `count` runs of the list, fewer if there are no more."""
    found: list[Header] = []
    cursor: str | None = None
    while len(found) < count:
        asked = yield from page(selection, cursor, count - len(found))
        found += asked.headers
        cursor = asked.cursor
        if cursor is None:
            break
    return found[:count]


def only(selection: Selection) -> Steps[Header]:
    """The first run of the list; NotFound if there is none."""
    found = yield from newest(selection, 1)
    if not found:
        raise NotFound("There is no such run that you may read.")
    return found[0]


def projected(
    selection: Selection, fields: Sequence[str], limit: int | None
) -> Steps[list[Header]]:
    """Runs of which only some fields are wanted: a thousand runs a request."""
    found: list[Header] = []
    cursor: str | None = None
    wanted: Sequence[str] | None = fields
    while limit is None or len(found) < limit:
        size = LARGEST_PAGE if limit is None else limit - len(found)
        try:
            asked = yield from page(selection, cursor, size, wanted)
        except BadRequest as error:
            if wanted is None or not _knows_no_fields(error):
                raise
            wanted = None  # whole documents then
            continue
        found += asked.headers
        cursor = asked.cursor
        if cursor is None:
            break
    return found if limit is None else found[:limit]


def _knows_no_fields(error: BadRequest) -> bool:
    """Whether the service is an older one, which refuses the projection altogether."""
    errors = error.about.get("errors")
    return isinstance(errors, Mapping) and "is unknown" in str(errors.get("fields"))


def count(selection: Selection) -> Steps[int]:
    content = (yield from exchange(Request("GET", "headers/count/", selection.params))).json()
    return int(content["count"])


def values(selection: Selection, paths: Sequence[str]) -> Steps[dict[str, dict[Any, int]]]:
    """By path, how many runs have each value, the most frequent first."""
    params = {**selection.params, "fields": ",".join(paths)}
    content = (yield from exchange(Request("GET", "headers/facets/", params))).json()
    return {path: {row["value"]: row["count"] for row in content[path]} for path in paths}


def detail(key: str) -> Steps[Header]:
    """A run with its descriptors and streams."""
    request = Request("GET", path("headers", key), kept="memory")
    header: Header = (yield from exchange(request)).json()
    return header


def find(selection: Selection, key: object) -> Steps[Header]:
    """The run that a key names among the selected ones.

    Negative numbers count from the newest run, others are scan ids (the newest run of that number),
    texts are uids or how they begin. Raises NotFound, a KeyError.
    """
    if isinstance(key, str):
        return (yield from _by_text(selection, key.strip()))
    number = _number(key)
    if number >= 0:
        return (yield from _by_number(selection, number))
    if selection.is_all and not selection.oldest_first:
        return (yield from detail(str(number)))
    return (yield from _from_the_end(selection, -number))


def _number(key: object) -> int:
    if isinstance(key, bool) or not hasattr(key, "__index__"):
        raise TypeError(f"a run is named by a number or a text, not {key!r}")
    return int(key.__index__())


def _from_the_end(selection: Selection, place: int) -> Steps[Header]:
    found = yield from newest(replace(selection, oldest_first=False), place)
    if len(found) < place:
        raise NotFound(f"There are only {len(found)} runs here.")
    return found[-1]


def _by_text(selection: Selection, key: str) -> Steps[Header]:
    if key.isdecimal() and len(key) < SHORTEST_PREFIX:
        return (yield from _by_number(selection, int(key)))
    if len(key) < SHORTEST_PREFIX:
        raise ValueError(f"{key!r}: give at least {SHORTEST_PREFIX} characters of a uid")
    if selection.is_all and not key.isdecimal():
        return (yield from detail(key))
    found = yield from newest(_also(selection, "uid", key), 2)
    exact = [header for header in found if header["uid"] == key]
    if len(found) > 1 and not exact:
        raise BadRequest(f"Several runs start with {key}; use more characters of the uid.", 409)
    if found:
        return (exact or found)[0]
    if key.isdecimal():
        return (yield from _by_number(selection, int(key)))
    raise _absent(key)


def _by_number(selection: Selection, number: int) -> Steps[Header]:
    found = yield from newest(_also(selection, "scan_id", number), 1)
    if not found:
        raise _absent(number)
    return found[0]


def _also(selection: Selection, name: str, value: Any) -> Selection:
    """The newest first of these runs that are so named, even where others were chosen already."""
    newest_first = replace(selection, oldest_first=False)
    if name not in selection.filters:
        return newest_first.narrowed(None, {name: value})
    named = {"$regex": f"^{re.escape(value)}"} if name == "uid" else value
    return newest_first.narrowed({name: named}, {})


def _absent(key: object) -> NotFound:
    return NotFound(f"There is no run {key} here that you may read.", 404)


def span(key: slice) -> tuple[int, slice]:
    """How many of the newest runs `db[-5:]` needs, and which of these it means."""
    for bound in (key.start, key.stop):
        if bound is not None and _number(bound) >= 0:
            raise ValueError(
                "a slice counts from the newest run: db[-5:]; for a range of scan numbers use"
                " search(scan_id__gte=…, scan_id__lt=…)"
            )
    if key.start is None:
        raise ValueError("say where the slice begins: db[-5:]; or iterate over db")
    return -key.start, slice(0 if key.stop is None else -key.stop, None, key.step)


def column_path(column: str) -> str:
    """`scan_id` is of the start document; `stop.exit_status` and `uid` are what they say."""
    first = column.partition(".")[0]
    return column if column in OF_RUN or first in ("start", "stop") else f"start.{column}"


def fields_of(columns: Sequence[str]) -> list[str]:
    """The projection that has these columns."""
    paths = [column_path(column) for column in columns]
    return [path for path in dict.fromkeys(paths) if path not in OF_RUN]


def records(headers: Sequence[Header], columns: Sequence[str]) -> list[dict[str, Any]]:
    """By column, a run each; None where a run has nothing there."""
    paths = {column: column_path(column).split(".") for column in columns}
    return [{name: value_at(header, path) for name, path in paths.items()} for header in headers]


def value_at(document: Any, path: Sequence[str]) -> Any:
    for name in path:
        if not isinstance(document, Mapping):
            return None
        document = document.get(name)
    return document
