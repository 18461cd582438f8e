"""A document as a foldable HTML tree. Whatever it holds is shown as text, never as markup."""

from collections.abc import Iterator, Mapping
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from broker_site.inert import WEB_ADDRESS, visible

MAX_NODES = 3000
MAX_ITEMS = 50
MAX_LEVELS = 24
LONG_TEXT = 300
LONGEST_TEXT = 20_000
OPEN_ITEMS = 8


def tree(document: Mapping[str, Any]) -> SafeString:
    """The whole document; of more than MAX_NODES values the rest is only counted."""
    return _Tree().branch(document.items(), 0)


class _Tree:
    def __init__(self) -> None:
        self._left = MAX_NODES

    def branch(self, items: Any, level: int) -> SafeString:
        rows = list(self._rows(list(items), level))
        return format_html("<ul>{}</ul>", format_html_join("", "<li>{}</li>", rows))

    def _rows(self, items: list[tuple[Any, Any]], level: int) -> Iterator[tuple[SafeString]]:
        for number, (key, value) in enumerate(items):
            if self._left <= 0:
                yield (_more(len(items) - number),)
                return
            self._left -= 1
            yield (self._row(visible(str(key)), value, level),)

    def _row(self, key: str, value: Any, level: int) -> SafeString:
        name = format_html('<bdi class="key">{}</bdi>', key)
        if isinstance(value, Mapping | list | tuple) and value:
            return self._folded(name, value, level)
        return format_html("{} {}", name, leaf(value))

    def _folded(self, name: SafeString, value: Any, level: int) -> SafeString:
        if level >= MAX_LEVELS:
            return format_html('{} <span class="dim">nested deeper; see the JSON</span>', name)
        if not isinstance(value, Mapping) and _is_short(value):
            return format_html("{} {}", name, leaf(", ".join(str(item) for item in value)))
        items = list(value.items() if isinstance(value, Mapping) else enumerate(value))
        kind = "fields" if isinstance(value, Mapping) else "items"
        inside = self.branch(items[:MAX_ITEMS], level + 1)
        rest = _more(len(items) - MAX_ITEMS) if len(items) > MAX_ITEMS else ""
        return format_html(
            '<details{}><summary>{} <span class="dim">{} {}</span></summary>{}{}</details>',
            SafeString(" open") if len(items) <= OPEN_ITEMS and level < 2 else "",
            name,
            len(items),
            kind if len(items) != 1 else kind[:-1],
            inside,
            rest,
        )


def leaf(value: Any) -> SafeString:
    """One value. A text that is an http(s) address becomes a link; long texts are folded."""
    if value is None:
        return SafeString('<span class="dim">none</span>')
    if isinstance(value, bytes):
        return format_html('<span class="dim">{} bytes</span>', len(value))
    text = str(value) if not isinstance(value, Mapping | list | tuple) else "empty"
    if isinstance(value, str) and WEB_ADDRESS.fullmatch(text):
        return format_html('<a href="{}" rel="noopener noreferrer nofollow">{}</a>', text, text)
    shown = visible(text[:LONGEST_TEXT])
    if len(text) <= LONG_TEXT:
        return format_html('<bdi class="text">{}</bdi>', shown)
    return format_html(
        '<details><summary class="dim">{} characters: <bdi>{}…</bdi></summary>'
        '<bdi class="text">{}</bdi>{}</details>',
        len(text),
        shown[:80],
        shown,
        _more(len(text) - LONGEST_TEXT) if len(text) > LONGEST_TEXT else "",
    )


def _is_short(values: Any) -> bool:
    """A list of a few plain values reads best on one line."""
    plain = all(isinstance(item, str | int | float) for item in values[:MAX_ITEMS])
    return plain and len(values) <= MAX_ITEMS and sum(len(str(item)) for item in values) < LONG_TEXT


def _more(count: int) -> SafeString:
    return format_html('<span class="dim">… {} more; see the JSON</span>', count)
