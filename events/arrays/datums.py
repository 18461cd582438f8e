"""From events to files: which fields are kept in files, and what their events refer to."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from django.conf import settings

from events.files.assets import Datum, Resource, Roots
from events.files.reader import ArrayReader, pool_for
from events.repositories import Events, Reference
from headers.descriptors import Descriptor, Doc, as_mapping
from headers.repositories import Run

Event = dict[str, Any]
Externals = Mapping[str, frozenset[str]]
"""descriptor uid → its fields that are kept in files"""


def external_fields(descriptors: Iterable[Doc]) -> dict[str, frozenset[str]]:
    """Of each descriptor, by uid, the fields whose values are kept in files."""
    return {str(doc.get("uid")): Descriptor(doc).external for doc in descriptors}


def datum_ids(event: Doc, externals: Externals) -> dict[str, str]:
    """The fields of an event that refer to a datum, and its id."""
    fields = externals.get(str(event.get("descriptor")), frozenset())
    if not fields:
        return {}
    done = as_mapping(event.get("filled"))
    return {
        name: value
        for name, value in as_mapping(event.get("data")).items()
        if name in fields and isinstance(value, str) and done.get(name) is not True
    }


def recorded_datums(events: Events, ids: Iterable[str]) -> dict[str, Datum]:
    """By id, what the reader needs to know of those datums that the run has."""
    return {id: _as_datum(reference) for id, reference in events.references(ids).items()}


def _as_datum(reference: Reference) -> Datum:
    kwargs = reference.datum.get("datum_kwargs")
    resource = Resource.from_document(reference.resource)
    return Datum(resource, kwargs if isinstance(kwargs, dict) else {})


def streamed_datums(
    events: Events, field: str, data_key: Doc, wanted: Collection[int]
) -> dict[int, Datum]:
    """By `seq_num`, those that are wanted, where stream_datums say that a field's values are."""
    resources, found = dict[str, Doc](), dict[int, Datum]()
    numbers = set(wanted)
    for name, document in events.stream_documents(field):
        if name == "stream_resource":
            resources[document["uid"]] = document
            continue
        resource = resources[document["stream_resource"]]
        frames = _frames(resource, data_key)
        first, indices = document["seq_nums"]["start"], document["indices"]
        for number in _within(numbers, range(first, first + indices["stop"] - indices["start"])):
            kwargs = {"index": indices["start"] + number - first}
            kwargs |= {"frames": frames} if frames else {}
            found[number] = Datum(_streamed(resource), kwargs)
    return found


def _within(numbers: set[int], span: range) -> Iterable[int]:
    """The span is what somebody wrote, and may be of any length."""
    if len(span) > len(numbers):
        return (number for number in numbers if number in span)
    return (number for number in span if number in numbers)


def _frames(resource: Doc, data_key: Doc) -> int | None:
    """How many rows of its dataset an event has; None: one, which adds no axis to its values.

    The first axis of the dataset counts frames. Does the shape of the field count it, too?
    """
    shape: list[Any] = data_key.get("shape") or []
    chunks = as_mapping(resource.get("parameters")).get("chunk_shape")
    axes = len(chunks) if isinstance(chunks, list) else 3
    return int(shape[0]) if len(shape) >= axes and shape[0] else None


def _streamed(document: Doc) -> Resource:
    """The file of a stream_resource, as if it were that of a resource."""
    path = unquote(urlsplit(str(document.get("uri"))).path)
    folder, _, name = path.rpartition("/")
    kwargs = as_mapping(document.get("parameters"))
    return Resource(document["uid"], str(document.get("mimetype")), folder, name, kwargs)


def array_reader(run: Run) -> ArrayReader:
    """Reads the files of a run, as far as its reader may, in the processes of this worker."""
    catalog = run.catalog
    roots = Roots(catalog.root_map, catalog.allowed_roots, catalog.file_proposal)
    folders = {folder for known in settings.CATALOGS for folder in known.allowed_roots}
    pool = pool_for(tuple(sorted(folders)))
    return ArrayReader(roots, catalog.handlers, pool, run.admits_file_of)
