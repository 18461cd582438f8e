"""Documents that are sent are stored once, in order, and never changed."""

import io
import json
import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import bson
import msgpack
import pytest
from bson import ObjectId
from django.utils import timezone

from headers.catalogs import Catalog
from headers.mongo import database
from tests.conftest import Actor
from tests.writing.conftest import URL, Documents, Writer
from tests.writing.runs import a_run, a_stop, an_event

Stored = Callable[[str], list[dict[str, Any]]]
COLLECTIONS = {
    "start": "run_start",
    "descriptor": "event_descriptor",
    "event": "event",
    "stop": "run_stop",
    "resource": "resource",
    "datum": "datum",
    "stream_resource": "stream_resource",
    "stream_datum": "stream_datum",
}


def same(one: Any, other: Any) -> bool:
    """NaN equals itself; the order of keys says nothing."""
    return bool(bson.encode({"": ordered(one)}) == bson.encode({"": ordered(other)}))


def ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: ordered(value[key]) for key in sorted(value)}
    return [ordered(item) for item in value] if isinstance(value, list) else value


def of(documents: Documents, name: str) -> list[dict[str, Any]]:
    return [document for kind, document in documents if kind == name]


def assert_stored(documents: Documents, stored: Stored) -> None:
    for name, collection in COLLECTIONS.items():
        assert same(stored(collection), of(documents, name)), name


def test_a_run_is_stored_as_it_was_sent(writer: Writer, stored: Stored) -> None:
    run = a_run(files=True)
    answer = writer(*run)
    assert answer.status_code == 200, answer.content
    uid = run[0][1]["uid"]
    told = {"run": uid, "accepted": len(run), "known": 0, "state": "closed"}
    assert answer.json() == told
    assert_stored(run, stored)


def test_a_run_that_was_written_is_read_at_once(writer: Writer, acting_as: Actor) -> None:
    run = a_run(stop=False)
    assert writer(*run).json()["state"] == "open"
    found = acting_as("alice").get(f"/api/v1/headers/{run[0][1]['uid']}/").json()
    assert found["stop"] is None
    assert found["streams"][0]["event_count"] == 3


@pytest.mark.parametrize("files", [False, True])
def test_each_part_sent_twice_is_stored_once(writer: Writer, stored: Stored, files: bool) -> None:
    run = a_run(events=4, files=files)
    for begin in range(0, len(run), 3):
        for known in (0, len(run[begin : begin + 3])):
            answer = writer(*run[begin : begin + 3])
            assert answer.status_code == 200, answer.content
            assert answer.json()["known"] == known
    assert writer(*run).json()["known"] == len(run)
    assert_stored(run, stored)


def test_parts_in_the_wrong_order_are_refused_and_then_right(
    writer: Writer, stored: Stored
) -> None:
    run = a_run(events=4, files=True)
    parts = [run[begin : begin + 4] for begin in range(0, len(run), 4)]
    for part in reversed(parts[1:]):
        answer = writer(*part)
        assert answer.status_code == 409
        assert answer.json()["reason"] == "start-missing"
        assert (answer.json()["index"], answer.json()["accepted"]) == (0, 0)
    for part in parts:
        assert writer(*part).status_code == 200
    assert_stored(run, stored)


def test_an_event_of_an_unknown_descriptor_is_refused(writer: Writer, stored: Stored) -> None:
    run = a_run(events=0, stop=False)
    lost = an_event("11111111-0000-4000-8000-000000000000", 1)
    answer = writer(*run, ("event", lost))
    assert answer.status_code == 409
    assert (answer.json()["reason"], answer.json()["index"]) == ("unknown-descriptor", 2)
    assert_stored(run, stored)


def test_a_datum_of_an_unknown_resource_is_refused(writer: Writer) -> None:
    run = a_run(events=0, stop=False)
    datum = {"datum_id": "x/0", "resource": "x", "datum_kwargs": {}}
    answer = writer(*run, ("datum", datum))
    assert (answer.status_code, answer.json()["reason"]) == (409, "unknown-resource")


def test_another_content_under_a_uid_is_refused(writer: Writer, stored: Stored) -> None:
    run = a_run()
    writer(*run)
    name, event = run[3]
    other = event | {"data": event["data"] | {"motor": 5.0}}
    answer = writer(*run[:3], (name, other), run[4])
    assert answer.status_code == 409
    told = answer.json()
    assert (told["reason"], told["index"], told["accepted"]) == ("conflict", 3, 3)
    assert "data.motor differs" in told["detail"]
    assert event["uid"] in told["detail"]
    assert_stored(run, stored)


def test_one_is_not_one_point_zero(writer: Writer) -> None:
    run = a_run(stop=False)
    writer(*run)
    name, event = run[2]
    changed = event | {"data": event["data"] | {"det": 1}}
    assert event["data"]["det"] == 1
    assert writer(*run[:2], (name, changed)).json()["reason"] == "conflict"


