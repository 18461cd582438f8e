"""The array routes: slices of fields in events and in real files, in every format."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import msgpack
import numpy as np
import pyarrow as pa
import pytest
import tifffile
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from events.arrays import rows
from headers.mongo import database
from tests.conftest import Actor, Commands
from tests.documents import EPOCH, Doc, Recorder

Array = NDArray[Any]
NUMBER = {"dtype": "number", "shape": [], "source": "SIM:x"}
EVENTS, HEIGHT, WIDTH = 7, 5, 6
FRAMES = np.arange(EVENTS * HEIGHT * WIDTH, dtype="<u2").reshape(EVENTS, HEIGHT, WIDTH)
IMAGE = {"dtype": "array", "shape": [1, HEIGHT, WIDTH], "source": "x", "external": "FILESTORE:"}


def array_url(run: str, field: str, stream: str = "primary") -> str:
    return f"/api/v1/headers/{run}/streams/{stream}/data/{field}/"


def get(client: APIClient, url: str, **query: str) -> bytes:
    response = client.get(url, query)
    assert response.status_code == 200, response.content
    return b"".join(response)


def get_array(client: APIClient, url: str, **query: str) -> Array:
    """By the headers of octet-stream, as the contract tells them."""
    response = client.get(url, query | {"format": "octet-stream"})
    assert response.status_code == 200, response.content
    content = b"".join(response)
    assert int(response["Content-Length"]) == len(content)
    shape = [int(length) for length in response["X-Array-Shape"].split(",") if length]
    return np.frombuffer(content, response["X-Array-Dtype"]).reshape(shape)


def insert_events(recorder: Recorder, descriptor: str, rows: list[Doc], first: int = 1) -> None:
    database(recorder.catalogs["csx"].metadata).event.insert_many(
        [
            {
                "uid": f"{descriptor}-{n}",
                "descriptor": descriptor,
                "seq_num": n,
                "time": EPOCH + n,
                "data": data,
                "timestamps": dict.fromkeys(data, EPOCH + n),
                "filled": {},
            }
            for n, data in enumerate(rows, first)
        ]
    )


def recorded(
    recorder: Recorder, keys: Doc, rows: list[Doc], *, stop: bool = True
) -> tuple[str, str]:
    """A run of one stream with these data. Returns the uids of run and descriptor."""
    run = recorder.run(events=0, exit_status=None)
    database(recorder.catalogs["csx"].metadata).event_descriptor.delete_many({"run_start": run})
    descriptor = recorder.descriptor(run, data_keys=keys)
    if rows:
        insert_events(recorder, descriptor, rows)
    if stop:
        counts = {"primary": len(rows)}
        recorder.stop(run, exit_status="success", num_events=counts)
    return run, descriptor


def in_file(recorder: Recorder, path: str, spec: str = "AD_HDF5", **fields: Any) -> str:
    uid = f"resource-{path}-{spec}"
    resource: Doc = {"uid": uid, "spec": spec, "root": "/facility/data", "resource_path": path}
    resource |= {"resource_kwargs": {"frame_per_point": 1}, "path_semantics": "posix"}
    recorder.insert("csx", "resource", resource | fields)
    points = [
        {"datum_id": f"{uid}/{n}", "resource": uid, "datum_kwargs": {"point_number": n}}
        for n in range(EVENTS)
    ]
    for point in points:
        recorder.insert("csx", "datum", point)
    return uid


def write_frames(path: Path, frames: Array = FRAMES) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("entry/data/data", data=frames, chunks=(1, *frames.shape[1:]))


@pytest.fixture
def scan(recorder: Recorder, data_folder: Path) -> str:
    """A complete run with frames in an HDF5 file beside a number."""
    write_frames(data_folder / "scan.h5")
    resource = in_file(recorder, "scan.h5")
    rows = [{"image": f"{resource}/{n}", "det": n / 2} for n in range(EVENTS)]
    return recorded(recorder, {"image": IMAGE, "det": NUMBER}, rows)[0]


EXPECTED = FRAMES[:, None]


def read_h5(content: bytes) -> Array:
    with h5py.File(io.BytesIO(content)) as file:
        return np.asarray(file["data"])


def read_msgpack(content: bytes) -> Array:
    found = msgpack.unpackb(content)
    return np.frombuffer(found["data"], found["dtype"]).reshape(found["shape"])


READERS: dict[str, Callable[[bytes], Array]] = {
    "npy": lambda content: np.load(io.BytesIO(content), allow_pickle=False),
    "json": lambda content: np.array(json.loads(content), "<u2"),
    "msgpack": read_msgpack,
    "arrow": lambda content: pa.ipc.read_tensor(pa.py_buffer(content)).to_numpy(),
    "h5": read_h5,
}


@pytest.mark.parametrize("kind", list(READERS))
def test_every_format_holds_the_same_frames(kind: str, scan: str, acting_as: Actor) -> None:
    content = get(acting_as("alice"), array_url(scan, "image"), slice="1:4,0,::2", format=kind)
    array = READERS[kind](content)
    assert array.dtype == FRAMES.dtype
    assert np.array_equal(array, EXPECTED[1:4, 0, ::2])


def test_a_picture_opens_in_the_tools_for_pictures(scan: str, acting_as: Actor) -> None:
    client, url = acting_as("alice"), array_url(scan, "image")
    tiff = tifffile.imread(io.BytesIO(get(client, url, slice="2,0", format="tiff")))
    assert np.array_equal(tiff, FRAMES[2])
    png = get(client, url, slice="2,0", format="png", min="60", max="89", cmap="viridis")
    with Image.open(io.BytesIO(png)) as image:
        assert image.size == (WIDTH, HEIGHT)
        corners = [np.array(image.convert("RGB"))[at].tolist() for at in ((0, 0), (-1, -1))]
    assert corners == [[0x44, 0x01, 0x54], [0xFD, 0xE7, 0x25]]


slices = st.builds(
    lambda *bounds: ":".join("" if b is None else str(b) for b in bounds),
    *[st.none() | st.integers(-9, 9)] * 2,
    st.none() | st.integers(-3, 3).filter(bool),
)
indices = st.integers(-EVENTS, EVENTS - 1).map(str)


@given(text=st.lists(slices, max_size=4) | st.tuples(indices, slices) | st.just(["...", ":3"]))
@hypothesis_settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_slices_are_those_of_numpy(text: list[str], scan: str, acting_as: Actor) -> None:
    wanted = eval(f"EXPECTED[{','.join(text) or '...'}]")
    client = acting_as("dan") if not hasattr(acting_as, "kept") else acting_as.kept
    acting_as.kept = client  # type: ignore[attr-defined]
    for field, expected in (("image", wanted), ("det", None)):
        if expected is None:
            expected = (np.arange(EVENTS) / 2)[eval(f"np.s_[{text[0] if text else '...'}]")]
            query = text[0] if text else ""
        else:
            query = ",".join(text)
        array = get_array(client, array_url(scan, field), slice=query)
        assert array.shape == expected.shape
        assert np.array_equal(array, expected)


@pytest.mark.parametrize(
    "slice", ["1::0", "a", "0:1:1:1", "1,2,3,4,5", "7", "-8", "...,...", ",".join("0" * 33), "1e3"]
)
def test_what_is_no_slice_is_refused(slice: str, scan: str, acting_as: Actor) -> None:
    """Abuse case 11."""
    response = acting_as("alice").get(array_url(scan, "image"), {"slice": slice})
    assert response.status_code == 400
    assert response.json()["detail"].startswith("slice: ")


def test_head_tells_shape_and_type_without_reading(
    scan: str, acting_as: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("events.files.reader.ArrayReader.read", None)
    head = acting_as("alice").head(array_url(scan, "image"), {"slice": "1:3,:,2", "format": "npy"})
    assert (head["X-Array-Shape"], head["X-Array-Dtype"]) == ("2,1,6", "<u2")
    assert (head["Content-Type"], head.content) == ("application/x-npy", b"")
    assert int(head["Content-Length"]) == 2 * 6 * 2 + 128


@pytest.mark.parametrize("remembered", [0, 200])
def test_a_frame_reads_the_events_it_needs_and_no_others(
    remembered: int,
    scan: str,
    acting_as: Actor,
    commands: Commands,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rows, "SHORT", remembered)
    client = acting_as("alice")
    get(client, array_url(scan, "image"), slice="0")  # the number of events is remembered
    commands.sent.clear()
    assert np.array_equal(get_array(client, array_url(scan, "image"), slice="3,0"), FRAMES[3])
    *times, found = [e.command for e in commands.sent if e.command.get("find") == "event"]
    assert found["filter"]["time"] == {"$gte": EPOCH + 4, "$lte": EPOCH + 4}
    assert len(times) == (0 if remembered else 1)
    for command in times:
        assert (command["skip"], command["limit"], command["sort"]) == (2, 3, {"time": 1})
        assert command["projection"] == {"_id": 0, "time": 1}
    lookups = [e.command for e in commands.sent if e.command.get("find") in ("datum", "resource")]
    assert len(lookups) == 2
    assert len(lookups[0]["filter"]["datum_id"]["$in"]) == 1


def test_numbers_of_events_are_arrays_too(acting_as: Actor, recorder: Recorder) -> None:
    run = recorder.run(events=4)
    client = acting_as("alice")
    assert get_array(client, array_url(run, "det")).tolist() == [1, 4, 9, 16]
    assert get_array(client, array_url(run, "det"), slice="-2").tolist() == 9
    assert get_array(client, array_url(run, "motor"), slice="::-2").tolist() == [-4, -2]
    assert json.loads(get(client, array_url(run, "det"), format="json")) == [1, 4, 9, 16]


KINDS: list[tuple[Doc, list[Any], str]] = [
    ({"dtype": "number"}, [1, 2], "<f8"),
    ({"dtype": "number"}, [1, None], "<f8"),
    ({"dtype": "integer"}, [1, 2], "<i8"),
    ({"dtype": "integer"}, [1, 2.5], "<f8"),
    ({"dtype": "boolean"}, [True, False], "|b1"),
    ({"dtype": "integer", "dtype_numpy": "<u2"}, [1, 65535], "<u2"),
    ({"dtype": "integer", "dtype_numpy": "<u2"}, [1, 65536], "<i8"),
    ({"dtype": "array", "shape": [2]}, [[1, 2], [3, 4]], "<f8"),
    ({"dtype": "array", "shape": [2], "dtype_numpy": "|u1"}, [[1, 2], [3, 4]], "|u1"),
    ({"dtype": "array", "shape": [2]}, [[1.5, None], [3, 4]], "<f8"),
    ({"dtype": "array", "shape": [2]}, [[1.5, 2], None], "<f8"),
    ({"dtype": "array", "shape": [2, 1]}, [[[1], [2]], [[3], [4]]], "<f8"),
    ({"dtype": "array", "shape": [0]}, [[], []], "<f8"),
]


@pytest.mark.parametrize(("key", "values", "dtype"), KINDS)
def test_the_data_key_decides_on_the_type_if_the_values_fit(
    key: Doc, values: list[Any], dtype: str, acting_as: Actor, recorder: Recorder
) -> None:
    run, _ = recorded(recorder, {"x": {"shape": []} | key}, [{"x": value} for value in values])
    client, url = acting_as("alice"), array_url(run, "x")
    array = get_array(client, url)
    assert array.dtype == np.dtype(dtype)
    shape = key.get("shape", [])
    nan = np.full(shape, np.nan)
    wanted = np.array([nan if v is None else v for v in values], float)
    assert np.array_equal(array.astype(float), wanted, equal_nan=True)
    head = client.head(url)
    assert head["X-Array-Shape"] == ",".join(map(str, [2, *shape]))


@pytest.mark.parametrize(
    ("key", "values", "status"),
    [
        ({"dtype": "integer"}, [1, None], 409),
        ({"dtype": "boolean"}, [None, True], 409),
        ({"dtype": "string"}, ["a", "b"], 406),
        ({"dtype": "number"}, [1, "b"], 406),
        ({"dtype": "array", "shape": [2]}, [[1, 2], [1, 2, 3]], 406),
        ({"dtype": "array", "shape": [2]}, [["a", "b"], ["c", "d"]], 406),
    ],
)
def test_what_no_array_holds_is_left_to_the_table(
    key: Doc, values: list[Any], status: int, acting_as: Actor, recorder: Recorder
) -> None:
    """Abuse case 12."""
    run, _ = recorded(recorder, {"x": {"shape": []} | key}, [{"x": value} for value in values])
    response = acting_as("alice").get(array_url(run, "x"))
    assert response.status_code == status
    assert "table route" in response.json()["detail"]


def test_a_missing_key_is_nan_in_its_row(acting_as: Actor, recorder: Recorder) -> None:
    run, _ = recorded(recorder, {"x": NUMBER}, [{"x": 1.0}, {}, {"x": 3.0}])
    array = get_array(acting_as("alice"), array_url(run, "x"))
    assert np.array_equal(array, [1, np.nan, 3], equal_nan=True)


@pytest.mark.parametrize("stop", [True, False])
def test_a_repeated_seq_num_keeps_the_last_by_time(
    stop: bool, acting_as: Actor, recorder: Recorder
) -> None:
    run, descriptor = recorded(
        recorder, {"x": NUMBER}, [{"x": 1.0}, {"x": 2.0}, {"x": 3.0}], stop=stop
    )
    events = database(recorder.catalogs["csx"].metadata).event
    again = {"uid": "again", "descriptor": descriptor, "seq_num": 2, "time": EPOCH + 2.5}
    events.insert_one(again | {"data": {"x": 22.0}, "timestamps": {"x": 0.0}})
    client, url = acting_as("alice"), array_url(run, "x")
    assert get_array(client, url).tolist() == [1, 22, 3]
    assert get_array(client, url, slice="1").tolist() == 22
    assert client.head(url)["X-Array-Shape"] == "3"


def test_a_lost_and_a_repeated_event_are_told_by_their_numbers(
    acting_as: Actor, recorder: Recorder
) -> None:
    """Then the stop document counts as many events as there are."""
    run, descriptor = recorded(recorder, {"x": NUMBER}, [{"x": 1.0}, {"x": 2.0}, {"x": 3.0}])
    events = database(recorder.catalogs["csx"].metadata).event
    events.update_one({"descriptor": descriptor, "seq_num": 3}, {"$set": {"seq_num": 2}})
    client, url = acting_as("alice"), array_url(run, "x")
    assert get_array(client, url).tolist() == [1, 3]


def test_events_of_equal_time_are_told_apart(acting_as: Actor, recorder: Recorder) -> None:
    run, descriptor = recorded(recorder, {"x": NUMBER}, [{"x": float(n)} for n in range(4)])
    events = database(recorder.catalogs["csx"].metadata).event
    events.update_many({"descriptor": descriptor}, {"$set": {"time": EPOCH}})
    client, url = acting_as("alice"), array_url(run, "x")
    assert [get_array(client, url, slice=str(n)).tolist() for n in range(4)] == [0, 1, 2, 3]


def test_what_is_remembered_of_a_run_is_checked_against_its_events(
    acting_as: Actor, recorder: Recorder
) -> None:
    """A complete run does not change; where one was repaired all the same, it is read anew."""
    run, descriptor = recorded(recorder, {"x": NUMBER}, [{"x": float(n)} for n in range(4)])
    events = database(recorder.catalogs["csx"].metadata).event
    client, url = acting_as("alice"), array_url(run, "x")
    assert get_array(client, url, slice="1").tolist() == 1
    events.update_one({"descriptor": descriptor, "seq_num": 2}, {"$set": {"time": EPOCH + 9}})
    assert get_array(client, url, slice="1").tolist() == 2
    assert get_array(client, url).tolist() == [0, 2, 3, 1]


@pytest.mark.parametrize("remembered", [20, 50])
def test_long_columns_are_read_in_parts_in_both_directions(
    remembered: int, acting_as: Actor, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("events.columns.columns.CHUNK_BYTES", 1000)
    monkeypatch.setattr("events.repositories.BATCH_EVENTS", 7)
    monkeypatch.setattr(rows, "PAGE_EVENTS", 10)
    run = recorder.run(events=50)
    client, url = acting_as("alice"), array_url(run, "det")
    squares = np.arange(1, 51) ** 2
    monkeypatch.setattr(rows, "SHORT", remembered)
    for text in ("", "::-1", "3:45:4", "40:2:-3", "-1", "10:12"):
        expected = squares[eval(f"np.s_[{text or ':'}]")]
        assert np.array_equal(get_array(client, url, slice=text), expected), text


def test_a_stream_without_events_is_an_array_without_rows(
    acting_as: Actor, recorder: Recorder
) -> None:
    keys = {"image": IMAGE | {"dtype_numpy": "<u4"}, "x": NUMBER}
    for stop in (True, False):
        run, _ = recorded(recorder, keys, [], stop=stop)
        client = acting_as("alice")
        assert get_array(client, array_url(run, "x")).shape == (0,)
        frames = get_array(client, array_url(run, "image"), slice=":,0")
        assert (frames.shape, frames.dtype) == ((0, HEIGHT, WIDTH), np.dtype("<u4"))


# -- Budgets, and files that cannot be served ---------------------------------------------------


def test_too_large_an_answer_is_refused_before_it_is_read(
    scan: str, acting_as: Actor, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Abuse case 11."""
    settings.RESPONSE_BYTES = 2 * HEIGHT * WIDTH * 2
    client, url = acting_as("alice"), array_url(scan, "image")
    with monkeypatch.context() as patch:
        patch.setattr("events.files.reader.ArrayReader.read", None)
        response = client.get(url)
    problem = response.json()
    assert response.status_code == 413
    assert problem["shape"] == [EVENTS, 1, HEIGHT, WIDTH]
    assert problem["nbytes"] == FRAMES.nbytes
    assert get_array(client, url, slice=problem["slice"]).shape == (2, 1, HEIGHT, WIDTH)


