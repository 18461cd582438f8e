"""Detector streams as ophyd-async and areaDetector write them: files of many kinds, and streams
that have no event documents at all.
"""

import io
import json
import uuid
from pathlib import Path
from typing import Any

import h5py
import msgpack
import numpy as np
import pytest
import tifffile
from PIL import Image

from headers.catalogs import Catalog
from headers.mongo import database
from tests.conftest import Actor
from tests.writing.conftest import Doc, Documents, Writer
from tests.writing.runs import TIME, a_stop, an_event

HDF5 = "application/x-hdf5"
TIFF = "multipart/related;type=image/tiff"
ROOT = "file://localhost/facility/data/"
FRAMES = np.arange(6 * 4 * 5, dtype=np.uint16).reshape(6, 4, 5)


class Flight:
    """The documents of a run with one stream, in the order in which they are added."""

    def __init__(self, events: int = 0, **fields: Doc) -> None:
        self.uid, self.descriptor = str(uuid.uuid4()), str(uuid.uuid4())
        keys: Doc = {
            name: {"dtype": "array", "source": "SIM:c", "external": "STREAM:"} | key
            for name, key in fields.items()
        }
        if events:
            keys["det"] = {"dtype": "number", "shape": [], "source": "SIM:x"}
        start: Doc = {"uid": self.uid, "time": TIME, "data_session": "pass-310000"}
        described: Doc = {"uid": self.descriptor, "run_start": self.uid, "time": TIME}
        described |= {"name": "primary", "data_keys": keys, "configuration": {}, "hints": {}}
        described["object_keys"] = {"det": list(keys)}
        self.documents: Documents = [("start", start), ("descriptor", described)]
        self.events = [an_event(self.descriptor, n + 1) for n in range(events)]
        for event in self.events:
            del event["data"]["motor"], event["timestamps"]["motor"]
        self.rows = events

    def resource(self, field: str, uri: str, mimetype: str = HDF5, **parameters: Any) -> str:
        uid = str(uuid.uuid4())
        document: Doc = {"uid": uid, "run_start": self.uid, "data_key": field, "uri": uri}
        document |= {"mimetype": mimetype, "parameters": parameters}
        self.documents.append(("stream_resource", document))
        return uid

    def rows_of(self, resource: str, seq_nums: tuple[int, int], first: int) -> None:
        start, stop = seq_nums
        datum: Doc = {"uid": f"{resource}/{start}", "stream_resource": resource}
        datum |= {"descriptor": self.descriptor, "seq_nums": {"start": start, "stop": stop}}
        datum["indices"] = {"start": first, "stop": first + stop - start}
        self.documents.append(("stream_datum", datum))
        self.rows = max(self.rows, stop - 1)

    def hdf5(self, field: str, name: str, count: int = 6, **parameters: Any) -> "Flight":
        """A field in one file, told of by one stream_datum."""
        given = {"dataset": "/entry/data/data", "chunk_shape": [1, 4, 5]} | parameters
        resource = self.resource(field, f"{ROOT}{name}", **given)
        self.rows_of(resource, (1, count + 1), 0)
        return self

    def send(self, writer: Writer, *, stop: bool = True) -> "Flight":
        documents = self.documents + [("event", event) for event in self.events]
        if stop:
            documents.append(("stop", a_stop(self.uid, self.rows)))
        answer = writer(*documents)
        assert answer.status_code == 200, answer.content
        return self

    @property
    def arrays(self) -> str:
        return f"/api/v1/headers/{self.uid}/streams/primary/data/"


def written(folder: Path, name: str, data: Any = FRAMES, dataset: str = "/entry/data/data") -> None:
    with h5py.File(folder / name, "w") as file:
        file.create_dataset(dataset, data=data, chunks=(1, *data.shape[1:]))


def array(client: Any, address: str) -> Any:
    answer = client.get(f"{address}{'&' if '?' in address else '?'}format=npy")
    assert answer.status_code == 200, answer.content
    return np.load(io.BytesIO(answer.getvalue()))