def test_a_conflict_keeps_the_stop_away(writer: Writer, stored: Stored) -> None:
    run = a_run(stop=False)
    writer(*run)
    uid = run[0][1]["uid"]
    event = run[2][1] | {"time": 1.0}
    answer = writer(("event", event), ("stop", a_stop(uid)))
    assert answer.json()["index"] == 0
    assert stored("run_stop") == []


def test_two_writers_of_one_run_get_one_conflict(writer: Writer, stored: Stored) -> None:
    run = a_run(stop=False)
    uid = run[0][1]["uid"]
    first, second = a_stop(uid), a_stop(uid)
    answers = [writer(*run, ("stop", stop)) for stop in (first, second)]
    assert [answer.status_code for answer in answers] == [200, 409]
    assert answers[1].json()["reason"] == "conflict"
    assert stored("run_stop") == [first]


def test_nothing_new_is_stored_after_the_stop(writer: Writer, stored: Stored) -> None:
    run = a_run()
    writer(*run)
    descriptor = run[1][1]["uid"]
    answer = writer(*run[:4], ("event", an_event(descriptor, 4)))
    assert (answer.status_code, answer.json()["reason"]) == (409, "closed")
    assert answer.json()["index"] == 4
    assert len(stored("event")) == 3


def test_an_event_behind_the_stop_in_one_body_is_refused(writer: Writer, stored: Stored) -> None:
    run = a_run()
    answer = writer(*run, ("event", an_event(run[1][1]["uid"], 4)))
    assert (answer.status_code, answer.json()["reason"]) == (409, "closed")
    assert answer.json()["accepted"] == len(run)
    assert_stored(run, stored)


@pytest.mark.parametrize(("minutes", "status"), [(9, 200), (11, 409)])
def test_a_datum_may_be_ten_minutes_late(
    writer: Writer, writable: Catalog, minutes: int, status: int
) -> None:
    run = a_run(files=True)
    writer(*run)
    stops = database(writable.metadata).run_stop
    stop = stops.find_one_and_delete({})
    assert stop is not None
    then = timezone.now() - timedelta(minutes=minutes)
    stops.insert_one(stop | {"_id": ObjectId.from_datetime(then)})
    resource = of(run, "resource")[0]["uid"]
    late = {"datum_id": "late", "resource": resource, "datum_kwargs": {"point_number": 9}}
    assert writer(("datum", late)).status_code == status


def test_pages_are_stored_as_single_documents(writer: Writer, stored: Stored) -> None:
    run = a_run(events=3, stop=False)
    events = of(run, "event")
    page = {
        "descriptor": events[0]["descriptor"],
        **{key: [event[key] for event in events] for key in ("uid", "time", "seq_num")},
        **{
            part: {key: [event[part][key] for event in events] for key in ("det", "motor")}
            for part in ("data", "timestamps")
        },
        "filled": {},
    }
    assert writer(*run[:2], run[2]).status_code == 200
    answer = writer(("event_page", page))
    assert (answer.json()["accepted"], answer.json()["known"]) == (1, 1)
    assert_stored(run, stored)


def test_a_page_with_lists_of_different_lengths_is_refused(writer: Writer) -> None:
    run = a_run(events=0, stop=False)
    page = {"descriptor": run[1][1]["uid"], "uid": ["a", "b"], "time": [1.0, 2.0]}
    page |= {"seq_num": [1, 2], "data": {"det": [1.0]}, "timestamps": {"det": [1.0]}}
    answer = writer(*run, ("event_page", page))
    assert (answer.status_code, answer.json()["index"]) == (400, 2)


EXTREMES = {
    "nan": math.nan,
    "up": math.inf,
    "down": -math.inf,
    "most": 2**63 - 1,
    "least": -(2**63),
    "bytes": b"\x00\xff",
    "list": [[1, 2.5], ["a", None]],
    "truth": True,
    "text": "µ \U0001f52c",
}


def test_values_at_the_limits_come_back_as_they_were(writer: Writer, stored: Stored) -> None:
    run = a_run(events=0, stop=False)
    event = an_event(run[1][1]["uid"], 1, **EXTREMES)
    for _ in range(2):
        assert writer(*run, ("event", event)).status_code == 200
    assert same(stored("event"), [event])


def test_ndjson_is_taken_with_whole_integers(writer: Writer, stored: Stored) -> None:
    run = a_run(events=0, stop=False)
    event = an_event(run[1][1]["uid"], 2, most=2**63 - 1)
    lines = "\n".join(json.dumps(item) for item in [*run, ("event", event)])
    answer = writer.client.post(URL, lines, content_type="application/x-ndjson")
    assert answer.status_code == 200, answer.content
    assert same(stored("event"), [event])


