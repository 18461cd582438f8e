"""From events to files: which fields are kept in files, and what their events refer to."""

from collections.abc import Iterable, Mapping
from typing import Any

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


def array_reader(run: Run) -> ArrayReader:
    """Reads the files of a run, as far as its reader may, in the processes of this worker."""
    catalog = run.catalog
    roots = Roots(catalog.root_map, catalog.allowed_roots, catalog.file_proposal)
    folders = {folder for known in settings.CATALOGS for folder in known.allowed_roots}
    pool = pool_for(tuple(sorted(folders)))
    return ArrayReader(roots, catalog.handlers, pool, run.admits_file_of)
