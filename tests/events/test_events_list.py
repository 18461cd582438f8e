"""GET events/: order, pages, fields, links, filling, and what each actor sees."""

import math
from itertools import chain
from pathlib import Path
from typing import Any

import h5py
import msgpack
import numpy as np
import pytest
from bson import ObjectId, decode_all
from bson.decimal128 import Decimal128
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from events import repositories
from events.paging import event_page
from events.repositories import Events, Place, RunsWithEvents
from headers.finding import RunNotFound
from headers.mongo import database
from headers.repositories import Run, Runs
from policies.rule.access import Access
from tests.conftest import Actor, Commands
from tests.documents import EPOCH, Doc, Recorder

URL = "/api/v1/events/"
ACTORS_WHO_MAY = ("alice", "sue", "dan")


def readable(recorder: Recorder, uid: str) -> Run:
    run = Runs(recorder.catalogs["csx"], Access(data_admin=True)).get(uid)
    assert run is not None
    return run


def descriptor_of(recorder: Recorder, uid: str) -> str:
    return str(readable(recorder, uid).descriptors[0]["uid"])


def pages(client: APIClient, link: str, direction: str = "next") -> list[list[Doc]]:
    found = []
    while link:
        page = client.get(link).json()
        found.append(page["results"])
        link = page[direction]
    return found


def without_links(events: list[Doc]) -> list[Doc]:
    return [{k: v for k, v in event.items() if k != "_links"} for event in events]


@pytest.mark.parametrize("actor", ACTORS_WHO_MAY)
def test_events_are_served_as_they_are_stored(
    actor: str, acting_as: Actor, recorder: Recorder
) -> None:
    run = recorder.run(events=0)
    descriptor = descriptor_of(recorder, run)
    stored = recorder.events(descriptor, 5)
    page = acting_as(actor).get(URL, {"descriptor": descriptor}).json()
    assert page["next"] is page["previous"] is None
    assert without_links(page["results"]) == stored
    assert [event["_links"] for event in page["results"]] == [{}] * 5


@pytest.mark.parametrize("actor", ["bob", "nobody"])
def test_events_of_a_hidden_run_do_not_exist(
    actor: str, acting_as: Actor, recorder: Recorder
) -> None:
    """Abuse cases 6 and 8."""
    hidden = descriptor_of(recorder, recorder.run())
    client = acting_as(actor)
    answers = [client.get(URL, {"descriptor": uid}) for uid in (hidden, "no-such-descriptor")]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].content == answers[1].content


def test_one_hidden_descriptor_hides_the_whole_answer(acting_as: Actor, recorder: Recorder) -> None:
    mine = descriptor_of(recorder, recorder.run())
    hidden = descriptor_of(recorder, recorder.run("310001"))
    response = acting_as("alice").get(URL, {"descriptor": [mine, hidden]})
    assert response.status_code == 404


def test_hidden_and_nonexistent_descriptors_cost_the_same(
    acting_as: Actor, recorder: Recorder, commands: Commands
) -> None:
    hidden = descriptor_of(recorder, recorder.run("310001"))
    alice = acting_as("alice")
    sent = []
    for uid in (hidden, "no-such-descriptor"):
        commands.sent.clear()
        alice.get(URL, {"descriptor": uid})
        sent.append(sorted(commands.names))
    assert sent[0] == sent[1]


def test_a_page_costs_one_command_on_events(
    acting_as: Actor, recorder: Recorder, commands: Commands
) -> None:
    descriptor = descriptor_of(recorder, recorder.run(events=50))
    alice = acting_as("alice")
    link = alice.get(URL, {"descriptor": descriptor, "page_size": "10"}).json()["next"]
    commands.sent.clear()
    alice.get(link)
    on_events = [event.command for event in commands.sent if event.command.get("find") == "event"]
    assert len(on_events) == 1
    (command,) = on_events
    # What the index (descriptor, time) serves: equality, then the sort, with a bound of its own.
    assert command["filter"]["descriptor"] == descriptor
    assert set(command["filter"]["time"]) == {"$gte", "$not"}  # the latter: no list, no decimal
    assert command["sort"] == {"time": 1}
    assert command["limit"] == 11


def test_pages_follow_each_other_in_both_directions(acting_as: Actor, recorder: Recorder) -> None:
    descriptor = descriptor_of(recorder, recorder.run(events=25))
    alice = acting_as("alice")
    first = f"{URL}?descriptor={descriptor}&page_size=10"
    there = pages(alice, first)
    assert [len(page) for page in there] == [10, 10, 5]
    assert [e["seq_num"] for page in there for e in page] == list(range(1, 26))
    last = alice.get(alice.get(alice.get(first).json()["next"]).json()["next"]).json()
    back = pages(alice, last["previous"], "previous")
    assert [[e["seq_num"] for e in page] for page in back] == [
        list(range(11, 21)),
        list(range(1, 11)),
    ]


