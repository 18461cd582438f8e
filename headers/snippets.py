"""Lines of code that read a run, to be copied. They stop at the first error."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from headers.repositories import Run

PLAIN = re.compile(r"[A-Za-z0-9_.:-]{1,100}")
"""names that mean nothing in any shell or language"""
CURL = 'curl --fail --silent --show-error -H "Authorization: Bearer $DBSERVICE_TOKEN"'


def snippets(site: str, url: str, run: Run, streams: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """`python`, `tiled` and `curl`: the table of the first stream, a frame, the file of the run.

    streams: as the run's page shows them. Names from documents stand in code only where they are
    plain ones.
    """
    uid = quote(run.key or "", safe="")
    stream = streams[0] if streams else None
    array = next((a["name"] for a in _arrays(stream) if PLAIN.fullmatch(a["name"])), None)
    return {
        "python": _lines(_python(site, uid, stream, array)),
        "tiled": _lines(_tiled(site, run, uid, stream, array)),
        "curl": _lines(_curl(site, url, stream, array)),
    }


def _arrays(stream: Mapping[str, Any] | None) -> Sequence[Mapping[str, Any]]:
    return stream["arrays"] if stream and stream["event_count"] else ()


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)


def _named(stream: Mapping[str, Any]) -> str:
    """The stream as Python says it."""
    name = stream["name"]
    return f'"{name}"' if PLAIN.fullmatch(name) else "run.stream_names[0]"


def _python(
    site: str, uid: str, stream: Mapping[str, Any] | None, array: str | None
) -> Iterable[str]:
    yield "from dbservice import connect"
    yield ""
    yield f'run = connect("{site}")["{uid}"]  # NotFound, if you may not read it'
    if stream:
        yield f"table = run.table({_named(stream)})  # a DataFrame"
        yield f"data = run.read({_named(stream)})  # an xarray Dataset"
    if array and stream:
        yield f'frame = run.data("{array}", {_named(stream)})[0]  # fetches this frame only'
    yield 'run.export("run.h5")  # everything, as one file'


def _tiled(
    site: str, run: Run, uid: str, stream: Mapping[str, Any] | None, array: str | None
) -> Iterable[str]:
    yield "from tiled.client import from_uri"
    yield ""
    yield f'client = from_uri("{site}")'
    yield "client.login()"
    yield f'run = client["{quote(run.catalog.name, safe="")}"]["raw"]["{uid}"]'
    if stream and PLAIN.fullmatch(stream["name"]):
        yield f'data = run["{stream["name"]}"]["data"].read()'
        if array:
            yield f'frame = run["{stream["name"]}"]["data"]["{array}"][0]'


def _curl(
    site: str, url: str, stream: Mapping[str, Any] | None, array: str | None
) -> Iterable[str]:
    yield "set -e  # stop at the first error"
    yield f"{CURL} \\\n  '{site}{url}'"
    if stream:
        yield f"{CURL} \\\n  -o {stream['file_name']}.csv '{site}{stream['url']}table/?format=csv'"
    if array and stream:
        address = f"{site}{stream['url']}data/{quote(array, safe='')}/?slice=0&format=npy"
        yield f"{CURL} \\\n  -o frame.npy '{address}'"
    yield f"{CURL} \\\n  -o run.h5 '{site}{url}export/?format=h5'"