def test_huge_arrays_in_events_are_refused_before_they_are_read(
    acting_as: Actor, recorder: Recorder, settings: Settings, commands: Commands
) -> None:
    """Abuse case 11."""
    settings.RESPONSE_BYTES = 1000
    key = {"dtype": "array", "shape": [400], "source": "x"}
    run, _ = recorded(recorder, {"x": key}, [{"x": [0.0] * 400}])
    commands.sent.clear()
    response = acting_as("alice").get(array_url(run, "x"))
    assert response.status_code == 413
    assert "find" not in commands.names
    assert response.json()["slice"] == "0:1,0:125"


def failing(client: APIClient, recorder: Recorder, resource: str, **key: Any) -> Any:
    rows = [{"image": f"{resource}/{n}"} for n in range(2)]
    run, descriptor = recorded(recorder, {"image": IMAGE | key}, rows)
    urls = (array_url(run, "image"), f"/api/v1/events/{descriptor}-1/data/image/")
    responses = [client.get(url) for url in urls]
    assert responses[0].status_code == responses[1].status_code
    assert "/var/" not in responses[0].content.decode()
    return responses[0]


def test_a_missing_file_is_gone(acting_as: Actor, recorder: Recorder, data_folder: Path) -> None:
    resource = in_file(recorder, "nowhere.h5")
    response = failing(acting_as("alice"), recorder, resource)
    assert response.status_code == 410
    problem = response.json()
    assert (problem["resource"], problem["spec"]) == (resource, "AD_HDF5")