FRAME: Doc = {"shape": [1, 4, 5], "dtype_numpy": "<u2"}


# -- Streams without event documents ---------------------------------------------------------


@pytest.fixture
def flight(writer: Writer, data_folder: Path) -> Flight:
    """Six frames and six numbers, and no events."""
    written(data_folder, "fly.h5")
    written(data_folder, "sums.h5", FRAMES.sum(axis=(1, 2)).astype(float), "/sum")
    number: Doc = {"dtype": "number", "shape": []}
    flight = Flight(cam=FRAME, sum=number).hdf5("cam", "fly.h5")
    return flight.hdf5("sum", "sums.h5", dataset="/sum", chunk_shape=[1024]).send(writer)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", FRAMES[:, None]),
        ("?slice=4", FRAMES[4][None]),
        ("?slice=::-2,0,1:3", FRAMES[::-2, 1:3]),
    ],
)
def test_frames_of_a_stream_without_events_are_served(
    flight: Flight, acting_as: Actor, query: str, expected: Any
) -> None:
    assert np.array_equal(array(acting_as("alice"), f"{flight.arrays}cam/{query}"), expected)


def test_so_are_its_numbers(flight: Flight, acting_as: Actor) -> None:
    found = array(acting_as("alice"), f"{flight.arrays}sum/")
    assert np.array_equal(found, FRAMES.sum(axis=(1, 2)))


def test_its_rows_are_counted(writer: Writer, flight: Flight, acting_as: Actor) -> None:
    alice = acting_as("alice")
    stream = alice.get(f"/api/v1/headers/{flight.uid}/streams/").json()[0]
    assert stream["event_count"] == 6
    assert all(field["available"] for field in stream["fields"].values())
    still_open = Flight(cam=FRAME).hdf5("cam", "fly.h5", 4).send(writer, stop=False)
    stream = alice.get(f"/api/v1/headers/{still_open.uid}/streams/").json()[0]
    assert stream["event_count"] == 4
    assert array(alice, f"{still_open.arrays}cam/").shape == (4, 1, 4, 5)


def test_it_is_hidden_with_its_run(flight: Flight, acting_as: Actor) -> None:
    assert acting_as("bob").get(f"{flight.arrays}cam/").status_code == 404


def test_tiled_reads_it_beside_no_times(flight: Flight, acting_as: Actor) -> None:
    """xarray makes no dataset of axes that have one name and two lengths."""
    alice = acting_as("alice")
    node = f"/api/v1/metadata/csx/raw/{flight.uid}/primary/data"
    lengths: dict[str, set[int]] = {}
    for field in ("cam", "sum", "time"):
        answer = alice.get(f"{node}/{field}")
        assert answer.status_code == 200, answer.content
        structure = answer.json()["data"]["attributes"]["structure"]
        for dim, length in zip(structure["dims"], structure["shape"], strict=True):
            lengths.setdefault(dim, set()).add(length)
    assert all(len(found) == 1 for found in lengths.values()), lengths
    block = alice.get(f"/api/v1/array/full/csx/raw/{flight.uid}/primary/data/sum?format=json")
    assert json.loads(block.getvalue()) == FRAMES.sum(axis=(1, 2)).tolist()


def test_its_documents_are_served_and_filled_without_a_warning(
    flight: Flight, acting_as: Actor
) -> None:
    alice = acting_as("alice")
    for fill in ("false", "true"):
        answer = alice.get(f"/api/v1/headers/{flight.uid}/documents/?fill={fill}")
        assert answer.status_code == 200, answer.content
        assert "Warning" not in answer
        names = [json.loads(line)[0] for line in answer.getvalue().splitlines()]
        assert names[:2] == ["start", "descriptor"]
        assert names[2:] == ["stream_resource", "stream_datum"] * 2 + ["stop"]


