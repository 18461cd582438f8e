"""What it takes to read from a stream, for the sync and the async client."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from dbservice import arrays, tables
from dbservice.arrays import Extent
from dbservice.errors import BrokerError, BrokerWarning
from dbservice.facts import RunFacts, StreamFacts, unavailable
from dbservice.wire import Meter, Request, Response, Steps, exchange, together

WORKER_SECONDS = 8 * 3600
TILED_SECONDS = 24 * 3600


def columns(
    stream: StreamFacts, fields: Sequence[str], *, stamps: bool = False, meter: Meter | None = None
) -> Steps[Response]:
    """The table of inline fields of a stream."""
    whole = not fields or list(fields) == stream.fields()
    path = stream._path("table")
    return tables.columns(path, fields, stamps=stamps, whole=whole, meter=meter)


def split(stream: StreamFacts, fields: Sequence[str]) -> tuple[list[str], list[str]]:
    """Those that stand in the events, and those kept in files."""
    external = [name for name in fields if stream.is_external(name)]
    return [name for name in fields if name not in external], external


def array_path(stream: StreamFacts, field: str) -> str:
    return stream._path("data", field)


def extents(stream: StreamFacts, fields: Sequence[str]) -> Steps[dict[str, Extent]]:
    """Of the fields that can be had; the others are named in a warning."""
    steps = [_extent_or_error(stream, field) for field in fields]
    found = yield from together(steps)
    absent = {f: e for f, e in zip(fields, found, strict=True) if isinstance(e, BrokerError)}
    for field, error in absent.items():
        warnings.warn(f"{field} is left out: {error.detail}", BrokerWarning, stacklevel=2)
    return {f: e for f, e in zip(fields, found, strict=True) if isinstance(e, Extent)}


def _extent_or_error(stream: StreamFacts, field: str) -> Steps[Extent | BrokerError]:
    try:
        return (yield from arrays.extent(array_path(stream, field)))
    except BrokerError as error:
        if unavailable(error):
            return error
        raise


def dataset(
    run: RunFacts, stream: StreamFacts, response: Response, frames: Mapping[str, Any]
) -> Any:
    """An xarray Dataset of the columns that came and the arrays that are to come."""
    motors = tables.motors_of(run.start, stream.name, stream.fields())
    about = {"uid": run.uid, "scan_id": run.scan_id, "catalog": run.catalog, "stream": stream.name}
    about |= {"plan_name": run.start.get("plan_name"), "proposal": run.proposal}
    known = {name: value for name, value in about.items() if value is not None}
    columns = tables.arrays_of(response)
    return tables.dataset(columns, frames, stream.data_keys, motors, known)


def column(response: Response, field: str) -> Any:
    """One column as an array."""
    return tables.arrays_of(response)[field]


def with_frames(table: Any, frames: Mapping[str, Any]) -> Any:
    """A DataFrame with an array in each cell of what is kept in files."""
    for name, values in frames.items():
        if len(values) == len(table):
            table[name] = list(values)
        else:
            message = f"{name} is left out: it has {len(values)} frames for {len(table)} events."
            warnings.warn(message, BrokerWarning, stacklevel=3)
    return table


def api_token(name: str, scopes: list[str], seconds: int, **limits: Any) -> Steps[str]:
    """A new API token, which can only narrow what its owner may do."""
    body = {"name": name, "scopes": scopes, "expires_in": seconds, **limits}
    response = yield from exchange(Request("POST", "auth/api-tokens/", body=body))
    return str(response.json()["token"])


def worker_token(run: RunFacts) -> Steps[str]:
    """For workers of dask: reads the data of this run's proposal, for some hours."""
    limits: dict[str, Any] = {"catalogs": [run.catalog]}
    if run.proposal:
        limits["proposals"] = [run.proposal]
    return api_token("dask workers", ["read:data"], WORKER_SECONDS, **limits)


def tiled_token() -> Steps[str]:
    return api_token("Tiled client", ["read:metadata", "read:data"], TILED_SECONDS)


def picture(
    stream: StreamFacts, field: str, frame: int | None, options: Mapping[str, Any]
) -> Steps[bytes]:
    """The service's PNG of a frame. options: min, max, cmap, log."""
    params = {"format": "png", **{k: v for k, v in options.items() if v is not None}}
    if "log" in params:
        params["log"] = str(bool(params["log"])).lower()
    whole = yield from arrays.extent(array_path(stream, field))
    inner = len(whole.shape) - 3
    place = [] if frame is None or len(whole.shape) < 3 else [str(frame), *["0"] * inner]
    params["slice"] = ",".join(place)
    request = Request("GET", array_path(stream, field), params, accept="image/png")
    response = yield from exchange(request)
    return bytes(response.content)