WRONG: dict[str, tuple[str, Any]] = {
    "beyond 64 bits": ("event", {"data": {"det": 2**70}}),
    "$": ("event", {"data": {"$where": 1}}),
    "NUL": ("event", {"data": {"a\0b": 1}}),
    "no uid": ("event", {"uid": None}),
    "a truth as number": ("event", {"seq_num": True}),
    "a text as time": ("event", {"time": "now"}),
    "no kind": ("evnt", {}),
    "too deep": ("event", {"data": {"a": [[[]]]}}),
    "a list as uid": ("event", {"uid": ["x"]}),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_no_writer_should_send_is_a_400_with_its_place(
    writer: Writer, stored: Stored, name: str
) -> None:
    kind, changes = WRONG[name]
    run = a_run(events=1, stop=False)
    event = of(run, "event")[0]
    wrong = an_event(event["descriptor"], 2) | changes
    if name == "too deep":
        deep: Any = 1
        for _ in range(100):
            deep = [deep]
        wrong["data"] = {"a": deep}
    body = [*run, [kind, wrong], ["event", an_event(event["descriptor"], 3)]]
    lines = "\n".join(json.dumps(item) for item in body)
    answer = writer.client.post(URL, lines, content_type="application/x-ndjson")
    assert answer.status_code == 400, answer.content
    assert (answer.json()["index"], answer.json()["accepted"]) == (3, 3)
    assert_stored(run, stored)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x93\x01",
        msgpack.packb([1, 2, 3]),
        msgpack.packb(["start", {1: 2}], strict_types=False),
        msgpack.packb(["start", {"time": msgpack.ExtType(5, b"x")}]),
        b"\x91" * 2000,
        b"\x92\xa5start\x81\xa1\xff\x01",
    ],
)
def test_bodies_that_are_no_documents_are_a_400(writer: Writer, body: bytes) -> None:
    answer = writer.client.post(URL, body, content_type="application/msgpack")
    assert answer.status_code == 400, answer.content
    assert answer.json()["index"] == 0


def test_other_media_types_are_refused(writer: Writer) -> None:
    assert writer.client.post(URL, {}, format="json").status_code == 415


@pytest.mark.parametrize(
    "body",
    [
        msgpack.packb(["start", {"a": "x" * (8 * 2**20)}]),
        b"\xdd\x00\x10\x00\x00" + b"\x80" * 2**20,
        b"".join(
            msgpack.packb(["datum", {"datum_id": str(n), "resource": "r", "datum_kwargs": {}}])
            for n in range(5_001)
        ),
        msgpack.packb(
            ["datum_page", {"datum_id": [""] * 5_001, "resource": "r", "datum_kwargs": {}}]
        ),
    ],
)
def test_too_much_at_once_is_a_413(writer: Writer, body: bytes) -> None:
    answer = writer.client.post(URL, body, content_type="application/msgpack")
    assert answer.status_code == 413, answer.content


def test_documents_of_two_runs_are_not_taken_together(writer: Writer, stored: Stored) -> None:
    one, other = a_run(stop=False), a_run()
    answer = writer(*one, *other)
    assert (answer.status_code, answer.json()["index"]) == (400, len(one))
    assert_stored(one, stored)


def test_nothing_is_written_without_unique_indexes(writer: Writer, writable: Catalog) -> None:
    from writing import repositories

    events = database(writable.metadata).event
    events.drop_index("uid_1")
    repositories._verified.clear()
    answer = writer(*a_run())
    events.create_index("uid", unique=True)
    assert (answer.status_code, answer["Retry-After"]) == (503, "30")
    assert "event.uid" in answer.json()["detail"]
    assert writer(*a_run()).status_code == 200


def test_resources_that_another_writer_stored_are_known(
    writer: Writer, writable: Catalog, stored: Stored
) -> None:
    run = a_run(files=True)
    resource = of(run, "resource")[0]
    database(writable.assets).resource.insert_one(dict(resource))
    assert writer(*run).json()["known"] == 1
    assert stored("resource") == [resource]


def test_documents_of_detector_streams_are_served_with_the_others(
    writer: Writer, acting_as: Actor
) -> None:
    run, other = a_run(files=True), a_run(files=True)
    writer(*other)
    writer(*run)
    route = f"/api/v1/headers/{run[0][1]['uid']}/documents/?format=msgpack"
    content = acting_as("alice").get(route).getvalue()
    served = [tuple(item) for item in msgpack.Unpacker(io.BytesIO(content))]
    assert same(by_key(served), by_key(run))
    names = [name for name, _ in served]
    assert (names[0], names[-1]) == ("start", "stop")
    assert names.index("stream_resource") < names.index("stream_datum")
    indices = [doc["indices"]["start"] for name, doc in served if name == "stream_datum"]
    assert indices == [0, 1, 2]
    route = f"/api/v1/headers/{run[0][1]['uid']}/documents/"
    assert acting_as("bob").get(route).status_code == 404


def by_key(documents: Any) -> dict[str, Any]:
    return {repr(ordered(list(item))): ordered(item[1]) for item in documents}
