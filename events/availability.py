"""Which fields of a run can be served, as far as its documents tell.

A field in files can, if the spec of the resource that its first event refers to is allowed in the
catalog and installed. Where no event was recorded yet, nothing speaks against it.
"""

from events.arrays.datums import datum_ids, external_fields
from events.arrays.streamed import media_type
from events.files.assets import installed_handlers
from events.files.opening import is_native
from events.repositories import Events
from events.sources import EventSource, choose
from headers.descriptors import Descriptor
from headers.repositories import Run
from headers.streams import uids_of


def unavailable_fields(run: Run) -> set[tuple[str, str]]:
    """The fields in files that cannot be served, by stream and name.

    Three commands, however many fields there are; one more for those recorded elsewhere.
    """
    specs = _specs(run)
    found = set()
    for descriptor in map(Descriptor, run.descriptors):
        for name in descriptor.external:
            spec = specs.get((str(descriptor.uid), name))
            key = descriptor.data_keys[name]
            source = choose(key, spec=spec or None, handlers=run.catalog.handlers).source
            recorded = spec is not None or source is EventSource.STREAM
            if recorded and (source is not EventSource.FILE or not _installed(spec)):
                found.add((descriptor.name, name))
    return found


def _specs(run: Run) -> dict[tuple[str, str], str]:
    """By descriptor and field, the spec of the first resource; empty if there is no such one."""
    externals = external_fields(run.descriptors)
    uids = sorted({uid for uid in uids_of(run.descriptors) if externals[uid]})
    events = Events(run)
    firsts = events.firsts(uids) if uids else {}
    wanted = {
        (uid, name): datum_id
        for uid, event in firsts.items()
        for name, datum_id in datum_ids(event, externals).items()
    }
    references = events.references(wanted.values())
    return _streamed_specs(run, events) | {
        place: str(references[datum_id].resource.get("spec")) if datum_id in references else ""
        for place, datum_id in wanted.items()
    }


def _streamed_specs(run: Run, events: Events) -> dict[tuple[str, str], str]:
    """The same of fields to whose files stream_resources refer: their media types."""
    outside = {str(d.uid): d.outside for d in map(Descriptor, run.descriptors) if d.outside}
    found = events.stream_resources() if outside else []
    specs = {str(resource.get("data_key")): media_type(resource) for resource in found}
    places = ((uid, name) for uid, names in outside.items() for name in names)
    return {(uid, name): specs[name] for uid, name in places if name in specs}


def _installed(spec: str | None) -> bool:
    return spec is not None and (is_native(spec) or spec in installed_handlers())