def test_it_is_exported(flight: Flight, acting_as: Actor) -> None:
    answer = acting_as("alice").get(f"/api/v1/headers/{flight.uid}/export/?format=h5")
    assert answer.status_code == 200, answer.content
    assert "Warning" not in answer
    with h5py.File(io.BytesIO(answer.getvalue())) as file:
        group = file["entry/primary"]
        assert np.array_equal(group["cam"][()], FRAMES[:, None])
        assert np.array_equal(group["sum"][()], FRAMES.sum(axis=(1, 2)))
        assert list(group["seq_num"]) == [1, 2, 3, 4, 5, 6]
        assert group.attrs["signal"] in group
        assert all(name == "." or name in group for name in group.attrs["axes"])


def test_a_claim_of_endless_rows_is_refused_before_anything_is_made(
    writer: Writer, data_folder: Path, acting_as: Actor
) -> None:
    written(data_folder, "fly.h5")
    flight = Flight(cam=FRAME).hdf5("cam", "fly.h5", 10**12).send(writer)
    alice = acting_as("alice")
    assert alice.get(f"{flight.arrays}cam/?format=npy").status_code == 413
    assert alice.get(f"/api/v1/headers/{flight.uid}/export/?format=h5").status_code == 413
    assert np.array_equal(array(alice, f"{flight.arrays}cam/?slice=3"), FRAMES[3][None])
    assert alice.get(f"{flight.arrays}cam/?format=npy&slice=6").status_code == 410


# -- With events: filled, linked, in order -----------------------------------------------------


@pytest.fixture
def scan(writer: Writer, data_folder: Path) -> Flight:
    """Three events of a number and a camera, each with a stream_datum of its own."""
    written(data_folder, "scan.h5")
    scan = Flight(3, cam=FRAME)
    resource = scan.resource("cam", f"{ROOT}scan.h5", dataset="/entry/data/data")
    for n in range(3):
        scan.rows_of(resource, (n + 1, n + 2), n)
    return scan.send(writer)


def test_documents_come_in_the_order_of_a_run_engine(scan: Flight, acting_as: Actor) -> None:
    answer = acting_as("alice").get(f"/api/v1/headers/{scan.uid}/documents/")
    names = [json.loads(line)[0] for line in answer.getvalue().splitlines()]
    assert names[:3] == ["start", "descriptor", "stream_resource"]
    assert names[3:] == ["stream_datum", "event"] * 3 + ["stop"]


def test_filled_documents_hold_the_frames(scan: Flight, acting_as: Actor) -> None:
    url = f"/api/v1/headers/{scan.uid}/documents/?fill=true&format=msgpack"
    answer = acting_as("alice").get(url)
    assert "Warning" not in answer
    documents = list(msgpack.Unpacker(io.BytesIO(answer.getvalue())))
    events = [document for name, document in documents if name == "event"]
    for n, event in enumerate(events):
        value = event["data"]["cam"]
        found = np.frombuffer(value["data"], value["dtype"]).reshape(value["shape"])
        assert np.array_equal(found, FRAMES[n][None])
        assert event["filled"]["cam"] is True


def test_events_link_to_their_frames(scan: Flight, acting_as: Actor) -> None:
    alice = acting_as("alice")
    events = alice.get(f"/api/v1/events/?descriptor={scan.descriptor}").json()["results"]
    for n, event in enumerate(events):
        assert np.array_equal(array(alice, event["_links"]["cam"]), FRAMES[n][None])
    narrowed = alice.get(f"/api/v1/events/?descriptor={scan.descriptor}&fields=det").json()
    assert [event["_links"] for event in narrowed["results"]] == [{}, {}, {}]
    filled = alice.get(f"/api/v1/events/?descriptor={scan.descriptor}&fill=true")
    assert "Warning" not in filled
    results = filled.json()["results"]
    assert np.array_equal([event["data"]["cam"] for event in results], FRAMES[:3, None])


