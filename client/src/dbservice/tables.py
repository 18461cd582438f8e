"""Streams as columns, DataFrames and Datasets."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from dbservice.arrays import numpy
from dbservice.errors import MissingExtra
from dbservice.wire import ARROW, LONGEST_LINE, MSGPACK, Meter, Request, Response, Steps, exchange

if TYPE_CHECKING:
    from numpy.typing import NDArray

OWN = ("seq_num", "time")
"""columns that every table has"""
STAMP = "ts_"
TIMES = ("time", "start.time", "stop.time")


def pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise MissingExtra("pandas", "pandas") from None
    return pandas


def xarray() -> Any:
    try:
        import xarray
    except ImportError:
        raise MissingExtra("xarray", "xarray") from None
    return xarray


def has(library: str) -> bool:
    """Whether a library is installed, without loading it."""
    return importlib.util.find_spec(library) is not None


def columns(
    path: str, fields: Sequence[str], *, stamps: bool, whole: bool, meter: Meter | None = None
) -> Steps[Response]:
    """The table of a stream, as Arrow where pyarrow is installed, else as msgpack.

    fields: the columns wanted. whole: these are all that the stream has.
    """
    kind = ("arrow", ARROW) if has("pyarrow") else ("msgpack", MSGPACK)
    params: dict[str, Any] = {"format": kind[0]}
    named = ",".join(fields)
    if not whole and len(named) < LONGEST_LINE:  # else all are read and some dropped
        params["fields"] = named
    if stamps or len(fields) == 1:  # of one alone the service might answer with the bare array
        params["timestamps"] = "true"
    request = Request("GET", path, params, accept=kind[1], kept="disk", meter=meter)
    return (yield from exchange(request))


def frame(response: Response, fields: Sequence[str], *, stamps: bool, timezone: str | None) -> Any:
    """A DataFrame: index seq_num, `time` and, with stamps, a ts_ column a field, localised."""
    pd = pandas()
    if response.headers["content-type"].startswith(ARROW):
        table = _arrow(response).to_pandas()
    else:
        table = pd.DataFrame(_unpacked(response))
    times = [STAMP + field for field in fields if stamps]
    table = table[[*OWN, *fields, *times]].copy()
    for name in ["time", *times]:
        table[name] = moments(table[name], timezone)
    return table.set_index("seq_num")


def moments(seconds: Any, timezone: str | None) -> Any:
    """Epoch seconds as datetimes in a time zone; None for the one of this computer."""
    moments = pandas().to_datetime(seconds, unit="s", utc=True, errors="coerce")
    return moments.dt.tz_convert(timezone or _local_zone())


def _local_zone() -> Any:
    """The name of this computer's zone; where it has none, an object that is a lot slower."""
    if not time.timezone and not time.daylight:
        return "UTC"
    name = os.environ.get("TZ", "").lstrip(":")
    name = name or os.path.realpath("/etc/localtime").partition("/zoneinfo/")[2]
    try:
        return ZoneInfo(name).key
    except (ValueError, OSError, KeyError):
        from dateutil.tz import tzlocal  # comes with pandas

        return tzlocal()


def arrays_of(response: Response) -> dict[str, NDArray[Any]]:
    """The columns by name, lists of equal length stacked: (rows, …)."""
    if response.headers["content-type"].startswith(ARROW):
        table = _arrow(response)
        return {name: _stacked(table.column(name)) for name in table.column_names}
    return {name: _from_list(values) for name, values in _unpacked(response).items()}


def _arrow(response: Response) -> Any:
    import pyarrow.ipc

    with pyarrow.ipc.open_stream(response.content) as reader:
        return reader.read_all()


def _unpacked(response: Response) -> dict[str, list[Any]]:
    import msgpack

    unpacked: dict[str, list[Any]] = msgpack.unpackb(response.content, strict_map_key=False)
    return unpacked


def _stacked(column: Any) -> NDArray[Any]:
    import pyarrow
    import pyarrow.compute

    values, shape = column.combine_chunks(), [len(column)]
    while pyarrow.types.is_list(values.type):
        lengths = pyarrow.compute.unique(pyarrow.compute.list_value_length(values)).to_pylist()
        if len(lengths) > 1 or None in lengths:
            return _from_list(column.to_pylist())
        shape.append(lengths[0] if lengths else 0)
        values = values.flatten()
    plain: NDArray[Any] = values.to_numpy(zero_copy_only=False)
    return plain.reshape(shape)


