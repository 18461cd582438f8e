"""Runs that begin and end, as server-sent events."""

import time
from dataclasses import replace
from typing import Any

import pytest
from pytest_django import Settings

from headers.catalogs import Catalog
from live import following
from policies.models import Membership
from tests.conftest import Actor
from tests.documents import EPOCH, Recorder
from tests.live.conftest import LiveServer


def told(recorder: Recorder, **fields: Any) -> str:
    """A run that begins now."""
    return recorder.run(exit_status=None, events=1, **fields)


def test_runs_are_told_of_when_they_begin_and_when_they_end(
    live: LiveServer, recorder: Recorder
) -> None:
    recorder.run()
    time.sleep(0.4)  # the index gets to know it
    events = live.get("headers/live/").events()
    uid = told(recorder)
    begin = next(events)
    assert begin.name == "run"
    assert begin.data["uid"] == begin.data["start"]["uid"] == uid
    assert begin.data["stop"] is None
    recorder.stop(uid)
    end = next(events)
    assert end.data["uid"] == uid
    assert end.data["stop"]["run_start"] == uid


def test_the_end_of_a_run_that_was_open_before_is_told(
    live: LiveServer, recorder: Recorder
) -> None:
    uid = told(recorder)
    events = live.get("headers/live/").events()
    recorder.stop(uid)
    assert next(events).data["stop"]["run_start"] == uid


def test_filters_select(live: LiveServer, recorder: Recorder) -> None:
    events = live.get("headers/live/?plan_name=count&catalog=csx").events()
    told(recorder)
    told(recorder, catalog="hxn", plan_name="count")
    uid = told(recorder, plan_name="count")
    assert next(events).data["uid"] == uid


def test_runs_of_all_catalogs_come_although_their_clocks_differ(
    live: LiveServer, recorder: Recorder
) -> None:
    events = live.get("headers/live/").events()
    one, two = told(recorder, catalog="hxn"), told(recorder)
    assert {next(events).data["uid"], next(events).data["uid"]} == {one, two}
    earlier = told(recorder, time=EPOCH - 1)
    assert next(events).data["uid"] == earlier


def test_who_comes_back_misses_nothing(live: LiveServer, recorder: Recorder) -> None:
    stream = live.get("headers/live/")
    assert stream._response.readline().startswith(b"retry:")
    stream._response.readline()
    id = stream._response.readline().decode().strip().removeprefix("id: ")
    live.opened.pop().close()
    first, second = told(recorder), told(recorder)
    events = live.get("headers/live/", Last_Event_ID=id).events()
    begins = [next(events), next(events)]
    assert [event.data["uid"] for event in begins] == [first, second]
    again = live.get("headers/live/", Last_Event_ID=begins[0].id).events()
    assert next(again).data["uid"] == second


def test_what_a_reader_may_not_read_is_not_told(live: LiveServer, recorder: Recorder) -> None:
    readers = {name: live.get("headers/live/", actor=name).events() for name in ("bob", "nobody")}
    told(recorder, proposal="310000")
    theirs = {"bob": told(recorder, proposal="310001")}
    theirs["nobody"] = told(recorder, proposal="312000")
    for name, events in readers.items():
        assert next(events).data["uid"] == theirs[name]


def test_with_other_rights_the_stream_ends_and_begins_anew(
    live: LiveServer, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "CHECKED_EVERY", 0.3)
    events = live.get("headers/live/").events()
    uid = told(recorder)
    assert next(events).data["uid"] == uid
    Membership.objects.filter(user=live.people.alice).delete()
    time.sleep(0.4)
    told(recorder)
    assert list(events) == []


def test_an_instance_that_serves_by_threads_is_asked_again_and_again(
    recorder: Recorder, acting_as: Actor
) -> None:
    client = acting_as("alice")
    refused = client.get("/api/v1/headers/live/")
    assert (refused.status_code, refused["Retry-After"]) == (503, "2")
    text = client.get("/api/v1/headers/live/?after=").content.decode()
    assert "event:" not in text
    id = text.partition("id: ")[2].strip()
    uid = told(recorder)
    text = client.get("/api/v1/headers/live/", {"after": id}).content.decode()
    assert uid in text
    assert text.count("event: run") == 1


@pytest.mark.parametrize("parameters", ["after=x", "plan=scan", "catalog=none", "query={"])
def test_wrong_parameters_are_told(live: LiveServer, recorder: Recorder, parameters: str) -> None:
    assert live.get(f"headers/live/?{parameters}").status == 400


@pytest.fixture
def third(catalogs: dict[str, Catalog], settings: Settings) -> Recorder:
    """Of three catalogs, the third of which is called tes."""
    hxn = catalogs["hxn"]
    tes = replace(hxn, name="tes", metadata=f"{hxn.metadata}_tes", assets=f"{hxn.assets}_tes")
    settings.CATALOGS = (*settings.CATALOGS, tes)
    return Recorder(catalogs | {"tes": tes})


def test_of_catalogs_with_few_or_none_among_the_newest_new_runs_are_told_and_no_old_ones(
    third: Recorder, live: LiveServer
) -> None:
    for at in range(3):
        third.run(catalog="hxn", time=EPOCH - 5000 - at)
        third.run(catalog="tes", time=EPOCH - 5000 - at)
    third.run(catalog="hxn", time=EPOCH + 30)
    for at in range(60):
        third.run(time=EPOCH + at)
    time.sleep(0.4)
    events = live.get("headers/live/").events()
    for at, catalog in enumerate(("csx", "tes", "hxn", "tes")):
        uid = told(third, catalog=catalog, time=EPOCH + 100 + at)
        assert next(events).data["uid"] == uid
