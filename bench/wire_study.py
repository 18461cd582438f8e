"""What the wire formats cost: encode, fetch over real HTTP on loopback, decode, and their size.

The figures in `docs/wire-formats.md`, and the thresholds in `sources.py` that follow from them.
"""

import io
import json
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from multiprocessing import get_context
from statistics import median
from typing import Any, NamedTuple

import h5py
import msgpack
import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

Array = NDArray[Any]
Payload = dict[str, Array]
"""arrays by name; one of several dimensions, or columns of equal length"""

SECONDS = 0.3
"""each step is repeated for so long, but at least three times"""


class Codec(NamedTuple):
    encode: Callable[[Payload], bytes]
    decode: Callable[[bytes], object]


def payloads() -> dict[str, Payload]:
    """What a beamline sends: a page of numbers, a spectrum, frames, a table."""
    random = np.random.default_rng(1)
    gaps = random.normal(size=(512, 512))
    gaps[::7, ::5] = np.nan
    columns: Payload = {"seq_num": np.arange(10_000)}
    columns |= {f"motor{n}": random.normal(size=10_000) for n in range(4)}
    return {
        "20 scalars": {f"motor{n}": random.normal(size=1) for n in range(20)},
        "spectrum, 4,096 float64": {"data": random.normal(size=4096)},
        "frame, 512×512 uint16": {"data": random.poisson(200, (512, 512)).astype("<u2")},
        "frame, 2048×2048 uint32": {"data": random.poisson(200, (2048, 2048)).astype("<u4")},
        "map, 512×512 float64 with NaN": {"data": gaps},
        "table, 10,000 rows": columns,
    }


def _lists(payload: Payload) -> dict[str, Any]:
    return {name: array.tolist() for name, array in payload.items()}


def _arrays(content: dict[str, Any]) -> Payload:
    """From lists; null becomes NaN."""
    return {name: np.array(values) for name, values in content.items()}


def _nulls(content: dict[str, Any]) -> Payload:
    return {name: np.array(values, float) for name, values in content.items()}


def _bins(payload: Payload) -> dict[str, Any]:
    return {
        name: {"shape": array.shape, "dtype": array.dtype.str, "data": array.tobytes()}
        for name, array in payload.items()
    }


def _from_bins(content: dict[str, Any]) -> Payload:
    return {
        name: np.frombuffer(item["data"], item["dtype"]).reshape(item["shape"])
        for name, item in content.items()
    }


def _to_base64(payload: Payload) -> bytes:
    content = _bins(payload)
    for item in content.values():
        item["data"] = b64encode(item["data"]).decode()
    return orjson.dumps(content)


def _from_base64(body: bytes) -> Payload:
    content = orjson.loads(body)
    for item in content.values():
        item["data"] = b64decode(item["data"])
    return _from_bins(content)


def _to_arrow(payload: Payload) -> bytes:
    sink = pa.BufferOutputStream()
    if _is_table(payload):
        table = pa.table(payload)
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    else:
        pa.ipc.write_tensor(pa.Tensor.from_numpy(payload["data"]), sink)
    return bytes(sink.getvalue())


def _from_arrow(body: bytes) -> object:
    buffer = pa.py_buffer(body)
    try:
        return pa.ipc.read_tensor(buffer).to_numpy()
    except OSError:  # no tensor
        table = pa.ipc.open_stream(buffer).read_all()
        return {name: table[name].to_numpy() for name in table.column_names}


def _to_npy(payload: Payload) -> bytes:
    out = io.BytesIO()
    if _is_table(payload):
        np.savez(out, **payload)  # type: ignore[arg-type]
    else:
        np.save(out, payload["data"])
    return out.getvalue()


def _from_npy(body: bytes) -> object:
    found = np.load(io.BytesIO(body), allow_pickle=False)
    return found if isinstance(found, np.ndarray) else dict(found)


def _to_hdf5(payload: Payload) -> bytes:
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        for name, array in payload.items():
            file[name] = array
    return out.getvalue()


def _from_hdf5(body: bytes) -> Payload:
    with h5py.File(io.BytesIO(body)) as file:
        return {name: file[name][()] for name in file}


def _to_raw(payload: Payload) -> bytes:
    return b"".join(array.tobytes() for array in payload.values())


def _is_table(payload: Payload) -> bool:
    return list(payload) != ["data"]


CODECS = {
    "JSON, stdlib": Codec(
        lambda payload: json.dumps(_lists(payload)).encode(), lambda body: _arrays(json.loads(body))
    ),
    "JSON, orjson": Codec(
        lambda payload: orjson.dumps(payload, option=orjson.OPT_SERIALIZE_NUMPY),
        lambda body: _nulls(orjson.loads(body)),
    ),
    "JSON with base64": Codec(_to_base64, _from_base64),
    "msgpack, lists": Codec(
        lambda payload: msgpack.packb(_lists(payload)),
        lambda body: _arrays(msgpack.unpackb(body)),
    ),
    "msgpack, binary": Codec(
        lambda payload: msgpack.packb(_bins(payload)),
        lambda body: _from_bins(msgpack.unpackb(body)),
    ),
    "npy, npz": Codec(_to_npy, _from_npy),
    "Arrow": Codec(_to_arrow, _from_arrow),
    "HDF5": Codec(_to_hdf5, _from_hdf5),
    "raw": Codec(_to_raw, lambda body: np.frombuffer(body, np.uint8)),
}