def _from_list(values: list[Any]) -> NDArray[Any]:
    """Of objects, where the values do not make a plain array."""
    np = numpy()
    try:
        plain: NDArray[Any] = np.array(values)
    except ValueError:
        plain = np.empty(0, object)
    if plain.dtype.kind in "biuf" and len(plain) == len(values):
        return plain
    if all(value is None or isinstance(value, (int, float)) for value in values):
        return np.array(values, float)  # type: ignore[no-any-return]
    objects: NDArray[Any] = np.empty(len(values), object)
    objects[:] = values
    return objects


def runs_frame(
    records: Sequence[Mapping[str, Any]], names: Sequence[str], timezone: str | None
) -> Any:
    """A DataFrame, a row a run; times are localised."""
    pd = pandas()
    table = pd.DataFrame(list(records), columns=list(names))
    for name in set(names).intersection(TIMES):
        table[name] = moments(pd.to_numeric(table[name], errors="coerce"), timezone)
    return table


def motors_of(start: Mapping[str, Any], stream: str, fields: Iterable[str]) -> list[str]:
    """The fields that a plan scanned in a stream, slowest first, as its hints say."""
    hints = start.get("hints")
    dimensions = hints.get("dimensions") if isinstance(hints, Mapping) else None
    found: list[str] = []
    for dimension in dimensions if isinstance(dimensions, list) else []:
        match dimension:
            case [[*names], where] if where == stream:
                found += [n for n in names if isinstance(n, str) and n != "time" and n in fields]
    return list(dict.fromkeys(found))


def dataset(
    columns: Mapping[str, NDArray[Any]],
    frames: Mapping[str, Any],
    keys: Mapping[str, Mapping[str, Any]],
    motors: Sequence[str],
    about: Mapping[str, Any],
) -> Any:
    """An xarray Dataset along `time`, with the scanned motors as coordinates.

    columns: inline data, `seq_num` and `time` among them. frames: arrays, lazy or not, by name.
    keys: the data keys, for units and names of dimensions.
    """
    xr = xarray()
    np = numpy()
    seconds = np.asarray(columns["time"], float)
    moments = np.round(seconds * 1e6).astype("datetime64[us]").astype("datetime64[ns]")
    coords = {"time": ("time", moments), "seq_num": ("time", columns["seq_num"])}
    inline = {n: values for n, values in columns.items() if n in keys and n not in OWN}
    sizes: dict[str, int] = {"time": len(moments)}
    variables = {
        name: (_dims(name, values.shape, keys[name], sizes), values, _attributes(keys[name]))
        for name, values in {**inline, **frames}.items()
    }
    made = xr.Dataset(variables, coords, attrs=dict(about))
    scanned = [name for name in motors if name in columns and columns[name].ndim == 1]
    made = made.set_coords(scanned)
    for name in scanned:
        if hasattr(made, "set_xindex"):  # so that .sel(theta=21.3, method="nearest") works
            made = made.set_xindex(name)
    return made


def _dims(
    name: str, shape: Sequence[int], key: Mapping[str, Any], sizes: dict[str, int]
) -> tuple[str, ...]:
    """Names of axes: those of the data key, where they do not clash with others' of another size.

    sizes: of the dimensions so far; is added to.
    """
    first = "time" if shape[0] == sizes["time"] else f"{name}_event"
    own = (first, *(f"{name}_dim_{place}" for place in range(len(shape) - 1)))
    named = key.get("dims")
    wanted = (first, *map(str, named)) if isinstance(named, (list, tuple)) else own
    fits = len(wanted) == len(set(wanted)) == len(shape)
    clash = any(sizes.get(dim, size) != size for dim, size in zip(wanted, shape, strict=False))
    dims = wanted if fits and not clash else own
    sizes.update(zip(dims, shape, strict=True))
    return dims


def _attributes(key: Mapping[str, Any]) -> dict[str, Any]:
    names = ("units", "source", "object_name")
    return {name: key[name] for name in names if key.get(name) is not None}
