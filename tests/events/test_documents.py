"""GET headers/{key}/documents/: order, formats, filling, and memory."""

import json
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bson
import msgpack
import numpy as np
import pytest

from headers.mongo import database
from tests.conftest import Actor, Commands
from tests.documents import EPOCH, Doc, Recorder
from tests.events.test_events_list import FRAMES, descriptor_of, run_with_frames

Documents = list[tuple[str, Doc]]


def from_ndjson(content: bytes) -> Documents:
    return [(name, doc) for name, doc in map(json.loads, content.splitlines())]


def from_msgpack(content: bytes) -> Documents:
    unpacker = msgpack.Unpacker()
    unpacker.feed(content)
    return [(name, doc) for name, doc in unpacker]


def from_bson(content: bytes) -> Documents:
    return [(found["name"], found["doc"]) for found in bson.decode_all(content)]


READERS: dict[str, Callable[[bytes], Documents]] = {
    "ndjson": from_ndjson,
    "msgpack": from_msgpack,
    "bson": from_bson,
}


@pytest.fixture
def read(acting_as: Actor) -> Callable[..., Documents]:
    """The documents of a run, as alice gets them."""
    alice = acting_as("alice")

    def documents_of(run: str, format: str = "ndjson", **query: str) -> Documents:
        response = alice.get(f"/api/v1/headers/{run}/documents/", query | {"format": format})
        assert response.status_code == 200, response.content
        return READERS[format](response.getvalue())

    return documents_of


Read = Callable[..., Documents]


def names(documents: Documents) -> list[str]:
    return [name for name, _ in documents]


def plain(documents: Documents) -> Documents:
    return [(name, {k: v for k, v in doc.items() if k != "_id"}) for name, doc in documents]


@pytest.mark.parametrize("format", READERS)
def test_documents_come_in_the_order_of_their_emission(
    format: str, recorder: Recorder, read: Read
) -> None:
    run = recorder.run(events=3)
    found = read(run, format)
    assert names(found) == ["start", "descriptor", "event", "event", "event", "stop"]
    assert [doc["seq_num"] for name, doc in found if name == "event"] == [1, 2, 3]
    assert found[0][1]["uid"] == run
    assert found[-1][1]["run_start"] == run