@pytest.mark.parametrize("spec", ["UNKNOWN", "XSP3"])
def test_a_spec_without_an_enabled_handler_is_not_implemented(
    spec: str, acting_as: Actor, recorder: Recorder
) -> None:
    response = failing(acting_as("alice"), recorder, in_file(recorder, "a.h5", spec))
    assert response.status_code == 501
    assert spec in response.json()["detail"]


def test_data_recorded_outside_of_the_database_are_not_implemented(
    acting_as: Actor, recorder: Recorder
) -> None:
    response = failing(acting_as("alice"), recorder, "none", external="STREAM:")
    assert response.status_code == 501
    assert "STREAM:" in response.json()["detail"]


def test_a_truncated_file_is_gone(acting_as: Actor, recorder: Recorder, data_folder: Path) -> None:
    write_frames(data_folder / "cut.h5")
    content = (data_folder / "cut.h5").read_bytes()
    (data_folder / "cut.h5").write_bytes(content[: len(content) // 2])
    assert failing(acting_as("alice"), recorder, in_file(recorder, "cut.h5")).status_code == 410


@pytest.mark.parametrize("path", ["../secret.h5", "/etc/passwd", "link.h5", "a\0.h5", "http://x/y"])
def test_files_out_of_the_roots_are_not_opened(
    path: str, acting_as: Actor, recorder: Recorder, data_folder: Path
) -> None:
    """Abuse case 10."""
    write_frames(data_folder.parent / "secret.h5")
    (data_folder / "link.h5").symlink_to(data_folder.parent / "secret.h5")
    response = failing(acting_as("alice"), recorder, in_file(recorder, path))
    assert response.status_code == 410
    assert "secret" not in response.json()["detail"].replace(path, "")


def test_an_external_link_out_of_the_roots_is_not_followed(
    acting_as: Actor, recorder: Recorder, data_folder: Path
) -> None:
    """Abuse case 10."""
    write_frames(data_folder.parent / "secret.h5")
    with h5py.File(data_folder / "linking.h5", "w") as file:
        target = str(data_folder.parent / "secret.h5")
        file["entry/data/data"] = h5py.ExternalLink(target, "/entry/data/data")
    resource = in_file(recorder, "linking.h5")
    assert failing(acting_as("alice"), recorder, resource).status_code == 410


def test_a_datum_of_another_run_is_not_served(
    scan: str, acting_as: Actor, recorder: Recorder, data_folder: Path
) -> None:
    """Abuse case 10."""
    write_frames(data_folder / "theirs.h5")
    resource = in_file(recorder, "theirs.h5", run_start=recorder.run("310001"))
    response = failing(acting_as("alice"), recorder, resource)
    assert response.status_code == 410


def test_a_decompression_bomb_is_refused(
    acting_as: Actor, recorder: Recorder, data_folder: Path
) -> None:
    """Abuse case 11."""
    with h5py.File(data_folder / "bomb.h5", "w") as file:
        size = (2, 20_000, 20_000)
        file.create_dataset("entry/data/data", size, "u4", chunks=(1, 2000, 2000), compression=9)
    response = failing(acting_as("alice"), recorder, in_file(recorder, "bomb.h5"))
    assert response.status_code == 413
    assert response.json()["shape"][-2:] == [20_000, 20_000]


def test_another_shape_than_declared_is_served_as_it_is_with_a_warning(
    acting_as: Actor, recorder: Recorder, data_folder: Path
) -> None:
    write_frames(data_folder / "other.h5", np.ones((EVENTS, 3, 2), "<f4"))
    resource = in_file(recorder, "other.h5")
    run, _ = recorded(recorder, {"image": IMAGE}, [{"image": f"{resource}/0"}])
    response = acting_as("alice").get(array_url(run, "image"))
    assert response["X-Array-Shape"] == "1,1,3,2"
    assert "[1, 3, 2]" in response["Warning"]


def test_the_declared_shape_brings_no_warning(scan: str, acting_as: Actor) -> None:
    assert "Warning" not in acting_as("alice").get(array_url(scan, "image"))


@pytest.mark.parametrize("format", ["png", "tiff"])
def test_what_is_no_picture_is_told_how_to_become_one(
    format: str, scan: str, acting_as: Actor
) -> None:
    response = acting_as("alice").get(array_url(scan, "image"), {"format": format})
    assert response.status_code == 406
    assert "slice" in response.json()["detail"]


@pytest.mark.parametrize(
    "query",
    [
        {"format": "png", "min": "3", "max": "2"},
        {"format": "png", "min": "nan"},
        {"format": "png", "cmap": "rainbow"},
        {"format": "npy", "cmap": "gray"},
        {"format": "exr"},
        {"slize": "0"},
    ],
)
def test_wrong_options_are_refused(query: dict[str, str], scan: str, acting_as: Actor) -> None:
    """Abuse case 14."""
    options = {"slice": "0,0"} | query
    assert acting_as("alice").get(array_url(scan, "image"), options).status_code == 400


# -- One event, redirects, who may --------------------------------------------------------------


def event_of(recorder: Recorder, run: str, seq_num: int) -> str:
    metadata = database(recorder.catalogs["csx"].metadata)
    descriptor = metadata.event_descriptor.find_one({"run_start": run})
    assert descriptor
    found = metadata.event.find_one({"descriptor": descriptor["uid"], "seq_num": seq_num})
    assert found
    return str(found["uid"])


def test_one_event_is_served_by_itself(scan: str, acting_as: Actor, recorder: Recorder) -> None:
    client, uid = acting_as("alice"), event_of(recorder, scan, 4)
    url = f"/api/v1/events/{uid}/data"
    assert np.array_equal(get_array(client, f"{url}/image/"), FRAMES[3:4])
    assert np.array_equal(get_array(client, f"{url}/image/", slice="0,::2"), FRAMES[3, ::2])
    assert get_array(client, f"{url}/det/").tolist() == 1.5
    listed = client.get(f"/api/v1/headers/{scan}/").json()["descriptors"][0]["uid"]
    links = client.get("/api/v1/events/", {"descriptor": listed}).json()["results"][3]["_links"]
    assert np.array_equal(get_array(client, links["image"]), FRAMES[3:4])


def test_a_value_that_an_event_lacks_is_told(acting_as: Actor, recorder: Recorder) -> None:
    run, _ = recorded(recorder, {"x": NUMBER, "y": NUMBER}, [{"x": 1.0, "y": "text"}, {}])
    client = acting_as("alice")
    statuses = [
        client.get(f"/api/v1/events/{event_of(recorder, run, n)}/data/{field}/").status_code
        for n, field in ((1, "x"), (2, "x"), (1, "y"), (1, "z"))
    ]
    assert statuses == [200, 409, 406, 404]


@pytest.mark.parametrize(
    "value",
    [["a", "b"], [[1, 2], [3]], [[1, 2], None], [{"a": 1}], {"a": 1}],
    ids=["texts", "ragged", "a list is missing", "documents", "document"],
)
def test_abuse_case_12_what_is_no_array_of_numbers_is_refused(
    value: Any, acting_as: Actor, recorder: Recorder
) -> None:
    key = {"dtype": "array", "shape": [2], "source": "x"}
    run, _ = recorded(recorder, {"x": key}, [{"x": value}])
    client = acting_as("alice")
    for url in (array_url(run, "x"), f"/api/v1/events/{event_of(recorder, run, 1)}/data/x/"):
        assert client.get(url).status_code == 406


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (NUMBER, 3),
        ({"dtype": "integer", "source": "x"}, 1.5),
        ({"dtype": "boolean", "source": "x"}, True),
        ({"dtype": "array", "shape": [2], "source": "x"}, [1.5, None]),
        (
            {"dtype": "array", "shape": [2, 2], "dtype_numpy": "<u2", "source": "x"},
            [[1, 2], [3, 4]],
        ),
        ({"dtype": "array", "shape": [9], "external": "FILE:", "source": "x"}, [1, 2]),
    ],
)
def test_an_event_is_what_its_row_of_the_stream_is(
    key: Doc, value: Any, acting_as: Actor, recorder: Recorder
) -> None:
    run, _ = recorded(recorder, {"x": key}, [{"x": value}])
    client, event = acting_as("alice"), event_of(recorder, run, 1)
    of_event = client.get(f"/api/v1/events/{event}/data/x/", {"format": "npy"})
    of_stream = client.get(array_url(run, "x"), {"format": "npy", "slice": "0"})
    assert of_event.status_code == of_stream.status_code == 200
    assert b"".join(of_event) == b"".join(of_stream)
    for header in ("Warning", "X-Array-Shape", "X-Array-Dtype", "Content-Length"):
        assert of_event.get(header) == of_stream.get(header)