@dataclass(frozen=True)
class Cost:
    """Milliseconds and bytes of one payload in one format."""

    payload: str
    format: str
    encode: float
    fetch: float
    decode: float
    size: int

    @property
    def total(self) -> float:
        return self.encode + self.fetch + self.decode


def study(codecs: dict[str, Codec]) -> Iterator[Cost]:
    """Every payload in every format."""
    for payload, arrays in payloads().items():
        for name, codec in codecs.items():
            body = codec.encode(arrays)
            encode = _milliseconds(partial(codec.encode, arrays))
            decode = _milliseconds(partial(codec.decode, body))
            with served(body) as fetch:
                yield Cost(payload, name, encode, _milliseconds(fetch), decode, len(body))


def inline_limit() -> int:
    """How many bytes of float64 take 1 ms longer as JSON than they do raw.

    Written by orjson, read by Python's own json, as most scripts do.
    """
    array = np.random.default_rng(2).normal(size=4096)
    written = {"data": array}
    as_json = CODECS["JSON, orjson"].encode(written)
    slow = _milliseconds(lambda: CODECS["JSON, orjson"].encode(written))
    slow += _milliseconds(lambda: _arrays(json.loads(as_json)))
    return int(array.nbytes / slow)


def _milliseconds(action: Callable[[], object]) -> float:
    """The median of several calls."""
    found: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(found) < 3 or time.perf_counter() < end:
        begin = time.perf_counter()
        action()
        found.append((time.perf_counter() - begin) * 1000)
    return median(found)


@contextmanager
def served(body: bytes) -> Iterator[Callable[[], bytes]]:
    """A function that fetches the body from another process by HTTP, over a kept connection."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # or a small body waits for an acknowledgement

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Silence."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    process = get_context("fork").Process(target=server.serve_forever, daemon=True)
    process.start()
    connection = HTTPConnection("127.0.0.1", server.server_port)

    def fetch() -> bytes:
        connection.request("GET", "/")
        return connection.getresponse().read()

    try:
        yield fetch
    finally:
        connection.close()
        process.terminate()
        process.join()
        server.server_close()


# As text and as pictures -------------------------------------------------------------------------

BAR, LABEL, WIDTH = 18, 150, 640
COLOURS = {"encode": "#4477aa", "fetch": "#ccbb44", "decode": "#ee6677"}


def as_markdown(costs: Sequence[Cost]) -> str:
    """One table a payload, the fastest format first."""
    parts = []
    for payload in dict.fromkeys(cost.payload for cost in costs):
        lines = [
            f"## {payload[0].upper()}{payload[1:]}\n",
            "| format | encode ms | HTTP ms | decode ms | together ms | bytes |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
        ]
        lines += [
            f"| {cost.format} | {cost.encode:.3f} | {cost.fetch:.3f} | {cost.decode:.3f} |"
            f" {cost.total:.3f} | {cost.size:,} |"
            for cost in of_payload(costs, payload)
        ]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def of_payload(costs: Sequence[Cost], payload: str) -> list[Cost]:
    return sorted((c for c in costs if c.payload == payload), key=lambda cost: cost.total)


def as_svg(costs: Sequence[Cost]) -> str:
    """The times of one payload as stacked bars, the fastest format first."""
    longest = max(cost.total for cost in costs)
    scale = (WIDTH - LABEL - 90) / longest
    height = BAR * (len(costs) + 2)
    rows = [_bar(cost, (row + 1) * BAR, scale) for row, cost in enumerate(costs)]
    key = "".join(
        f'<rect x="{LABEL + at * 90}" y="4" width="10" height="10" fill="{colour}"/>'
        f'<text x="{LABEL + at * 90 + 14}" y="13">{name}</text>'
        for at, (name, colour) in enumerate(COLOURS.items())
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="11">\n'
        f'<rect width="100%" height="100%" fill="#fff"/>{key}\n' + "\n".join(rows) + "\n</svg>\n"
    )


def _bar(cost: Cost, top: int, scale: float) -> str:
    parts = [f'<text x="{LABEL - 6}" y="{top + 12}" text-anchor="end">{cost.format}</text>']
    left = float(LABEL)
    for step, colour in COLOURS.items():
        width = getattr(cost, step) * scale
        parts.append(
            f'<rect x="{left:.1f}" y="{top + 2}" width="{width:.1f}" height="{BAR - 4}" '
            f'fill="{colour}"/>'
        )
        left += width
    parts.append(f'<text x="{left + 4:.1f}" y="{top + 12}">{cost.total:.2f} ms</text>')
    return "".join(parts)
