"""Documents as writers send them: read, checked, unpacked, and compared with what is stored.

Plain functions; they know neither Django nor MongoDB.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import bson
import event_model
import jsonschema_rs
import msgpack
from bson import ObjectId
from bson.errors import BSONError

Doc = dict[str, Any]

MAX_BODY = 8 * 2**20
MAX_DOCUMENTS = 5_000
MAX_CONTAINERS = 500_000
"""lists and objects of one body, each of which takes more memory than it took on the wire"""
MAX_VALUES = 1_000_000
"""of a page, whose rows become documents with all its keys"""
MAX_MADE = 64 * 2**20
"""bytes of all documents of a body as they are stored, where each has its keys"""
MAX_KEY = 500
"""bytes of an id, which MongoDB's indexes and addresses have to hold"""
LONGEST_PLACE = 300
MAX_DEPTH = 90
"""MongoDB stores 100 levels"""
MAX_STORED = 16 * 2**20
"""bytes of one document that MongoDB stores"""
INT64 = range(-(2**63), 2**63)
PLAIN = (str, bool, float, bytes, type(None))


class Refused(Exception):
    """Documents that are not stored, and why. status: of HTTP; reason: a word for programs."""

    def __init__(self, status: int, detail: str, reason: str, index: int = 0) -> None:
        super().__init__(detail)
        self.status, self.detail, self.reason, self.index = status, detail, reason, index


class Invalid(Exception):
    """A document, or a body, that no writer should have sent."""


class TooMuch(Exception):
    """More than is taken at once."""

    status: ClassVar[int] = 413


@dataclass(frozen=True)
class DocumentKind:
    """A kind of document, where it is stored and which key no two of them share.

    in_assets: beside resources and datums. made_id: `_id` follows from the key, because there may
    be no unique index of it.
    """

    name: str
    collection: str
    key: str = "uid"
    in_assets: bool = False
    made_id: bool = False


# In the order in which they are stored: what others refer to comes first.
KINDS = {
    kind.name: kind
    for kind in (
        DocumentKind("start", "run_start"),
        DocumentKind("descriptor", "event_descriptor"),
        DocumentKind("resource", "resource", in_assets=True, made_id=True),
        DocumentKind("stream_resource", "stream_resource", in_assets=True, made_id=True),
        DocumentKind("datum", "datum", key="datum_id", in_assets=True),
        DocumentKind("stream_datum", "stream_datum", in_assets=True, made_id=True),
        DocumentKind("event", "event"),
        DocumentKind("stop", "run_stop", key="run_start"),
    )
}
LATE = frozenset({"datum", "stream_datum"})
"""may come after the stop: a slow detector writes them"""

TEXT, NUMBER, WHOLE, OBJECT = (str,), (int, float), (int,), (dict,)
REQUIRED: dict[str, dict[str, tuple[type, ...]]] = {
    "event": {
        "uid": TEXT,
        "descriptor": TEXT,
        "time": NUMBER,
        "seq_num": WHOLE,
        "data": OBJECT,
        "timestamps": OBJECT,
    },
    "datum": {"datum_id": TEXT, "resource": TEXT, "datum_kwargs": OBJECT},
    "resource": {"run_start": TEXT},
    "stream_resource": {"run_start": TEXT},
}
"""what is checked of what comes often, and beyond its schema of what comes seldom"""


@dataclass(frozen=True)
class Item:
    """One document to be stored. index: of the item of the body that it came in."""

    index: int
    kind: DocumentKind
    document: Doc
    raw: bytes
    """as BSON, with its `_id`"""

    @property
    def key(self) -> str:
        return str(self.document[self.kind.key])

    @property
    def what(self) -> str:
        return f"{self.kind.name} {self.key}"


# -- Bodies ---------------------------------------------------------------------------------------


def msgpack_items(body: bytes) -> Iterator[Any]:
    """What a sequence of msgpack values holds. Invalid, TooMuch."""
    counted = _Containers()
    unpacker = msgpack.Unpacker(
        max_buffer_size=MAX_BODY, object_hook=counted, list_hook=counted, raw=False
    )
    unpacker.feed(body)
    while unpacker.tell() < len(body):
        try:
            yield unpacker.unpack()
        except (msgpack.UnpackException, ValueError, RecursionError) as error:
            raise Invalid(f"this is not msgpack: {error or type(error).__name__}") from None


def ndjson_items(body: bytes) -> Iterator[Any]:
    """What the lines of a body hold. NaN and Infinity may stand there, as Python writes them.

    Raises Invalid, TooMuch.
    """
    if body.count(b"{") + body.count(b"[") > MAX_CONTAINERS:
        raise TooMuch(f"At most {MAX_CONTAINERS:,} lists and objects are taken at once.")
    for line in body.split(b"\n"):
        if line.strip():
            yield from_json(line)


