"""Which of the readers of files serves a resource."""

from collections.abc import Callable, Mapping

from events.files import streams
from events.files.assets import Resource, Roots
from events.files.formats import (
    HDF5_SPECS,
    HandlerEvents,
    Hdf5Events,
    NpyEvents,
    ResourceEvents,
    TiffEvents,
)

Opened = Callable[[Resource, str, Roots], ResourceEvents]


def _hdf5_stream(resource: Resource, path: str, roots: Roots) -> ResourceEvents:
    of_many = bool(resource.kwargs.get("template"))
    return (streams.Hdf5Sequence if of_many else streams.Hdf5Stream)(resource, path, roots)


READERS: Mapping[str, Opened] = {
    **dict.fromkeys(HDF5_SPECS, Hdf5Events),
    "AD_TIFF": TiffEvents,
    "NPY_SEQ": NpyEvents,
    **dict.fromkeys(streams.FILES, streams.FileSequence),
    streams.HDF5: _hdf5_stream,
    streams.CSV: streams.CsvRows,
}
"""by spec, or by the media type of a stream_resource"""


def is_native(spec: str) -> bool:
    """Whether files of this spec are read here, without a handler."""
    return spec in READERS


def open_events(resource: Resource, roots: Roots) -> ResourceEvents:
    """What serves the events of this resource.

    Raises
    ------
    OutsideRoots
        The resource leads out of the roots; it was not opened.
    """
    path = roots.locate(resource)
    return READERS.get(resource.spec, HandlerEvents)(resource, path, roots)
