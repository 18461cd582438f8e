"""GET headers/{key}/export/: NeXus files that open with a plot, and NDJSON."""

import io
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from headers.mongo import database
from tests.conftest import Actor
from tests.documents import EPOCH, Doc, Recorder
from tests.events.test_documents import frames_run
from tests.events.test_events_list import FRAMES, descriptor_of


@pytest.fixture
def export(acting_as: Actor) -> Any:
    """The HDF5 file of a run, as alice gets it."""
    alice = acting_as("alice")

    def file_of(run: str) -> h5py.File:
        response = alice.get(f"/api/v1/headers/{run}/export/")
        assert response.status_code == 200, response.content
        assert response["Content-Type"] == "application/x-hdf5"
        return h5py.File(io.BytesIO(response.getvalue()))

    return file_of


def texts(group: h5py.Group, *names: str) -> list[str]:
    return [group[name][()].decode() for name in names]


def default_plot(file: h5py.File) -> h5py.Group:
    """Follows `default` as NeXus viewers do, to a valid NXdata."""
    group: Any = file
    while "default" in group.attrs:
        group = group[group.attrs["default"]]
    assert group.attrs["NX_class"] == "NXdata"
    signal = group[group.attrs["signal"]]
    axes = list(group.attrs["axes"])
    assert len(axes) == signal.ndim or (len(axes), signal.ndim) == (2, 1)
    for place, axis in enumerate(axes):
        if axis != ".":
            dimension = min(place, signal.ndim - 1)
            assert group[axis].shape == (signal.shape[dimension],)
            assert group.attrs[f"{axis}_indices"] == dimension
    for other in group.attrs.get("auxiliary_signals", []):
        assert group[other].shape == signal.shape
    return group


def test_the_file_tells_of_the_run(recorder: Recorder, export: Any) -> None:
    run = recorder.run(events=3, owner="alice", sample={"name": "gold", "x": 1})
    entry = export(run)["entry"]
    assert entry.attrs["NX_class"] == "NXentry"
    assert texts(entry, "title", "entry_identifier", "experiment_identifier") == [
        "scan 1",
        run,
        "310000",
    ]
    assert texts(entry["user"], "name") == ["alice"]
    assert texts(entry["sample"], "name", "x") == ["gold", "1"]
    start, end = map(datetime.fromisoformat, texts(entry, "start_time", "end_time"))
    assert (end - start).total_seconds() == 10
    assert start.utcoffset() is not None
    assert json.loads(entry["bluesky/start"][()])["uid"] == run


def test_the_default_plot_is_the_hinted_detector_over_the_scanned_motor(
    recorder: Recorder, export: Any
) -> None:
    dimensions = [[["motor"], "primary"]]
    run = recorder.run(events=5, hints={"dimensions": dimensions})
    plot = default_plot(export(run))
    assert plot.attrs["signal"] == "det"
    assert list(plot.attrs["axes"]) == ["motor"]
    assert plot["det"][()].tolist() == [1.0, 4.0, 9.0, 16.0, 25.0]
    assert plot["motor"].attrs["units"] == "mm"
    assert plot["seq_num"][()].tolist() == [1, 2, 3, 4, 5]


def test_a_scan_over_a_plane_is_a_scatter_plot(recorder: Recorder, export: Any) -> None:
    run = recorder.run(events=0, hints={"dimensions": [[[axis], "map"] for axis in "xy"]})
    key = {"dtype": "number", "shape": [], "source": "x"}
    hints = {"det": {"fields": ["sum", "max", "text"]}}
    keys = {name: key for name in ("x", "y", "max", "sum")}
    descriptor = recorder.descriptor(run, name="map", data_keys=keys, hints=hints)
    data = {"x": 1.0, "y": 2.0, "sum": 3.0, "max": 4.0}
    event = {"uid": run, "descriptor": descriptor, "seq_num": 1, "time": EPOCH, "data": data}
    recorder.insert("csx", "event", event)
    file = export(run)
    file_plot = file["entry/map"]
    assert file_plot.attrs["signal"] == "sum"
    assert list(file_plot.attrs["axes"]) == ["x", "y"]
    assert list(file_plot.attrs["auxiliary_signals"]) == ["max"]
    default_plot(file)


