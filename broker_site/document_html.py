"""JSON as HTML to read: indented, coloured, with links to what it refers to, and cut when long."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from django.urls import reverse
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe

from broker_site.encoding import to_json
from broker_site.inert import INVISIBLE, WEB_ADDRESS

MAX_CHARACTERS = 300_000
LONGEST_TEXT = 2_000
SHORT_LIST = 80
"""characters of the values of a list that are written on one line"""
INDENT = "  "
RUN, DESCRIPTOR = "header-detail", "descriptor-detail"
REFERENCES = {"run_start": RUN, "descriptor": DESCRIPTOR, "descriptors": DESCRIPTOR}
"""key whose value is the uid of another document → the route that serves that one"""


def document_html(data: Any) -> tuple[SafeString, bool]:
    """The page's text of an answer, and whether it was cut after MAX_CHARACTERS.

    What it says is what the JSON renderer writes: data goes through the same encoder.
    """
    pieces, length = [], 0
    for piece in _value(orjson.loads(to_json(data)), "", "\n"):
        pieces.append(piece)
        length += len(piece)
        if length > MAX_CHARACTERS:
            return _joined(pieces), True
    return _joined(pieces), False


def _joined(pieces: list[str]) -> SafeString:
    return mark_safe("".join(pieces))  # noqa: S308  each piece is escaped where it is made


def _value(value: Any, route: str, line: str) -> Iterator[str]:
    """Pieces of HTML. `route` is the route of the document that a text refers to by its uid."""
    if isinstance(value, dict) and value:
        yield from _items(_members(value, route), "{}", line)
    elif isinstance(value, list) and value and _is_short(value):
        yield "[" + ", ".join(_leaf(item, route) for item in value) + "]"
    elif isinstance(value, list) and value:
        yield from _items((("", item, route) for item in value), "[]", line)
    else:
        yield _leaf(value, route)


def _members(document: Mapping[str, Any], route: str) -> Iterator[tuple[str, Any, str]]:
    own = _own_route(document) or route
    for key, value in document.items():
        name = format_html('<span class="j-key">{}</span>: ', _text(key))
        if key == "uid":
            yield name, value, own
        else:
            # Start documents are inside of what the service tells of a run.
            yield name, value, RUN if key == "start" and own == RUN else REFERENCES.get(key, "")


def _own_route(document: Mapping[str, Any]) -> str:
    """Where a document itself is served, told by what it holds."""
    if "start" in document and "catalog" in document:
        return RUN
    return DESCRIPTOR if "data_keys" in document else ""


def _items(items: Iterator[tuple[str, Any, str]], brackets: str, line: str) -> Iterator[str]:
    inside = line + INDENT
    before = brackets[0]
    for name, value, route in items:
        yield before + inside + name
        yield from _value(value, route, inside)
        before = ","
    yield line + brackets[1]


def _is_short(values: list[Any]) -> bool:
    plain = len(values) <= SHORT_LIST and not any(isinstance(v, dict | list) for v in values)
    return plain and sum(len(str(value)) for value in values) <= SHORT_LIST


def _leaf(value: Any, route: str) -> str:
    if not isinstance(value, str):
        return format_html('<span class="j-other">{}</span>', orjson.dumps(value).decode())
    if route and value:
        return _link(reverse(route, args=[value]), value) if "/" not in value else _text(value)
    if WEB_ADDRESS.fullmatch(value):
        return _link(value, value)
    return format_html('<span class="j-text">{}</span>', _text(value))


def _link(url: str, text: str) -> str:
    return format_html('<a href="{}" rel="noopener noreferrer">{}</a>', url, _text(text))


def _text(value: str) -> str:
    """As JSON writes it, so that control characters and marks of direction are seen."""
    cut = value if len(value) <= LONGEST_TEXT else value[:LONGEST_TEXT] + "…"
    return escape(INVISIBLE.sub(lambda mark: f"\\u{ord(mark[0]):04x}", orjson.dumps(cut).decode()))