@pytest.mark.parametrize("format", READERS)
def test_a_run_without_stop_keeps_all_its_events(
    format: str, recorder: Recorder, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("events.repositories.BATCH_EVENTS", 10)
    found = read(recorder.run(events=25, exit_status=None), format)
    assert names(found) == ["start", "descriptor", *["event"] * 25]


def test_a_run_without_events_or_without_descriptors_is_served(
    recorder: Recorder, read: Read
) -> None:
    assert names(read(recorder.run(events=0))) == ["start", "descriptor", "stop"]
    bare = recorder.run(events=0)
    database(recorder.catalogs["csx"].metadata).event_descriptor.delete_many({"run_start": bare})
    assert names(read(bare)) == ["start", "stop"]


def test_a_stream_without_name_is_served(recorder: Recorder, read: Read) -> None:
    run = recorder.run(events=0)
    recorder.events(recorder.descriptor(run, name=None), 2)
    assert Counter(names(read(run)))["event"] == 2


@pytest.mark.parametrize("format", READERS)
def test_streams_are_interlaced_by_time(format: str, recorder: Recorder, read: Read) -> None:
    run = recorder.run(events=0, time=EPOCH)
    first = descriptor_of(recorder, run)
    recorder.events(first, 4, time=EPOCH)
    # The later stream's clock is behind: its descriptor still comes before its first event.
    late = recorder.descriptor(run, name="monitor", time=EPOCH + 100)
    recorder.events(late, 3, time=EPOCH + 1.5)
    never_used = recorder.descriptor(run, name="unused", time=EPOCH + 2.2)
    found = read(run, format)
    times = [doc["time"] for name, doc in found if name == "event"]
    assert times == sorted(times)
    assert len(times) == 7
    places = {doc["uid"]: place for place, (name, doc) in enumerate(found)}
    for uid in (first, late):
        events = [p for p, (_, doc) in enumerate(found) if doc.get("descriptor") == uid]
        assert places[uid] < min(events)
    before_unused = [doc["time"] for _, doc in found[1 : places[never_used]]]
    assert max(before_unused) <= EPOCH + 2.5
    assert Counter(names(found))["descriptor"] == 3


def test_all_formats_hold_the_same(recorder: Recorder, read: Read) -> None:
    run = recorder.run(events=5, sample="gold", deep={"a": [1, {"b": None}]})
    found = read(run, "ndjson")
    assert plain(read(run, "msgpack")) == found
    assert plain(read(run, "bson")) == found


def test_bson_passes_stored_bytes_through(recorder: Recorder, read: Read) -> None:
    run = recorder.run(events=2)
    stored = database(recorder.catalogs["csx"].metadata).event.find({}).sort("time", 1)
    assert [doc for name, doc in read(run, "bson") if name == "event"] == list(stored)


def test_odd_values_travel_safely(recorder: Recorder, read: Read) -> None:
    """Abuse case 12."""
    run = recorder.run(events=0)
    data = {"det": float("nan"), "motor": float("inf"), 'a"\\\n<b>': "é\u2028\x00", "n": 2**62}
    event = {"uid": "e", "descriptor": descriptor_of(recorder, run), "seq_num": 1, "time": EPOCH}
    recorder.insert("csx", "event", event | {"data": data, "raw": b"\x00\xff"})
    (as_json,) = (doc for name, doc in read(run) if name == "event")
    assert as_json["data"] == data | {"det": None, "motor": None}
    (packed,) = (doc for name, doc in read(run, "msgpack") if name == "event")
    assert np.isnan(packed["data"].pop("det"))
    assert packed["data"] == {name: data[name] for name in data if name != "det"}
    assert packed["raw"] == b"\x00\xff"


# -- resources and datums --------------------------------------------------------------------


def frames_run(recorder: Recorder, folder: Path, **resource: Any) -> str:
    descriptor = run_with_frames(recorder, folder, **resource)
    found = database(recorder.catalogs["csx"].metadata).event_descriptor.find_one(
        {"uid": descriptor}
    )
    assert found is not None
    return str(found["run_start"])


@pytest.mark.parametrize("format", READERS)
def test_resources_and_datums_come_once_before_the_first_event_that_needs_them(
    format: str, recorder: Recorder, read: Read, data_folder: Path
) -> None:
    run = frames_run(recorder, data_folder)
    events = database(recorder.catalogs["csx"].metadata).event
    # One datum serves two events.
    events.update_one({"uid": f"{run}-3"}, {"$set": {"data.img": f"{run}/0"}})
    found = read(run, format)
    counts = Counter(names(found))
    assert counts["resource"] == 1
    assert counts["datum"] == 4
    seen: set[str] = set()
    for name, doc in found:
        if name == "resource":
            seen.add(doc["uid"])
        elif name == "datum":
            assert doc["resource"] in seen
            seen.add(doc["datum_id"])
        elif name == "event" and "img" in doc["data"]:
            assert doc["data"]["img"] in seen


def test_datums_are_asked_for_by_batch(
    acting_as: Actor, recorder: Recorder, data_folder: Path, commands: Commands
) -> None:
    run = frames_run(recorder, data_folder)
    alice = acting_as("alice")
    commands.sent.clear()
    alice.get(f"/api/v1/headers/{run}/documents/").getvalue()
    assert sorted(commands.names) == ["aggregate", "aggregate", "find", "find", "find"]


def test_resources_of_other_runs_are_not_told(
    recorder: Recorder, read: Read, data_folder: Path
) -> None:
    """Abuse case 10."""
    run = frames_run(recorder, data_folder, run_start="a hidden run", root="/secret")
    found = read(run)
    assert Counter(names(found)).keys() == {"start", "descriptor", "event", "stop"}
    assert "secret" not in json.dumps(found)


def test_old_resources_get_the_uid_by_which_datums_call_them(
    recorder: Recorder, read: Read, data_folder: Path
) -> None:
    run = frames_run(recorder, data_folder)
    assets = database(recorder.catalogs["csx"].assets)
    stored = assets.resource.find_one({})
    assert stored is not None
    assets.resource.update_one({}, {"$unset": {"uid": "", "run_start": ""}})
    assets.datum.update_many({}, {"$set": {"resource": stored["_id"]}})
    found = read(run)
    (resource,) = (doc for name, doc in found if name == "resource")
    assert resource["uid"] == str(stored["_id"])
    assert {doc["resource"] for name, doc in found if name == "datum"} == {resource["uid"]}


@pytest.mark.parametrize("format", READERS)
def test_filled_documents_hold_the_arrays(
    format: str, recorder: Recorder, read: Read, data_folder: Path
) -> None:
    run = frames_run(recorder, data_folder)
    filled = [doc for name, doc in read(run, format, fill="true") if name == "event"]
    for n, event in enumerate(filled):
        image = event["data"]["img"]
        if format != "ndjson":
            image = np.frombuffer(image["data"], image["dtype"]).reshape(image["shape"])
        assert (np.asarray(image) == FRAMES[n : n + 1]).all()
        assert event["filled"]["img"] == f"{run}/{n}"


def test_frames_of_different_shapes_are_neither_padded_nor_refused(
    recorder: Recorder, read: Read, data_folder: Path
) -> None:
    run = frames_run(recorder, data_folder, resource_kwargs={"frame_per_point": 2})
    # Five frames, two a point: the third point is short, and there is no fourth.
    events = database(recorder.catalogs["csx"].metadata).event
    events.delete_many({"seq_num": {"$gt": 3}, "uid": {"$regex": f"^{run}"}})
    filled = [doc for name, doc in read(run, fill="true") if name == "event"]
    images = [event["data"]["img"] for event in filled]
    assert images == [FRAMES[0:2].tolist(), FRAMES[2:4].tolist(), FRAMES[4:5].tolist()]


@pytest.mark.parametrize(
    ("resource", "status"),
    [({"resource_path": "gone.h5"}, 410), ({"spec": "UNHEARD_OF"}, 501)],
)
def test_a_missing_file_is_told_before_anything_is_sent(
    resource: Doc, status: int, acting_as: Actor, recorder: Recorder, data_folder: Path
) -> None:
    run = frames_run(recorder, data_folder, **resource)
    url = f"/api/v1/headers/{run}/documents/"
    alice = acting_as("alice")
    # Beside something that is left, it is named and left out.
    answer = alice.get(url, {"fill": "true"})
    assert answer.status_code == 200
    assert "img: Resource" in answer["Warning"]
    documents = [json.loads(line) for line in b"".join(answer).splitlines()]
    frames = [doc["data"]["img"] for name, doc in documents if "img" in doc.get("data", {})]
    assert len(frames) == 5
    assert all(isinstance(reference, str) for reference in frames)
    # Where nothing is left, that is the answer.
    events = database(recorder.catalogs["csx"].metadata)
    events.event_descriptor.update_many(
        {}, {"$unset": {"data_keys.det": "", "data_keys.motor": ""}}
    )
    assert alice.get(url, {"fill": "true"}).status_code == status
    assert alice.get(url).status_code == 200


def test_more_in_files_than_an_answer_may_hold_is_refused(
    acting_as: Actor, recorder: Recorder, data_folder: Path, settings: Any
) -> None:
    run = frames_run(recorder, data_folder)
    settings.RESPONSE_BYTES = 100
    url = f"/api/v1/headers/{run}/documents/"
    refused = acting_as("alice").get(url, {"fill": "true"})
    assert refused.status_code == 413
    assert refused.json()["limit"] == 100


# -- who, and what is refused ----------------------------------------------------------------


@pytest.mark.parametrize("actor", ["bob", "nobody"])
def test_a_hidden_run_has_no_documents(actor: str, acting_as: Actor, recorder: Recorder) -> None:
    """Abuse cases 6 and 8."""
    client = acting_as(actor)
    hidden = client.get(f"/api/v1/headers/{recorder.run()}/documents/")
    nonexistent = client.get("/api/v1/headers/no-such-run/documents/")
    assert hidden.status_code == nonexistent.status_code == 404
    assert hidden.content == nonexistent.content


@pytest.mark.parametrize(
    ("query", "status"),
    [({"fill": "maybe"}, 400), ({"page_size": "3"}, 400), ({"format": "xml"}, 400)],
)
def test_wrong_parameters_are_refused(
    query: dict[str, str], status: int, acting_as: Actor, recorder: Recorder
) -> None:
    """Abuse case 14."""
    response = acting_as("alice").get(f"/api/v1/headers/{recorder.run()}/documents/", query)
    assert response.status_code == status


def test_a_complete_run_answers_304_before_reading_events(
    acting_as: Actor, recorder: Recorder, commands: Commands
) -> None:
    url = f"/api/v1/headers/{recorder.run()}/documents/"
    alice = acting_as("alice")
    etag = alice.get(url)["ETag"]
    commands.sent.clear()
    assert alice.get(url, headers={"If-None-Match": etag}).status_code == 304
    assert commands.names == ["aggregate", "aggregate"]
    other = alice.get(url, {"format": "bson"}, headers={"If-None-Match": etag})
    assert other.status_code == 200
    still_open = recorder.run(exit_status=None)
    assert "ETag" not in alice.get(f"/api/v1/headers/{still_open}/documents/")


# -- memory ----------------------------------------------------------------------------------


@pytest.mark.parametrize("format", READERS)
def test_a_stream_holds_a_batch_of_events_and_not_the_run(
    format: str, acting_as: Actor, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("events.repositories.BATCH_EVENTS", 10)
    run = recorder.run(events=0)
    descriptor = descriptor_of(recorder, run)
    base = {"descriptor": descriptor, "timestamps": {}, "filled": {}, "data": {"x": "y" * 10_000}}
    events = [base | {"uid": f"{run}-{n}", "seq_num": n, "time": EPOCH + n} for n in range(600)]
    database(recorder.catalogs["csx"].metadata).event.insert_many(events)
    response: Any = acting_as("alice").get(f"/api/v1/headers/{run}/documents/", {"format": format})
    tracemalloc.start()
    try:
        size = sum(map(len, response.streaming_content))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 6_000_000
    assert peak < 2_000_000