def test_without_hints_numbers_are_plotted_over_time(recorder: Recorder, export: Any) -> None:
    plot = default_plot(export(recorder.run(events=2)))
    assert list(plot.attrs["axes"]) == ["time"]


def test_frames_are_chunked_and_equal(recorder: Recorder, export: Any, data_folder: Path) -> None:
    run = frames_run(recorder, data_folder)
    stream = export(run)["entry/frames"]
    assert (stream["img"][()] == FRAMES[:, None]).all()
    assert stream["img"].chunks == (1, 1, 4, 6)
    assert stream["img"].dtype == "<u2"
    assert stream["det"][()].tolist() == [0, 1, 2, 3, 4]


def test_frames_of_different_shapes_are_kept_apart(
    recorder: Recorder, export: Any, data_folder: Path
) -> None:
    run = frames_run(recorder, data_folder, resource_kwargs={"frame_per_point": 2})
    events = database(recorder.catalogs["csx"].metadata).event
    events.delete_many({"uid": {"$in": [f"{run}-3", f"{run}-4"]}})
    images = export(run)["entry/frames/img"]
    assert sorted(images) == ["000000", "000001", "000002"]
    assert (images["000002"][()] == FRAMES[4:5]).all()


def test_an_event_without_its_frame_is_not_filled_with_anything(
    recorder: Recorder, export: Any, data_folder: Path
) -> None:
    run = frames_run(recorder, data_folder)
    events = database(recorder.catalogs["csx"].metadata).event
    events.update_one({"uid": f"{run}-1"}, {"$unset": {"data.img": ""}})
    assert sorted(export(run)["entry/frames/img"]) == ["000000", "000002", "000003", "000004"]


def test_odd_columns_are_kept(recorder: Recorder, export: Any) -> None:
    run = recorder.run(events=0)
    key = {"dtype": "array", "shape": [2], "source": "x"}
    names = ("spectrum", "ragged", "text", "flag", "gap", "a/b", ".", "mixed")
    descriptor = recorder.descriptor(run, name="odd", data_keys=dict.fromkeys(names, key))
    rows: list[Doc] = [
        {"spectrum": [1, 2], "ragged": [1], "text": "é", "flag": True, "gap": 1, "a/b": 5},
        {"spectrum": [3, 4.5], "ragged": [1, 2], "text": "b\x00c", "flag": False, ".": 1.5},
    ]
    for n, data in enumerate(rows):
        event = {"uid": f"{run}{n}", "descriptor": descriptor, "seq_num": n + 1}
        recorder.insert("csx", "event", event | {"time": EPOCH + n, "data": data})
    stream = export(run)["entry/odd"]
    assert stream["spectrum"][()].tolist() == [[1.0, 2.0], [3.0, 4.5]]
    assert [json.loads(text) for text in stream["ragged"][()]] == [[1], [1, 2]]
    assert stream["text"].asstr()[()].tolist() == ["é", "bc"]
    assert stream["flag"][()].tolist() == [True, False]
    assert np.isnan(stream["gap"][1])
    assert stream["a_b"].attrs["long_name"] == "a/b"
    assert {"_", "mixed"} <= set(stream)


def test_streams_may_be_named_like_anything(recorder: Recorder, export: Any) -> None:
    run = recorder.run(events=1)
    for name in ("sample", "title", "a/b", "", "..", None):
        recorder.events(recorder.descriptor(run, name=name), 2)
    entry = export(run)["entry"]
    assert {"sample_", "title_", "a_b", "primary", "_"} <= set(entry)
    assert entry.attrs["default"] == "primary"


@pytest.mark.parametrize("exit_status", ["success", None])
def test_runs_without_events_or_stop_are_exported(
    exit_status: str | None, recorder: Recorder, export: Any
) -> None:
    entry = export(recorder.run(events=0, exit_status=exit_status))["entry"]
    assert entry["primary/det"].shape == (0,)
    assert ("end_time" in entry) == (exit_status is not None)


