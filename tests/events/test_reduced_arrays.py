"""One number an event: what it is, what is left out, what it may cost."""

import json
import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pytest_django.fixtures import Settings

from events.arrays.reducing import by_row
from policies.models import AuditEvent
from tests.conftest import Actor, People
from tests.documents import Doc, Recorder
from tests.events.test_array_route import (
    EVENTS,
    FRAMES,
    IMAGE,
    NUMBER,
    array_url,
    get,
    get_array,
    in_file,
    recorded,
    write_frames,
)

HOT = 60_000
SPECKLED = FRAMES.copy()
SPECKLED[:, 2, 3] = HOT
REGION = "1:4,2:5"
INSIDE = np.s_[:, 1:4, 2:5]


def image_run(recorder: Recorder, folder: Path, frames: NDArray[Any], **key: Any) -> str:
    write_frames(folder / "reduced.h5", frames)
    resource = in_file(recorder, "reduced.h5")
    rows = [{"image": f"{resource}/{n}", "det": n / 2} for n in range(EVENTS)]
    return recorded(recorder, {"image": IMAGE | key, "det": NUMBER}, rows)[0]


@pytest.fixture
def scan(recorder: Recorder, data_folder: Path) -> str:
    return image_run(recorder, data_folder, SPECKLED)


@pytest.mark.parametrize("reduce", ["sum", "mean", "max", "min"])
def test_each_event_becomes_the_number_that_numpy_makes(
    reduce: str, scan: str, acting_as: Actor
) -> None:
    array = get_array(
        acting_as("alice"), array_url(scan, "image"), slice=f":,0,{REGION}", reduce=reduce
    )
    wanted = getattr(SPECKLED[INSIDE].reshape(EVENTS, -1), reduce)(axis=1)
    assert array.dtype == np.dtype("<f8")
    assert array.tolist() == wanted.tolist()


def test_hot_pixels_are_left_out(scan: str, acting_as: Actor) -> None:
    query = {"slice": f":,0,{REGION}", "reduce": "mean", "mask_above": str(HOT - 1)}
    array = get_array(acting_as("alice"), array_url(scan, "image"), **query)
    cold = np.where(SPECKLED[INSIDE] < HOT, SPECKLED[INSIDE], np.nan)
    assert array == pytest.approx(np.nanmean(cold, axis=(1, 2)))


def test_what_is_left_out_altogether_is_no_number(scan: str, acting_as: Actor) -> None:
    client, url = acting_as("alice"), array_url(scan, "image")
    hot = {"slice": "0:2,0,2:3,3:4", "mask_above": "50000", "format": "json"}
    for reduce in ("sum", "mean", "max", "min"):
        assert json.loads(get(client, url, reduce=reduce, **hot)) == [None, None]
    empty = get(client, url, slice="0:2,0,2:2", reduce="sum", format="json")
    assert json.loads(empty) == [None, None]


def test_values_that_are_not_finite_are_left_out(
    recorder: Recorder, data_folder: Path, acting_as: Actor
) -> None:
    frames = FRAMES.astype("<f4")
    frames[1, 0, 0], frames[2, 0, 0], frames[3] = np.nan, np.inf, np.nan
    run = image_run(recorder, data_folder, frames)
    array = get_array(acting_as("alice"), array_url(run, "image"), reduce="max")
    wanted = FRAMES.reshape(EVENTS, -1).max(axis=1).astype(float)
    wanted[3] = np.nan
    assert np.array_equal(array, wanted, equal_nan=True)


def test_some_events_or_one_can_be_asked_for(scan: str, acting_as: Actor) -> None:
    client, url = acting_as("alice"), array_url(scan, "image")
    sums = SPECKLED.sum(axis=(1, 2))
    assert get_array(client, url, slice="5:1:-2", reduce="sum").tolist() == sums[5:1:-2].tolist()
    one = get_array(client, url, slice="3", reduce="sum")
    assert (one.shape, one.tolist()) == ((), sums[3])
    assert json.loads(get(client, url, slice="3", reduce="sum", format="json")) == sums[3]


def test_one_event_by_its_own_route(scan: str, acting_as: Actor, recorder: Recorder) -> None:
    client = acting_as("alice")
    [descriptor] = client.get(f"/api/v1/headers/{scan}/").json()["descriptors"]
    events = client.get("/api/v1/events/", {"descriptor": descriptor["uid"]}).json()["results"]
    url = f"/api/v1/events/{events[2]['uid']}/data/image/"
    assert get_array(client, url, slice="0", reduce="max").tolist() == SPECKLED[2].max()


def test_spectra_in_events_are_reduced_as_frames_are(recorder: Recorder, acting_as: Actor) -> None:
    key: Doc = {"dtype": "array", "shape": [3], "source": "x"}
    rows: list[Doc] = [{"x": [1.0, None, 3.0]}, {"x": [4.0, 5.0, 6.0]}]
    run, _ = recorded(recorder, {"x": key}, rows)
    array = get_array(acting_as("alice"), array_url(run, "x"), reduce="mean")
    assert array.tolist() == [2, 5]