def from_json(text: bytes) -> Any:
    """Integers stay what they are, however long. Invalid."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"this is not JSON: {error}") from None


class _Containers:
    def __init__(self) -> None:
        self._count = 0

    def __call__(self, container: Any) -> Any:
        self._count += 1
        if self._count > MAX_CONTAINERS:
            raise TooMuch(f"At most {MAX_CONTAINERS:,} lists and objects are taken at once.")
        return container


# -- Documents ------------------------------------------------------------------------------------


def documents_of(item: Any, index: int) -> Iterator[Item]:
    """The documents of an item `[name, document]`; of a page, one for each row. Invalid."""
    if not isinstance(item, list) or len(item) != 2 or not isinstance(item[0], str):
        raise Invalid("an item must be [name, document]")
    name, document = item
    if not isinstance(document, dict):
        raise Invalid(f"{name}: must be an object")
    check_values(name, document)
    for kind, one in _unpacked(name, document):
        yield _item(index, kind, one)


def _item(index: int, name: str, document: Doc) -> Item:
    _check_fields(name, document)
    return Item(index, KINDS[name], document, _encoded(KINDS[name], document))


def _unpacked(name: str, document: Doc) -> Iterable[tuple[str, Doc]]:
    """Single documents, as readers of these collections expect them."""
    if name in KINDS:
        return [(name, document)]
    try:
        return list(PAGES[name](document))
    except KeyError as error:
        if name not in PAGES:
            names = ", ".join([*KINDS, *PAGES])
            raise Invalid(f"{name[:40]!r} is no kind of document; known are {names}") from None
        raise Invalid(f"{name}: lacks {error}") from None
    except (TypeError, AttributeError, IndexError):
        raise Invalid(f"{name}: is not what a page must be") from None


def _check_page(length: int, *columns: Any) -> None:
    """A page whose lists differ in length would lose what stands beyond the shortest."""
    if length > MAX_DOCUMENTS:
        raise TooMuch(f"At most {MAX_DOCUMENTS:,} documents are taken at once.")
    if length * len(columns) > MAX_VALUES:
        raise TooMuch(f"At most {MAX_VALUES:,} values of a page are taken at once.")
    if not all(isinstance(column, list) and len(column) == length for column in columns):
        raise TypeError


def _events(page: Doc) -> Iterator[tuple[str, Doc]]:
    parts = (page["data"], page["timestamps"], page.get("filled") or {})
    within = [column for part in parts for column in part.values()]
    _check_page(len(page["uid"]), page["uid"], page["seq_num"], page["time"], *within)
    whole: Any = page if "filled" in page else {**page, "filled": {}}
    for event in event_model.unpack_event_page(whole):
        yield "event", dict(event.items())


def _datums(page: Any) -> Iterator[tuple[str, Doc]]:
    _check_page(len(page["datum_id"]), page["datum_id"], *page["datum_kwargs"].values())
    for datum in event_model.unpack_datum_page(page):
        yield "datum", dict(datum.items())


def _bulk_events(bulk: Doc) -> Iterator[tuple[str, Doc]]:
    for events in bulk.values():
        for event in events:
            yield "event", dict(event.items())


def _bulk_datum(bulk: Doc) -> Iterator[tuple[str, Doc]]:
    ids, kwargs = bulk["datum_ids"], bulk["datum_kwarg_list"]
    _check_page(len(ids), ids, kwargs)
    for datum_id, own in zip(ids, kwargs, strict=True):
        yield (
            "datum",
            {"datum_id": datum_id, "resource": bulk["resource"], "datum_kwargs": own},
        )


PAGES = {
    "event_page": _events,
    "datum_page": _datums,
    "bulk_events": _bulk_events,
    "bulk_datum": _bulk_datum,
}


def _check_fields(name: str, document: Doc) -> None:
    for key, kinds in REQUIRED.get(name, {}).items():
        value = document.get(key)
        if not isinstance(value, kinds) or isinstance(value, bool):
            expected = " or ".join(kind.__name__ for kind in kinds)
            raise Invalid(f"{name}: {key} must be there and be {expected}")
    if name not in ("event", "datum"):
        _check_schema(name, document)


def _check_schema(name: str, document: Doc) -> None:
    """As event-model has it, which is what a RunEngine checks itself by."""
    try:
        _validate(name, document)
    except jsonschema_rs.ValidationError as error:
        place = ".".join(map(str, error.instance_path))
        where = f"{place[:LONGEST_PLACE]}: " if place else ""
        raise Invalid(f"{name}: {where}{error.message[:300]}") from None
    except UnicodeError as error:
        raise Invalid(f"{name}: cannot be stored: {error}") from None


def _validate(name: str, document: Doc) -> None:
    validator = _validator(name)
    try:
        validator.validate(document)
    except (jsonschema_rs.ValidationError, UnicodeError):
        raise
    except ValueError:  # JSON knows no bytes
        validator.validate(_without_bytes(document))


@cache
def _validator(name: str) -> jsonschema_rs.Draft202012Validator:
    """In Rust: the one that event-model brings takes minutes for the largest bodies."""
    schema = event_model.schemas[event_model.DocumentNames[name]]
    return jsonschema_rs.Draft202012Validator(schema)


def _without_bytes(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_bytes(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_bytes(inner) for inner in value]
    return "" if isinstance(value, bytes) else value


def check_values(name: str, document: Doc) -> None:
    """Invalid for what MongoDB does not store or what could not be asked for."""
    try:
        _check_dict(document, 0)
    except _Unstorable as error:
        place = "".join(reversed(error.place))
        raise Invalid(f"{name}{place[:LONGEST_PLACE]}: {error}") from None


class _Unstorable(Exception):
    """place: the steps to it, from within."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.place: list[str] = []