def test_data_recorded_elsewhere_are_left_out_with_a_warning(
    recorder: Recorder, acting_as: Actor
) -> None:
    run = recorder.run(events=0)
    key = {"dtype": "array", "shape": [4, 6], "external": "STREAM:", "source": "x"}
    recorder.descriptor(run, name="frames", data_keys={"img": key})
    response = acting_as("alice").get(f"/api/v1/headers/{run}/export/")
    assert "img" in response["Warning"]
    file = h5py.File(io.BytesIO(response.getvalue()))
    assert "img" not in file["entry/frames"]
    default_plot(file)


def test_the_file_name_is_safe_whatever_the_run_says(recorder: Recorder, acting_as: Actor) -> None:
    """Abuse case 23."""
    run = recorder.run(scan_id='1"\r\nSet-Cookie: a=b', title="<script>\x00")
    response = acting_as("alice").get(f"/api/v1/headers/{run}/export/")
    assert response["Content-Disposition"] == (
        f'attachment; filename="csx_1-Set-Cookie-a-b_{run[:8]}.h5"'
    )


def test_ndjson_is_the_documents_as_a_file(recorder: Recorder, acting_as: Actor) -> None:
    run = recorder.run(events=2)
    alice = acting_as("alice")
    response = alice.get(f"/api/v1/headers/{run}/export/", {"format": "ndjson"})
    assert response["Content-Disposition"].endswith('.ndjson"')
    documents = alice.get(f"/api/v1/headers/{run}/documents/")
    assert response.getvalue() == documents.getvalue()


@pytest.mark.parametrize(
    ("resource", "status"),
    [({"resource_path": "gone.h5"}, 410), ({"spec": "UNHEARD_OF"}, 501)],
)
def test_a_missing_file_is_told_and_nothing_is_left_behind(
    resource: Doc,
    status: int,
    acting_as: Actor,
    recorder: Recorder,
    data_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run = frames_run(recorder, data_folder, **resource)
    alice = acting_as("alice")
    recorder.events(recorder.descriptor(run, name="numbers"), 1)
    answer = alice.get(f"/api/v1/headers/{run}/export/")
    assert answer.status_code == 200
    assert "img: Resource" in answer["Warning"]
    with h5py.File(io.BytesIO(b"".join(answer))) as file:
        assert file["entry/numbers/det"][()].tolist() == [1.0]
        assert "img" not in file["entry/frames"]
    recorded = database(recorder.catalogs["csx"].metadata)
    recorded.event_descriptor.update_many(
        {}, {"$unset": {"data_keys.det": "", "data_keys.motor": ""}}
    )
    assert alice.get(f"/api/v1/headers/{run}/export/").status_code == status
    alice.get(f"/api/v1/headers/{recorder.run()}/export/").close()
    assert list(tmp_path.iterdir()) == []


def test_more_than_an_answer_may_hold_is_refused_before_reading(
    acting_as: Actor, recorder: Recorder, data_folder: Path, settings: Any
) -> None:
    run = frames_run(recorder, data_folder)
    settings.RESPONSE_BYTES = 100
    assert acting_as("alice").get(f"/api/v1/headers/{run}/export/").status_code == 413


@pytest.mark.parametrize("actor", ["bob", "nobody"])
def test_a_hidden_run_cannot_be_exported(actor: str, acting_as: Actor, recorder: Recorder) -> None:
    """Abuse case 6."""
    run = recorder.run()
    assert acting_as(actor).get(f"/api/v1/headers/{run}/export/").status_code == 404


def test_a_run_that_was_fetched_already_is_not_written_again(
    acting_as: Actor, recorder: Recorder
) -> None:
    run = recorder.run()
    url = f"/api/v1/headers/{run}/export/"
    alice = acting_as("alice")
    etag = alice.get(url)["ETag"]
    assert alice.get(url, headers={"If-None-Match": etag}).status_code == 304
    head = alice.head(url)
    assert head["ETag"] == etag
    assert descriptor_of(recorder, run)