@pytest.mark.parametrize("kind", ["npy", "json", "msgpack", "arrow", "h5", "octet-stream"])
def test_every_format_of_arrays_takes_it(kind: str, scan: str, acting_as: Actor) -> None:
    assert get(acting_as("alice"), array_url(scan, "image"), reduce="sum", format=kind)


def test_head_tells_what_it_will_be(
    scan: str, acting_as: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("events.files.reader.ArrayReader.read", None)
    head = acting_as("alice").head(array_url(scan, "image"), {"slice": "1:3", "reduce": "sum"})
    assert (head["X-Array-Shape"], head["X-Array-Dtype"]) == ("2", "<f8")
    assert int(head["Content-Length"]) == 2 * 8


@pytest.mark.parametrize(
    ("query", "about"),
    [
        ({"reduce": "median"}, "reduce"),
        ({"reduce": ""}, "reduce"),
        ({"mask_above": "5"}, "mask_above"),
        ({"reduce": "sum", "mask_above": "nan"}, "mask_above"),
        ({"reduce": "sum", "mask_above": "1e999"}, "mask_above"),
        ({"reduce": "sum", "mask_above": "hot"}, "mask_above"),
        ({"reduce": "sum", "slice": "a"}, "slice"),
        ({"reduce": "sum", "slice": "9"}, "slice"),
    ],
)
def test_what_makes_no_sense_is_refused(
    query: dict[str, str], about: str, scan: str, acting_as: Actor
) -> None:
    """Abuse case 11."""
    response = acting_as("alice").get(array_url(scan, "image"), query)
    assert response.status_code == 400
    assert about in json.dumps(response.json())


def test_a_table_and_a_picture_hold_no_such_numbers(scan: str, acting_as: Actor) -> None:
    client = acting_as("alice")
    csv = client.get(array_url(scan, "det"), {"reduce": "sum", "format": "csv"})
    assert (csv.status_code, csv.json()["detail"][:7]) == (400, "reduce:")
    png = client.get(array_url(scan, "image"), {"reduce": "sum", "format": "png"})
    assert png.status_code == 406


def test_no_more_is_read_than_would_be_sent(
    scan: str, acting_as: Actor, settings: Settings
) -> None:
    """Abuse case 11: the answer is small, what is read for it may not be."""
    settings.RESPONSE_BYTES = 3 * FRAMES[0].nbytes
    client, url = acting_as("alice"), array_url(scan, "image")
    refused = client.get(url, {"reduce": "sum"})
    assert refused.status_code == 413
    fits = refused.json()["slice"]
    assert get_array(client, url, reduce="sum", slice=fits).shape == (3,)


def test_what_is_read_counts_as_if_it_were_sent(
    scan: str, acting_as: Actor, settings: Settings
) -> None:
    """Abuse case 11."""
    settings.STREAM_BYTES_USER = SPECKLED.nbytes + 1
    client, url = acting_as("alice"), array_url(scan, "image")
    assert get_array(client, url, reduce="sum").shape == (EVENTS,)
    assert client.get(url, {"reduce": "sum", "slice": ":3"}).status_code == 429


def test_it_is_a_read_in_the_audit_trail(scan: str, acting_as: Actor, people: People) -> None:
    get(acting_as("alice"), array_url(scan, "image"), reduce="sum")
    event = AuditEvent.objects.filter(run_uid=scan).latest("pk")
    assert (event.actor, event.bytes) == ("alice", 8 * EVENTS)


def test_rows_larger_than_a_block_are_reduced_piece_by_piece(
    recorder: Recorder, data_folder: Path, acting_as: Actor
) -> None:
    """Frames of 6 MB, read in pieces of 4 MB at most."""
    rng = np.random.default_rng(1)
    frames = rng.integers(0, 1000, (EVENTS, 1500, 2000), "<u2")
    with h5py.File(data_folder / "reduced.h5", "w") as file:
        file.create_dataset("entry/data/data", data=frames, chunks=(1, 100, 2000))
    resource = in_file(recorder, "reduced.h5")
    rows = [{"image": f"{resource}/{n}"} for n in range(EVENTS)]
    run = recorded(recorder, {"image": IMAGE | {"shape": [1, 1500, 2000]}}, rows)[0]
    client, url = acting_as("alice"), array_url(run, "image")
    for reduce in ("sum", "mean", "max", "min"):
        array = get_array(client, url, slice=":3", reduce=reduce)
        wanted = getattr(frames[:3].reshape(3, -1).astype(float), reduce)(axis=1)
        assert array == pytest.approx(wanted, rel=1e-12)


@given(st.integers(1, 7), st.integers(1, 5), st.lists(st.integers(1, 9), max_size=9))
def test_blocks_of_any_size_are_cut_at_rows(size: int, rows: int, cuts: list[int]) -> None:
    values = np.arange(size * rows)
    blocks = np.split(values, np.minimum(np.cumsum(cuts or [0]), len(values)))
    found, waiting = list[list[int]](), list[int]()
    for part, is_complete in by_row(iter(blocks), size):
        if part.shape[1] == size:
            assert is_complete
            assert not waiting
            found += part.tolist()
            continue
        waiting += part.reshape(-1).tolist()
        if is_complete:
            found.append(waiting)
            waiting = []
    assert found == values.reshape(rows, size).tolist()
    assert math.prod((len(found), size)) == len(values)