def test_fields_may_have_any_name(acting_as: Actor, recorder: Recorder) -> None:
    run, _ = recorded(recorder, {"a/b": NUMBER, "ü %": NUMBER}, [{"a/b": 1.0, "ü %": 2.0}])
    client = acting_as("alice")
    assert get_array(client, array_url(run, "a/b")).tolist() == [1.0]
    assert get_array(client, array_url(run, "a%2Fb")).tolist() == [1.0]
    assert get_array(client, array_url(run, "%C3%BC%20%25")).tolist() == [2.0]


@pytest.mark.parametrize("format", ["csv", "parquet", "ndjson"])
def test_formats_that_are_tables_are_redirected_to_the_table(
    format: str, scan: str, acting_as: Actor
) -> None:
    client = acting_as("alice")
    response = client.get(array_url(scan, "det"), {"format": format})
    assert response.status_code == 307
    assert response["Location"] == (
        f"/api/v1/headers/{scan}/streams/primary/table/?fields=det&format={format}"
    )
    get(client, response["Location"])
    sliced = client.get(array_url(scan, "det"), {"format": format, "slice": "0:2"})
    assert sliced.status_code == 400
    assert client.get(array_url(scan, "image"), {"format": format}).status_code == 406


def test_a_table_of_nothing_but_frames_is_redirected_to_the_array(
    scan: str, acting_as: Actor
) -> None:
    client = acting_as("alice")
    table = f"/api/v1/headers/{scan}/streams/primary/table/"
    response = client.get(table, {"fields": "image"})
    assert response.status_code == 307
    assert np.array_equal(json.loads(get(client, response["Location"])), EXPECTED)


