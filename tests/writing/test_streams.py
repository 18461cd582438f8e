"""Arrays of detector streams: what ophyd-async writes is served where stream_datums say it is."""

import io
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from headers.catalogs import Catalog
from tests.conftest import Actor
from tests.writing.conftest import Writer
from tests.writing.runs import a_run

FRAMES = np.arange(3 * 4 * 5, dtype=np.uint16).reshape(3, 4, 5)


@pytest.fixture
def run(
    writer: Writer, writable: Catalog, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """A run whose field `fast` is in a file of three frames."""
    allowed = writable.handlers | {"application/x-hdf5"}
    monkeypatch.setitem(writable.__dict__, "handlers", allowed)
    with h5py.File(data_folder / "fast.h5", "w") as file:
        file.create_dataset("/entry/data/data", data=FRAMES, chunks=(1, 4, 5))
    documents = a_run(files=True)
    assert writer(*documents).status_code == 200
    return str(documents[0][1]["uid"])


def array(actor: Any, run: str, query: str = "") -> Any:
    return actor.get(f"/api/v1/headers/{run}/streams/primary/data/fast/?format=npy{query}")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", FRAMES),
        ("&slice=1", FRAMES[1]),
        ("&slice=::-1,1:3,2", FRAMES[::-1, 1:3, 2]),
        ("&slice=2:0:-1", FRAMES[2:0:-1]),
    ],
)
def test_frames_of_a_stream_are_served(
    run: str, acting_as: Actor, query: str, expected: Any
) -> None:
    answer = array(acting_as("alice"), run, query)
    assert answer.status_code == 200, answer.content
    found = np.load(io.BytesIO(answer.getvalue()))
    assert found.dtype == expected.dtype
    assert np.array_equal(found, expected)


def test_a_frame_of_one_event_is_served(run: str, acting_as: Actor) -> None:
    alice = acting_as("alice")
    found = alice.get(f"/api/v1/headers/{run}/").json()
    descriptor = found["descriptors"][0]["uid"]
    events = alice.get(f"/api/v1/events/?descriptor={descriptor}").json()["results"]
    answer = alice.get(f"/api/v1/events/{events[1]['uid']}/data/fast/?format=npy")
    assert answer.status_code == 200, answer.content
    assert np.array_equal(np.load(io.BytesIO(answer.getvalue())), FRAMES[1])


def test_they_are_hidden_with_their_run(run: str, acting_as: Actor) -> None:
    assert array(acting_as("bob"), run).status_code == 404


def test_a_file_that_is_gone_is_a_410(run: str, acting_as: Actor, data_folder: Path) -> None:
    (data_folder / "fast.h5").unlink()
    assert array(acting_as("alice"), run).status_code == 410


def test_without_stream_datums_it_is_a_501_as_before(writer: Writer, acting_as: Actor) -> None:
    documents = [item for item in a_run(files=True) if not item[0].startswith("stream_")]
    writer(*documents)
    assert array(acting_as("alice"), documents[0][1]["uid"]).status_code == 501


def test_the_list_of_streams_says_that_it_is_available(run: str, acting_as: Actor) -> None:
    answer = acting_as("alice").get(f"/api/v1/headers/{run}/streams/").json()
    assert answer[0]["fields"]["fast"]["available"] is True