def test_events_of_several_streams_and_runs_are_merged_by_time(
    acting_as: Actor, recorder: Recorder
) -> None:
    run, other = recorder.run(events=0), recorder.run(events=0)
    second = recorder.descriptor(run, name="baseline")
    uids = [descriptor_of(recorder, run), second, descriptor_of(recorder, other)]
    for offset, uid in enumerate(uids):
        recorder.events(uid, 4, time=EPOCH + offset / 10)
    query = "&".join(f"descriptor={uid}" for uid in uids)
    found = pages(acting_as("alice"), f"{URL}?{query}&page_size=5")
    times = [event["time"] for page in found for event in page]
    assert len(times) == 12
    assert times == sorted(times)


def test_events_that_come_in_between_neither_repeat_nor_skip_others(
    acting_as: Actor, recorder: Recorder
) -> None:
    descriptor = descriptor_of(recorder, recorder.run(events=20))
    alice = acting_as("alice")
    first = alice.get(URL, {"descriptor": descriptor, "page_size": "10"}).json()
    recorder.events(descriptor, 3, time=EPOCH - 100)
    later = alice.get(first["next"]).json()["results"]
    assert [event["seq_num"] for event in later] == list(range(11, 21))


@hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    times=st.lists(st.integers(0, 3), min_size=1, max_size=20),
    size=st.integers(1, 7),
    shuffle=st.randoms(use_true_random=False),
)
def test_equal_times_never_skip_or_repeat(
    times: list[int], size: int, shuffle: Any, recorder: Recorder
) -> None:
    """Abuse case 13: pages of events whose times are equal, stored in any order of their _id."""
    run = recorder.run(events=0)
    descriptor = descriptor_of(recorder, run)
    ids = [ObjectId() for _ in times]
    shuffle.shuffle(ids)
    for time, _id in zip(times, ids, strict=True):
        event = {"_id": _id, "uid": str(_id), "descriptor": descriptor, "time": EPOCH + time}
        recorder.insert("csx", "event", event)
    expected = sorted(zip(times, ids, strict=True))
    events = Events(readable(recorder, run))
    found, cursor = [], None
    while True:
        page = event_page([(events, [descriptor])], size, salt="s", cursor=cursor)
        found.append([event["_id"] for _, event in page.events])
        if page.next is None:
            break
        cursor = page.next
    assert list(chain.from_iterable(found)) == [_id for _, _id in expected]
    back = []
    while page.previous is not None:
        page = event_page([(events, [descriptor])], size, salt="s", cursor=page.previous)
        back.append([event["_id"] for _, event in page.events])
    assert back[::-1] == found[:-1]


def test_a_cursor_serves_its_own_list_and_caller_only(acting_as: Actor, recorder: Recorder) -> None:
    """Abuse case 13."""
    one, two = (descriptor_of(recorder, recorder.run(events=5)) for _ in range(2))
    link = acting_as("alice").get(URL, {"descriptor": one, "page_size": "2"}).json()["next"]
    cursor = link.split("cursor=")[1].split("&")[0]
    for actor, uid, given_cursor in (
        ("alice", two, cursor),
        ("sue", one, cursor),
        ("alice", one, cursor[:-2] + "xx"),
        ("alice", one, "%00"),
    ):
        answer = acting_as(actor).get(f"{URL}?descriptor={uid}&cursor={given_cursor}")
        assert answer.status_code == 400, (actor, uid)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "descriptor=",
        "descriptor={}&page_size=0",
        "descriptor={}&page_size=1001",
        "descriptor={}&page_size=2&page_size=3",
        "descriptor={}&colour=red",
        "descriptor={}&fields=nothing",
        "descriptor={}&fill=perhaps",
        'descriptor={{"$ne":null}}',
        "descriptor[$ne]=1",
    ],
)
def test_wrong_parameters_are_refused(query: str, acting_as: Actor, recorder: Recorder) -> None:
    """Abuse cases 1 and 14."""
    descriptor = descriptor_of(recorder, recorder.run())
    response = acting_as("alice").get(f"{URL}?{query.format(descriptor)}")
    assert response.status_code == 400
    assert response["Content-Type"] == "application/problem+json"


def test_fields_narrow_data_timestamps_and_filled(acting_as: Actor, recorder: Recorder) -> None:
    descriptor = descriptor_of(recorder, recorder.run(events=1))
    (event,) = (
        acting_as("alice").get(URL, {"descriptor": descriptor, "fields": "det"}).json()["results"]
    )
    assert event["data"] == {"det": 1.0}
    assert set(event["timestamps"]) == {"det"}