def test_they_are_exported_beside_the_numbers(scan: Flight, acting_as: Actor) -> None:
    answer = acting_as("alice").get(f"/api/v1/headers/{scan.uid}/export/?format=h5")
    assert "Warning" not in answer
    with h5py.File(io.BytesIO(answer.getvalue())) as file:
        assert np.array_equal(file["entry/primary/cam"][()], FRAMES[:3, None])
        assert file["entry/primary/det"].shape == (3,)


def test_an_event_that_no_stream_datum_is_about_is_told_of(
    writer: Writer, data_folder: Path, acting_as: Actor
) -> None:
    written(data_folder, "scan.h5")
    scan = Flight(3, cam=FRAME).hdf5("cam", "scan.h5", 2).send(writer)
    alice = acting_as("alice")
    assert alice.get(f"{scan.arrays}cam/?format=npy").status_code == 410
    assert array(alice, f"{scan.arrays}cam/?slice=:2").shape == (2, 1, 4, 5)
    events = alice.get(f"/api/v1/events/?descriptor={scan.descriptor}").json()["results"]
    assert ["cam" in event["_links"] for event in events] == [True, True, False]
    filled = alice.get(f"/api/v1/events/?descriptor={scan.descriptor}&fill=true")
    assert "seq_num 3" in filled["Warning"]


# -- Which row is of which event ---------------------------------------------------------------


def test_several_stream_datums_with_gaps_and_late_beginnings(
    writer: Writer, data_folder: Path, acting_as: Actor
) -> None:
    written(data_folder, "fly.h5")
    flight = Flight(cam=FRAME)
    resource = flight.resource("cam", f"{ROOT}fly.h5", dataset="/entry/data/data")
    flight.rows_of(resource, (1, 3), 1)
    flight.rows_of(resource, (5, 7), 4)
    flight.send(writer)
    found = array(acting_as("alice"), f"{flight.arrays}cam/")
    assert np.array_equal(found, FRAMES[[1, 2, 4, 5], None])


@pytest.mark.parametrize("counted_on", [False, True])
def test_several_files_of_a_field_begin_anew_or_count_on(
    writer: Writer, data_folder: Path, acting_as: Actor, counted_on: bool
) -> None:
    flight = Flight(cam=FRAME)
    for n in range(3):
        written(data_folder, f"part{n}.h5", FRAMES[2 * n : 2 * n + 2])
        resource = flight.resource("cam", f"{ROOT}part{n}.h5", dataset="/entry/data/data")
        flight.rows_of(resource, (2 * n + 1, 2 * n + 3), 2 * n if counted_on else 0)
    flight.send(writer)
    assert np.array_equal(array(acting_as("alice"), f"{flight.arrays}cam/"), FRAMES[:, None])


def test_rows_of_another_descriptors_events_are_not_taken(
    writer: Writer, data_folder: Path, acting_as: Actor
) -> None:
    """A detector that is read in two streams has one file, and numbers of its own in each."""
    written(data_folder, "both.h5")
    flight = Flight(cam=FRAME)
    resource = flight.resource("cam", f"{ROOT}both.h5", dataset="/entry/data/data")
    flight.rows_of(resource, (1, 3), 2)
    primary, flight.descriptor = flight.descriptor, str(uuid.uuid4())
    described = {**flight.documents[1][1], "uid": flight.descriptor, "name": "baseline"}
    flight.documents.insert(2, ("descriptor", described))
    datum: Doc = {"uid": f"{resource}/b", "stream_resource": resource}
    datum |= {"descriptor": flight.descriptor, "seq_nums": {"start": 1, "stop": 3}}
    flight.documents.append(("stream_datum", datum | {"indices": {"start": 0, "stop": 2}}))
    flight.send(writer, stop=False)
    alice = acting_as("alice")
    assert primary != flight.descriptor
    assert np.array_equal(array(alice, f"{flight.arrays}cam/"), FRAMES[2:4, None])
    other = flight.arrays.replace("primary", "baseline")
    assert np.array_equal(array(alice, f"{other}cam/"), FRAMES[:2, None])