def test_a_redirect_of_a_hidden_run_does_not_exist(scan: str, acting_as: Actor) -> None:
    """Abuse case 6."""
    client = acting_as("bob")
    assert client.get(array_url(scan, "det"), {"format": "csv"}).status_code == 404


def test_unknown_streams_and_fields_are_told_with_those_there_are(
    scan: str, acting_as: Actor
) -> None:
    client = acting_as("alice")
    stream = client.get(array_url(scan, "image", "nope"))
    field = client.get(array_url(scan, "nope"))
    assert (stream.status_code, field.status_code) == (404, 404)
    assert "primary" in stream.json()["detail"]
    assert "det, image" in field.json()["detail"]


@pytest.mark.parametrize("actor", ["bob", "nobody"])
def test_arrays_of_a_hidden_run_do_not_exist(
    actor: str, scan: str, acting_as: Actor, recorder: Recorder
) -> None:
    """Abuse cases 6 and 8."""
    client, event = acting_as(actor), event_of(recorder, scan, 1)
    for hidden, absent in (
        (array_url(scan, "image"), array_url("no-such-run", "image")),
        (f"/api/v1/events/{event}/data/image/", "/api/v1/events/no-such-event/data/image/"),
    ):
        for method in (client.get, client.head):
            answers = [method(url) for url in (hidden, absent)]
            assert [answer.status_code for answer in answers] == [404, 404]
            assert answers[0].content == answers[1].content


def test_complete_runs_have_an_etag_and_answer_304_before_opening_a_file(
    scan: str, acting_as: Actor, data_folder: Path, commands: Commands
) -> None:
    client, url = acting_as("alice"), array_url(scan, "image")
    etag = client.get(url, {"slice": "0"})["ETag"]
    assert client.get(url, {"slice": "1"})["ETag"] != etag
    (data_folder / "scan.h5").unlink()
    commands.sent.clear()
    assert client.get(url, {"slice": "0"}, HTTP_IF_NONE_MATCH=etag).status_code == 304
    assert "find" not in commands.names
    assert client.get(url, {"slice": "0"}).status_code == 410