def test_msgpack_holds_the_same_and_keeps_nan(acting_as: Actor, recorder: Recorder) -> None:
    run = recorder.run(events=0)
    descriptor = descriptor_of(recorder, run)
    event = {"uid": "e", "descriptor": descriptor, "seq_num": 1, "time": EPOCH}
    recorder.insert("csx", "event", event | {"data": {"det": float("nan"), "motor": 1.0}})
    alice = acting_as("alice")
    as_json = alice.get(URL, {"descriptor": descriptor}).json()
    response = alice.get(URL, {"descriptor": descriptor, "format": "msgpack"})
    assert response["Content-Type"] == "application/msgpack"
    unpacked = msgpack.unpackb(response.content)
    value = unpacked["results"][0]["data"].pop("det")
    assert np.isnan(value)
    assert as_json["results"][0]["data"].pop("det") is None
    assert unpacked == as_json
    accepting = alice.get(
        URL, {"descriptor": descriptor}, headers={"Accept": "application/msgpack"}
    )
    assert accepting.content == response.content


def test_a_complete_run_answers_304_before_its_events_are_read(
    acting_as: Actor, recorder: Recorder, commands: Commands
) -> None:
    descriptor = descriptor_of(recorder, recorder.run())
    alice = acting_as("alice")
    etag = alice.get(URL, {"descriptor": descriptor})["ETag"]
    commands.sent.clear()
    again = alice.get(URL, {"descriptor": descriptor}, headers={"If-None-Match": etag})
    assert again.status_code == 304
    assert "event" not in [event.command.get("find") for event in commands.sent]
    still_open = descriptor_of(recorder, recorder.run(exit_status=None))
    assert "ETag" not in alice.get(URL, {"descriptor": still_open})


def test_a_page_of_a_long_run_starts_where_the_last_one_ended(recorder: Recorder) -> None:
    run = recorder.run(events=30)
    events = Events(readable(recorder, run))
    descriptors = [descriptor_of(recorder, run)]
    first = events.page(descriptors, 10)
    second = events.page(descriptors, 10, after=Place.of(first[-1]))
    assert [event["seq_num"] for event in second] == list(range(11, 21))


def test_descriptors_of_other_runs_are_refused_by_the_repository(recorder: Recorder) -> None:
    other = descriptor_of(recorder, recorder.run())
    events = Events(readable(recorder, recorder.run()))
    with pytest.raises(ValueError, match="not descriptors of this run"):
        events.page([other], 10)


def test_one_event_is_found_with_its_run_at_the_same_cost_whether_hidden_or_not_there(
    recorder: Recorder, commands: Commands
) -> None:
    """Abuse case 8."""
    mine, hidden = recorder.run(), recorder.run("310001")
    uids = {}
    for run in (mine, hidden):
        (uids[run],) = (e["uid"] for e in recorder.events(descriptor_of(recorder, run), 1))
    access = Access(proposals=frozenset({"310000"}))
    runs = RunsWithEvents(list(recorder.catalogs.values()), access)
    found, event = runs.of_event(uids[mine])
    assert (found.uid, event["uid"]) == (mine, uids[mine])
    costs = []
    for uid in (uids[hidden], "no-such-event"):
        commands.sent.clear()
        with pytest.raises(RunNotFound):
            runs.of_event(uid)
        costs.append(sorted(commands.names))
    assert costs[0] == costs[1]


# -- the stream of raw batches ---------------------------------------------------------------


def read_all(recorder: Recorder, run: str) -> list[int]:
    events = Events(readable(recorder, run))
    batches = events.stream_batches([descriptor_of(recorder, run)])
    return [event["seq_num"] for batch in batches for event in decode_all(batch)]


def test_a_reader_that_keeps_up_costs_one_cursor(
    recorder: Recorder, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repositories, "BATCH_EVENTS", 10)
    run = recorder.run(events=35)
    events = Events(readable(recorder, run))
    commands.sent.clear()
    assert sum(1 for _ in events.stream_batches([descriptor_of(recorder, run)])) == 4
    on_events = [e.command_name for e in commands.sent if "event" in e.command.values()]
    assert on_events.count("find") == 1