@pytest.mark.parametrize(
    ("declared", "parameters", "shape"),
    [
        ([2, 4, 5], {"chunk_shape": [1, 4, 5]}, (3, 2, 4, 5)),
        ([4, 5], {"multiplier": 2, "chunk_shape": [1, 4, 5]}, (3, 2, 4, 5)),
        ([1, 4, 5], {"multiplier": 2}, (3, 2, 4, 5)),
        ([2, 4, 5], {}, (3, 2, 4, 5)),
        ([4, 5], {"multiplier": 1}, (3, 4, 5)),
        ([4, 5], {"swmr": True}, (3, 4, 5)),
    ],
)
def test_frames_of_an_event(
    writer: Writer,
    data_folder: Path,
    acting_as: Actor,
    declared: list[int],
    parameters: Doc,
    shape: tuple[int, ...],
) -> None:
    written(data_folder, "fly.h5")
    flight = Flight(cam={"shape": declared}).hdf5("cam", "fly.h5", 3, **parameters).send(writer)
    found = array(acting_as("alice"), f"{flight.arrays}cam/")
    assert np.array_equal(found, FRAMES[: 3 * (shape[1] if len(shape) == 4 else 1)].reshape(shape))


def test_a_file_that_grows_is_read_as_it_grows(
    writer: Writer, data_folder: Path, acting_as: Actor
) -> None:
    alice = acting_as("alice")
    flight = Flight(cam=FRAME)
    resource = flight.resource("cam", f"{ROOT}grows.h5", dataset="/data", swmr=True)
    with h5py.File(data_folder / "grows.h5", "w", libver="latest", locking=False) as file:
        dataset = file.create_dataset("/data", (0, 4, 5), "u2", maxshape=(None, 4, 5))
        file.swmr_mode = True
        for n in range(4):
            dataset.resize(n + 1, axis=0)
            dataset[n] = FRAMES[n]
            dataset.flush()
            flight.rows_of(resource, (n + 1, n + 2), n)
            flight.send(writer, stop=False)
            found = array(alice, f"{flight.arrays}cam/")
            assert np.array_equal(found, FRAMES[: n + 1, None])
        flight.rows_of(resource, (5, 6), 4)
        flight.send(writer)
        answer = alice.get(f"{flight.arrays}cam/?slice=4&format=npy")
        assert answer.status_code == 410
        assert "beyond" in answer.json()["detail"]


# -- Kinds of files ----------------------------------------------------------------------------


def test_tiffs_one_a_frame(writer: Writer, data_folder: Path, acting_as: Actor) -> None:
    for n, frame in enumerate(FRAMES):
        tifffile.imwrite(data_folder / f"shot_{n:06d}.tif", frame)
    flight = Flight(cam=FRAME, pair={"shape": [2, 4, 5]})
    place = {"template": "%s_%06d.tif", "filename": "shot", "chunk_shape": [1, 4, 5]}
    for field, count in (("cam", 6), ("pair", 3)):
        resource = flight.resource(field, ROOT, TIFF, **place)
        flight.rows_of(resource, (1, count + 1), 0)
    flight.send(writer)
    alice = acting_as("alice")
    assert np.array_equal(array(alice, f"{flight.arrays}cam/"), FRAMES[:, None])
    assert np.array_equal(array(alice, f"{flight.arrays}cam/?slice=2,0,1:,2"), FRAMES[2, 1:, 2])
    assert np.array_equal(
        array(alice, f"{flight.arrays}pair/?slice=:3"), FRAMES.reshape(3, 2, 4, 5)
    )