def _check_dict(document: Doc, depth: int) -> None:
    for key, inner in document.items():
        if not isinstance(key, str) or key.startswith("$") or "\0" in key:
            raise _Unstorable(f"the key {key!r:.80} is no text, begins with $ or has a NUL")
        if not isinstance(inner, PLAIN):
            try:
                _check_value(inner, depth + 1)
            except _Unstorable as error:
                error.place.append(f".{key}")
                raise


def _check_list(items: list[Any], depth: int) -> None:
    for inner in items:
        if not isinstance(inner, PLAIN):
            try:
                _check_value(inner, depth + 1)
            except _Unstorable as error:
                error.place.append("[]")
                raise


def _check_value(value: Any, depth: int) -> None:
    """Without a text for each place, which would be made of keys as long as the body."""
    if isinstance(value, int):
        if value not in INT64:
            raise _Unstorable(f"{_shown(value)} is beyond 64 bits")
    elif depth > MAX_DEPTH:
        raise _Unstorable(f"more than {MAX_DEPTH} levels deep")
    elif isinstance(value, dict):
        _check_dict(value, depth)
    elif isinstance(value, list):
        _check_list(value, depth)
    else:
        raise _Unstorable(f"{type(value).__name__} cannot be stored")


def _shown(number: int) -> str:
    """Python refuses to write out thousands of digits."""
    return str(number) if number.bit_length() < 500 else "a number"


def _encoded(kind: DocumentKind, document: Doc) -> bytes:
    key = document[kind.key]
    if "\0" in key or not 0 < len(key.encode("utf-8", "replace")) <= MAX_KEY:
        raise Invalid(f"{kind.name}: {kind.key} must have 1 to {MAX_KEY} bytes, and no NUL")
    try:
        own = made_id(key) if kind.made_id else ObjectId()
        # As MongoDB stores it: `_id` in front.
        raw = bson.encode({"_id": own, **{k: v for k, v in document.items() if k != "_id"}})
    except (BSONError, OverflowError, UnicodeError, RecursionError) as error:
        raise Invalid(f"{kind.name}: cannot be stored: {error}") from None
    if len(raw) > MAX_STORED:
        raise Invalid(f"{kind.name} {key}: of {len(raw)} bytes; MongoDB stores {MAX_STORED}")
    return raw


# -- Identity -------------------------------------------------------------------------------------


def made_id(key: str) -> ObjectId:
    """The `_id` that a key stands for."""
    return ObjectId(hashlib.blake2b(key.encode(), digest_size=12).digest())


def canonical(document: Mapping[str, Any]) -> bytes:
    """Bytes that are the same for the same content: NaN equals itself, 1 is not 1.0."""
    return bson.encode({key: _canonical(document[key]) for key in sorted(document) if key != "_id"})


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _canonical(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, float):
        return math.nan if value != value else float(value)
    # What was read has types of its own for integers of 64 bits.
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


def difference(one: Any, other: Any, path: str = "") -> str:
    """The dotted path of the first difference; "" where there is none."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted({*one, *other} - {"_id"}):
            inner = f"{path}.{key}" if path else key
            if key not in one or key not in other:
                return inner
            if found := difference(one[key], other[key], inner):
                return found
        return ""
    return path if canonical({"": one}) != canonical({"": other}) else ""