@pytest.mark.parametrize("together", [1, 4, 35])
def test_a_slow_reader_holds_no_cursor_and_misses_nothing(
    together: int, recorder: Recorder, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of equal times, too, also where they are more than fit into a batch."""
    monkeypatch.setattr(repositories, "BATCH_EVENTS", 10)
    monkeypatch.setattr(repositories, "PATIENCE_SECONDS", -1.0)
    run = recorder.run(events=0)
    descriptor = descriptor_of(recorder, run)
    for n in range(35):
        event = {"uid": f"e{n}", "descriptor": descriptor, "seq_num": n}
        recorder.insert("csx", "event", event | {"time": EPOCH + n // together})
    commands.sent.clear()
    assert read_all(recorder, run) == list(range(35))
    kept_open = [event.command for event in commands.sent if event.command_name == "getMore"]
    assert kept_open == []


MISSING = object()
ODD: list[Any] = [None, math.nan, [5.0], [], "soon", True, {"a": 1}, Decimal128("1"), MISSING]
TIMES = st.lists(
    st.one_of(st.integers(0, 3).map(lambda n: EPOCH + n), st.sampled_from(ODD)), max_size=14
)


@pytest.mark.parametrize("patience", [-1.0, 60.0], ids=["slow", "quick"])
@hypothesis_settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(times=TIMES)
def test_every_reader_gets_every_event_once_whatever_its_time(
    patience: float,
    times: list[Any],
    acting_as: Actor,
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a stream, at whatever pace, and page by page in both directions."""
    monkeypatch.setattr(repositories, "BATCH_EVENTS", 4)
    monkeypatch.setattr(repositories, "PATIENCE_SECONDS", patience)
    run = recorder.run(events=0)
    descriptor = descriptor_of(recorder, run)
    for n, time in enumerate(times):
        event = {"uid": f"{run}-{n}", "descriptor": descriptor, "seq_num": n, "data": {}}
        recorder.insert("csx", "event", event if time is MISSING else event | {"time": time})
    wanted = list(range(len(times)))
    assert sorted(read_all(recorder, run)) == wanted
    alice = acting_as("alice")
    forwards = pages(alice, f"{URL}?descriptor={descriptor}&page_size=3")
    numbers = [[event["seq_num"] for event in page] for page in forwards]
    assert sorted(chain(*numbers)) == wanted
    last = alice.get(f"{URL}?descriptor={descriptor}&page_size=3").json()
    while last["next"]:
        last = alice.get(last["next"]).json()
    backwards = pages(alice, last["previous"], "previous")
    assert [[event["seq_num"] for event in page] for page in backwards] == numbers[-2::-1]


# -- external fields -------------------------------------------------------------------------

FRAMES = np.arange(5 * 4 * 6, dtype=np.uint16).reshape(5, 4, 6)


def run_with_frames(recorder: Recorder, folder: Path, **resource: Any) -> str:
    """The descriptor of five events whose field img, 4x6 uint16, is in an HDF5 file."""
    with h5py.File(folder / "frames.h5", "w") as file:
        file.create_dataset("/entry/data/data", data=FRAMES, chunks=(1, 4, 6))
    run = recorder.run(events=0)
    image = {"dtype": "array", "shape": [4, 6], "external": "FILESTORE:", "source": "x"}
    number = {"dtype": "number", "shape": [], "source": "x"}
    descriptor = recorder.descriptor(run, name="frames", data_keys={"img": image, "det": number})
    document = {
        "uid": f"res-{run}",
        "spec": "AD_HDF5",
        "root": "/facility/data",
        "resource_path": "frames.h5",
        "resource_kwargs": {"frame_per_point": 1},
        "path_semantics": "posix",
        "run_start": run,
    }
    recorder.insert("csx", "resource", document | resource)
    for n in range(5):
        datum = {"datum_id": f"{run}/{n}", "resource": document["uid"]}
        recorder.insert("csx", "datum", datum | {"datum_kwargs": {"point_number": n}})
        event = {
            "uid": f"{run}-{n}",
            "descriptor": descriptor,
            "seq_num": n + 1,
            "time": EPOCH + n,
            "data": {"img": f"{run}/{n}", "det": float(n)},
            "timestamps": {"img": EPOCH + n, "det": EPOCH + n},
            "filled": {"img": False},
        }
        recorder.insert("csx", "event", event)
    return descriptor


def test_external_fields_are_linked(
    acting_as: Actor, recorder: Recorder, data_folder: Path
) -> None:
    descriptor = run_with_frames(recorder, data_folder)
    event = acting_as("alice").get(URL, {"descriptor": descriptor}).json()["results"][0]
    assert event["data"]["img"].endswith("/0")
    url = f"http://testserver/api/v1/events/{event['uid']}/data/img/"
    assert event["_links"] == {"img": url}


def test_fill_puts_the_arrays_inline(
    acting_as: Actor, recorder: Recorder, data_folder: Path, commands: Commands
) -> None:
    descriptor = run_with_frames(recorder, data_folder)
    alice = acting_as("alice")
    commands.sent.clear()
    page = alice.get(URL, {"descriptor": descriptor, "fill": "true"}).json()["results"]
    assert [event["data"]["img"] for event in page] == FRAMES[:, None].tolist()
    assert page[0]["filled"]["img"].endswith("/0")
    # Datums and resources are asked for by page, not by event.
    assert len([c for c in commands.sent if c.command.get("find") in ("datum", "resource")]) <= 4
    packed = alice.get(URL, {"descriptor": descriptor, "fill": "true", "format": "msgpack"})
    image = msgpack.unpackb(packed.content)["results"][2]["data"]["img"]
    found = np.frombuffer(image["data"], image["dtype"]).reshape(image["shape"])
    assert (found == FRAMES[2]).all()


def test_more_than_the_inline_budget_names_the_array_url(
    acting_as: Actor, recorder: Recorder, data_folder: Path, settings: Settings
) -> None:
    settings.INLINE_BYTES = 4 * FRAMES[0].nbytes
    descriptor = run_with_frames(recorder, data_folder)
    alice = acting_as("alice")
    refused = alice.get(URL, {"descriptor": descriptor, "fill": "true"})
    assert refused.status_code == 413
    assert "/data/img/" in refused.json()["detail"]
    fewer = alice.get(URL, {"descriptor": descriptor, "fill": "true", "page_size": "4"})
    assert fewer.status_code == 200
    others = alice.get(URL, {"descriptor": descriptor, "fill": "true", "fields": "det"})
    assert others.status_code == 200


@pytest.mark.parametrize(
    ("resource", "status"),
    [
        ({"resource_path": "missing.h5"}, 410),
        ({"resource_path": "../../secret.h5"}, 410),
        ({"spec": "UNHEARD_OF"}, 501),
        ({"run_start": "another-run"}, 410),
    ],
)
def test_files_that_cannot_be_read_are_told_at_once_and_without_path(
    resource: Doc, status: int, acting_as: Actor, recorder: Recorder, data_folder: Path
) -> None:
    """Abuse case 10: also a datum of another run's resource is refused."""
    descriptor = run_with_frames(recorder, data_folder, **resource)
    alice = acting_as("alice")
    # What else the events hold is served, and what is left out of it is named …
    response = alice.get(URL, {"descriptor": descriptor, "fill": "true"})
    assert response.status_code == 200
    first = response.json()["results"][0]
    assert (first["data"]["det"], first["data"]["img"][-2:]) == (0.0, "/0")
    assert response["Warning"].startswith('199 - "left out: img: ')
    # … and where nothing is left, that is the answer.
    alone = alice.get(URL, {"descriptor": descriptor, "fill": "true", "fields": "img"})
    assert alone.status_code == status
    for answer in (response, alone):
        told = f"{answer.content.decode()} {answer.get('Warning')}"
        assert str(data_folder) not in told
        assert "secret" not in told


def test_data_recorded_outside_of_the_database_cannot_be_filled(
    acting_as: Actor, recorder: Recorder
) -> None:
    run = recorder.run(events=0)
    streamed = {"dtype": "array", "shape": [4, 6], "external": "STREAM:", "source": "x"}
    number = {"dtype": "number", "shape": [], "source": "x"}
    keys = {"img": streamed, "det": number}
    descriptor = recorder.descriptor(run, name="frames", data_keys=keys)
    alice = acting_as("alice")
    answer = alice.get(URL, {"descriptor": descriptor, "fill": "true"})
    assert answer.status_code == 200
    assert "recorded outside this database" in answer["Warning"]
    narrowed = {"descriptor": descriptor, "fill": "true", "fields": "img"}
    assert alice.get(URL, narrowed).status_code == 501
    without = alice.get(URL, narrowed | {"fields": "det"})
    assert (without.status_code, without.get("Warning")) == (200, None)


def test_old_resources_without_uid_and_run_are_found_by_their_id(
    recorder: Recorder, acting_as: Actor, data_folder: Path
) -> None:
    descriptor = run_with_frames(recorder, data_folder)
    assets = database(recorder.catalogs["csx"].assets)
    stored = assets.resource.find_one({})
    assert stored is not None
    assets.resource.update_one({}, {"$unset": {"uid": "", "run_start": ""}})
    assets.datum.update_many({}, {"$set": {"resource": stored["_id"]}})
    response = acting_as("alice").get(URL, {"descriptor": descriptor, "fill": "true"})
    assert response.json()["results"][4]["data"]["img"] == FRAMES[4:].tolist()