def test_names_of_files_as_python_writes_them(
    writer: Writer, data_folder: Path, acting_as: Actor
) -> None:
    tifffile.imwrite(data_folder / "a_{0.__class__}_00.tif", FRAMES[0])
    flight = Flight(cam=FRAME)
    parameters = {"template": "_{filename}_{:02d}.tif", "filename": "{0.__class__}"}
    resource = flight.resource("cam", f"{ROOT}a", f"{TIFF.replace(';', '; ')}", **parameters)
    flight.rows_of(resource, (1, 2), 0)
    flight.send(writer)
    assert np.array_equal(array(acting_as("alice"), f"{flight.arrays}cam/"), FRAMES[:1, None])


def test_npys_hdf5s_and_texts(writer: Writer, data_folder: Path, acting_as: Actor) -> None:
    for n, frame in enumerate(FRAMES):
        np.save(data_folder / f"a_{n}.npy", frame)
        written(data_folder, f"b_{n}.h5", frame[None], "/data")
    np.savetxt(data_folder / "c.csv", FRAMES.reshape(6, 20), delimiter=",")
    flight = Flight(npy=FRAME, hdf5=FRAME, csv=FRAME)
    npy = flight.resource("npy", ROOT, "multipart/related;type=application/x-npy", filename="a")
    hdf5 = flight.resource("hdf5", f"{ROOT}b", template="_%d.h5", dataset="/data")
    csv = flight.resource("csv", f"{ROOT}c.csv", "text/csv;header=absent")
    for resource in (npy, hdf5, csv):
        flight.rows_of(resource, (1, 7), 0)
    flight.send(writer)
    alice = acting_as("alice")
    for field in ("npy", "hdf5"):
        assert np.array_equal(array(alice, f"{flight.arrays}{field}/"), FRAMES[:, None]), field
    answer = alice.get(f"{flight.arrays}csv/?format=npy")
    assert answer.status_code == 501
    assert "text/csv;header=absent" in answer.json()["detail"]


@pytest.fixture
def any_file(writable: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(writable.__dict__, "handlers", frozenset({"*"}))


@pytest.mark.usefixtures("any_file")
def test_texts_of_numbers_where_they_are_allowed(
    writer: Writer, data_folder: Path, acting_as: Actor
) -> None:
    np.savetxt(data_folder / "c.csv", FRAMES.reshape(6, 20), delimiter=",")
    flight = Flight(csv=FRAME)
    resource = flight.resource("csv", f"{ROOT}c.csv", "text/csv;header=absent")
    flight.rows_of(resource, (1, 7), 0)
    flight.send(writer)
    found = array(acting_as("alice"), f"{flight.arrays}csv/")
    assert found.dtype == np.uint16
    assert np.array_equal(found, FRAMES[:, None])


@pytest.mark.usefixtures("any_file")
def test_jpegs(writer: Writer, data_folder: Path, acting_as: Actor) -> None:
    for n in range(2):
        Image.new("RGB", (8, 6), (n * 100, 0, 0)).save(data_folder / f"j{n}.jpg")
    flight = Flight(cam={"shape": [6, 8, 3]})
    mimetype = "multipart/related;type=image/jpeg"
    resource = flight.resource("cam", ROOT, mimetype, template="j%d.jpg", chunk_shape=[1])
    flight.rows_of(resource, (1, 3), 0)
    flight.send(writer)
    found = array(acting_as("alice"), f"{flight.arrays}cam/")
    assert found.shape == (2, 6, 8, 3)
    assert found[0, 0, 0, 0] < 10 < 90 < found[1, 0, 0, 0]


@pytest.mark.parametrize(
    ("uri", "mimetype", "parameters", "status"),
    [
        (f"{ROOT}none.h5", HDF5, {"dataset": "/entry/data/data"}, 410),
        (f"{ROOT}fly.h5", HDF5, {"dataset": "/nothing"}, 410),
        (f"{ROOT}fly.h5", HDF5, {}, 410),
        (f"{ROOT}fly.h5", HDF5, {"dataset": "/entry/data/data", "slice": "0:1"}, 410),
        (f"{ROOT}fly.h5", "application/octet-stream", {}, 501),
        (f"{ROOT}fly.h5", "no media type", {}, 501),
        ("https://example.org/facility/data/fly.h5", HDF5, {"dataset": "/entry/data/data"}, 410),
        ("file://localhost/etc/passwd", HDF5, {"dataset": "/entry/data/data"}, 410),
        (f"{ROOT}../../../etc/passwd", HDF5, {"dataset": "/entry/data/data"}, 410),
        (f"{ROOT}%00fly.h5", HDF5, {"dataset": "/entry/data/data"}, 410),
        ("http://[", HDF5, {"dataset": "/entry/data/data"}, 410),
        (ROOT, TIFF, {"template": "../../%d.tif"}, 410),
        (ROOT, TIFF, {"template": "%0999999999d.tif"}, 410),
        (ROOT, TIFF, {"template": "%d.tif", "files_per_datum": 10**12}, 410),
        (ROOT, TIFF, {"template": "%d.tif", "multiplier": 10**12}, 410),
        (ROOT, TIFF, {"template": "%d.tif", "chunk_shape": [0, 4, 5]}, 410),
    ],
)
def test_what_cannot_be_read_is_told_by_its_resource(
    writer: Writer,
    data_folder: Path,
    acting_as: Actor,
    uri: str,
    mimetype: str,
    parameters: Doc,
    status: int,
) -> None:
    """Abuse case 10."""
    written(data_folder, "fly.h5")
    flight = Flight(cam=FRAME)
    resource = flight.resource("cam", uri, mimetype, **parameters)
    flight.rows_of(resource, (1, 2), 0)
    flight.send(writer)
    alice = acting_as("alice")
    answer = alice.get(f"{flight.arrays}cam/?format=npy")
    assert answer.status_code == status, answer.content
    assert answer.json()["resource"] == resource
    assert "/facility" not in answer.json()["detail"]
    assert str(data_folder) not in answer.content.decode()
    export = alice.get(f"/api/v1/headers/{flight.uid}/export/?format=h5")
    assert export.status_code in (200, status), export.content


def test_stored_documents_that_are_not_what_they_must_be_place_nothing(
    writer: Writer, writable: Catalog, data_folder: Path, acting_as: Actor
) -> None:
    written(data_folder, "fly.h5")
    flight = Flight(cam=FRAME).hdf5("cam", "fly.h5", 3).send(writer)
    resource = flight.documents[2][1]["uid"]
    about: Doc = {"stream_resource": resource, "descriptor": flight.descriptor}
    span: Doc = {"start": 5, "stop": 7}
    assert writable.assets is not None
    database(writable.assets).stream_datum.insert_many(
        [
            about | {"uid": "odd 1"},
            about | {"uid": "odd 2", "seq_nums": [1, 2], "indices": span},
            about | {"uid": "odd 3", "seq_nums": {"start": "a", "stop": 2.5}, "indices": span},
            about | {"uid": "odd 4", "seq_nums": {"start": 9, "stop": 2}, "indices": span},
            about | {"uid": "odd 5", "seq_nums": span, "indices": span, "descriptor": [1]},
            about | {"uid": "odd 6", "seq_nums": {"start": [3], "stop": [4]}, "indices": span},
            about | {"uid": "odd 7", "seq_nums": {"start": 3.5, "stop": 4.5}, "indices": span},
            about | {"uid": 8, "seq_nums": span, "indices": span | {"stop": 5}},
            about | {"seq_nums": span, "indices": {}},
        ]
    )
    alice = acting_as("alice")
    assert np.array_equal(array(alice, f"{flight.arrays}cam/"), FRAMES[:3, None])
    for route in (
        *("documents/", "documents/?fill=true", "documents/?after="),
        *("export/?format=h5", "streams/"),
    ):
        answer = alice.get(f"/api/v1/headers/{flight.uid}/{route}")
        assert answer.status_code == 200, route
        if answer.streaming:
            answer.getvalue()
