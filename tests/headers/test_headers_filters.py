"""GET headers/: each filter selects what its words say, alone and with the others."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from headers.selection import moment
from policies.models import Proposal, RunOverride
from tests.conftest import Actor, Commands
from tests.documents import EPOCH, Recorder

URL = "/api/v1/headers/"
NEW_YORK = ZoneInfo("America/New_York")


def found(acting_as: Actor, actor: str = "dan", **parameters: Any) -> set[str]:
    """The titles of the runs that the filters select."""
    response = acting_as(actor).get(URL, parameters)
    assert response.status_code == 200, response.content
    return {run["start"]["title"] for run in response.json()["results"]}


def asked(acting_as: Actor, query: Any, actor: str = "dan") -> set[str]:
    return found(acting_as, actor, query=json.dumps(query))


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


# -- one filter at a time ------------------


def test_by_catalog_beamline_plan_scan_id_and_beginning_of_the_uid(
    acting_as: Actor, recorder: Recorder
) -> None:
    recorder.run(title="a", plan_name="count", scan_id=7)
    recorder.run(title="b", catalog="hxn", scan_id=7, uid="abcde-fgh")
    recorder.run(title="c", uid="abcdf-fgh")
    assert found(acting_as, catalog="csx") == {"a", "c"}
    assert found(acting_as, beamline="hxn") == {"b"}
    assert found(acting_as, catalog="csx", beamline="hxn") == set()
    assert found(acting_as, plan_name="count") == {"a"}
    assert found(acting_as, plan_name="coun") == set()
    assert found(acting_as, scan_id=7) == {"a", "b"}
    assert found(acting_as, scan_id=7, plan_name="scan") == {"b"}
    assert found(acting_as, uid="abcde") == {"b"}
    assert found(acting_as, uid="abcd?") == set()
    assert found(acting_as, uid=".....") == set()


def test_by_proposal_however_the_catalog_names_it(acting_as: Actor, recorder: Recorder) -> None:
    recorder.run("310000", title="session")
    recorder.run("310000", "hxn", title="number")
    recorder.run("310001", title="other")
    recorder.run(None, title="none")
    assert found(acting_as, proposal="310000") == {"session", "number"}
    assert found(acting_as, proposal="pass-310000") == set()
    assert found(acting_as, "alice", proposal="310001") == set()


def test_by_proposal_counts_a_run_where_it_was_moved_to(
    acting_as: Actor, recorder: Recorder
) -> None:
    uid = recorder.run("310000", title="moved")
    recorder.run("310000", title="stayed")
    proposal = Proposal.objects.get(proposal_id="310001")
    RunOverride.objects.create(catalog="csx", run_uid=uid, proposal=proposal, reason="mistake")
    assert found(acting_as, proposal="310000") == {"stayed"}
    assert found(acting_as, proposal="310001") == {"moved"}
    assert found(acting_as, "bob", proposal="310001") == {"moved"}
    assert found(acting_as, "alice") == {"stayed"}


def test_an_override_of_another_catalog_moves_nothing_here(
    acting_as: Actor, recorder: Recorder
) -> None:
    uid = recorder.run("310000", title="mine")
    proposal = Proposal.objects.get(proposal_id="310001")
    RunOverride.objects.create(catalog="hxn", run_uid=uid, proposal=proposal, reason="mistake")
    assert found(acting_as, "alice") == {"mine"}
    assert found(acting_as, "bob") == set()


def test_by_how_the_run_ended(acting_as: Actor, recorder: Recorder) -> None:
    recorder.run(title="good")
    recorder.run(title="bad", exit_status="fail")
    recorder.run(title="stopped", exit_status="abort")
    recorder.run(title="open", exit_status=None)
    for status, title in (
        ("success", "good"),
        ("fail", "bad"),
        ("abort", "stopped"),
        ("open", "open"),
    ):
        assert found(acting_as, exit_status=status) == {title}
        count = acting_as("dan").get(f"{URL}count/", {"exit_status": status}).json()
        assert count == {"count": 1}


def test_pages_of_a_joined_filter_cost_two_commands_and_miss_nothing(
    acting_as: Actor, recorder: Recorder, commands: Commands, index_stands: Callable[[], None]
) -> None:
    for number in range(6):
        recorder.run(title=str(number), exit_status=None if number % 2 else "success", events=0)
    dan = acting_as("dan")
    index_stands()
    commands.sent.clear()
    query = json.dumps({"$not": {"stop.exit_status": "success"}})
    page = dan.get(URL, {"catalog": "csx", "query": query, "page_size": "2"}).json()
    assert commands.names == ["aggregate", "find"] * 2
    assert [run["start"]["title"] for run in page["results"]] == ["5", "3"]
    page = dan.get(page["next"]).json()
    assert [run["start"]["title"] for run in page["results"]] == ["1"]
    assert page["next"] is None


# -- times ------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026", at("2026-01-01T00:00-05:00")),
        ("2026-07", at("2026-07-01T00:00-04:00")),
        ("2026-07-04", at("2026-07-04T00:00-04:00")),
        ("20260704", at("2026-07-04T00:00-04:00")),
        ("20260704T1230", at("2026-07-04T12:30-04:00")),
        ("1751900000", 1_751_900_000.0),
        ("20261399", 20_261_399.0),
        ("2026-07-04T12:30", at("2026-07-04T12:30-04:00")),
        ("2026-07-04 12:30", at("2026-07-04T12:30-04:00")),
        ("2026-07-04T12:30:00Z", at("2026-07-04T12:30+00:00")),
        ("2026-07-04T12:30:00.25+02:00", at("2026-07-04T12:30:00.25+02:00")),
        ("1750000000", 1750000000.0),
        ("1750000000.5", 1750000000.5),
        ("1.75e9", 1.75e9),
        ("-1", -1.0),
        ("0", 0.0),
    ],
)
def test_times_are_read_in_the_time_zone_of_the_catalog(text: str, expected: float) -> None:
    assert moment(text, NEW_YORK) == expected


@pytest.mark.parametrize(
    "text",
    [
        *["", " ", "today", "2026-", "2026-7-4", "2026-13", "2026-02-30", "0000", "٢٠٢٦"],
        *[
            "nan",
            "inf",
            "1e999",
            "2026-07-04T25:00",
            "2026-07-04T12:30+99:00",
            "2026-07-04;",
            "20260231",
        ],
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time; use 2026"):
        moment(text, NEW_YORK)


def test_since_is_inclusive_and_until_is_not(acting_as: Actor, recorder: Recorder) -> None:
    for title, when in (("old", EPOCH), ("mid", EPOCH + 1), ("new", EPOCH + 2)):
        recorder.run(title=title, time=when)
    assert found(acting_as, since=EPOCH + 1) == {"mid", "new"}
    assert found(acting_as, until=EPOCH + 1) == {"old"}
    assert found(acting_as, since=EPOCH + 1, until=EPOCH + 2) == {"mid"}
    assert found(acting_as, since=EPOCH + 2, until=EPOCH) == set()
    count = acting_as("dan").get(f"{URL}count/", {"since": EPOCH + 1, "until": EPOCH + 2})
    assert count.json() == {"count": 1}


def test_a_year_ends_where_the_next_begins_at_the_beamline(
    acting_as: Actor, recorder: Recorder
) -> None:
    recorder.run(title="last", time=at("2025-12-31T23:59:59-05:00"))
    recorder.run(title="first", time=at("2026-01-01T00:00:00-05:00"))
    assert found(acting_as, since="2026") == {"first"}
    assert found(acting_as, since="2025", until="2026") == {"last"}
    assert found(acting_as, since="2025-12", until="2025-12-31T23:59:59") == set()


# -- the query grammar over HTTP -------------------------------------------------------------------


@pytest.fixture
def samples(recorder: Recorder) -> Recorder:
    recorder.run(title="gold", sample={"name": "gold"}, num_points=10, hints=[{"gap": 1}])
    recorder.run(title="iron", sample={"name": "iron"}, num_points=20.0, exit_status="fail")
    bare = recorder.run(title="bare", sample="gold", exit_status=None)
    recorder.descriptor(bare, name="baseline", data_keys={"temperature": {}})
    return recorder


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, {"gold", "iron", "bare"}),
        ({"sample.name": "gold"}, {"gold"}),
        ({"sample": "gold"}, {"bare"}),
        ({"num_points": {"$gte": 10, "$lt": 20}}, {"gold"}),
        ({"num_points": 20}, {"iron"}),
        ({"num_points": {"$exists": False}}, {"bare"}),
        ({"num_points": None}, {"bare"}),
        ({"sample.name": {"$in": ["iron", "tin"]}}, {"iron"}),
        ({"sample.name": {"$nin": ["iron"]}}, {"gold", "bare"}),
        ({"sample.name": {"$regex": "^g.ld$"}}, {"gold"}),
        ({"hints.gap": 1}, {"gold"}),
        ({"$or": [{"title": "gold"}, {"title": "iron"}]}, {"gold", "iron"}),
        ({"$and": [{"title": "gold"}, {"title": "iron"}]}, set()),
        ({"$not": {"title": "gold"}}, {"iron", "bare"}),
        ({"stop.exit_status": "fail"}, {"iron"}),
        ({"stop.exit_status": {"$ne": "fail"}}, {"gold", "bare"}),
        ({"stop.exit_status": {"$exists": False}}, {"bare"}),
        ({"stop.num_events.primary": {"$gt": 2}}, {"gold", "iron"}),
        ({"descriptor.name": "baseline"}, {"bare"}),
        ({"descriptor.data_keys.temperature": {"$exists": True}}, {"bare"}),
        ({"descriptor.name": "baseline", "stop.uid": {"$exists": False}}, {"bare"}),
        ({"$or": [{"stop.exit_status": "fail"}, {"title": "gold"}]}, {"gold", "iron"}),
        ({"$not": {"descriptor.name": "baseline"}}, {"gold", "iron"}),
    ],
)
def test_a_query_selects_over_start_stop_and_descriptors(
    query: Any, expected: set[str], acting_as: Actor, samples: Recorder
) -> None:
    assert asked(acting_as, query) == expected
    count = acting_as("dan").get(f"{URL}count/", {"query": json.dumps(query)}).json()
    assert count == {"count": len(expected)}


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ('{"$where": "sleep(9999)"}', "$where"),
        ('{"a": {"$ne": {"$gt": ""}}}', "a.$ne"),
        ('{"$or": [{"plan_name": {"$gtt": 1}}]}', "$or[0].plan_name.$gtt"),
        ('{"uid": {"$regex": "(a+)+$"}}', "uid.$regex"),
        ('{"uid": {"$regex": "' + "x" * 10_000 + '"}}', "uid.$regex"),
        ('{"_id": {"$exists": true}}', "_id"),
        ('{"stop._id": 1}', "stop._id"),
        ('{"a": "\\ud800"}', "a"),
        ("[]", ""),
        ("nonsense", ""),
        ("[" * 30_000, ""),
        ('{"a": ' + "9" * 5000 + "}", ""),
    ],
)
def test_a_bad_query_names_the_path_at_fault(
    query: str, path: str, acting_as: Actor, recorder: Recorder, commands: Commands
) -> None:
    """ABUSE-CASES 1, 2, 3 and 4."""
    recorder.run()
    dan = acting_as("dan")
    commands.sent.clear()
    response = dan.get(URL, {"query": query})
    assert response.status_code == 400
    assert response.json()["path"] == path
    assert commands.sent == []


def test_the_server_answers_on_after_an_unanchored_pattern_over_everything(
    acting_as: Actor, recorder: Recorder
) -> None:
    """ABUSE-CASES 4."""
    recorder.run(title="x", comment="a" * 200)
    query = json.dumps({"comment": {"$regex": "a.*b"}})
    assert acting_as("dan").get(URL, {"query": query}).json()["results"] == []
    assert acting_as("dan").get(URL).status_code == 200


def test_a_query_over_the_time_limit_is_a_503(
    acting_as: Actor, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ABUSE-CASES 4."""
    from pymongo.errors import ExecutionTimeout

    from headers.repositories import Runs

    def slow(*args: Any, **kwargs: Any) -> Any:
        raise ExecutionTimeout("operation exceeded time limit", 50)

    recorder.run()
    monkeypatch.setattr(Runs, "_starts", slow)
    response = acting_as("dan").get(URL, {"catalog": "csx"})
    assert response.status_code == 503
    assert int(response["Retry-After"]) > 0


def test_every_command_carries_the_time_limit(
    acting_as: Actor, recorder: Recorder, commands: Commands
) -> None:
    """ABUSE-CASES 4."""
    uid = recorder.run()
    dan = acting_as("dan")
    commands.sent.clear()
    dan.get(URL, {"include": "descriptors"})
    dan.get(URL, {"exit_status": "open"})
    dan.get(f"{URL}{uid}/")
    dan.get(f"{URL}{uid[:8]}/")
    dan.get(f"{URL}-1/")
    dan.get(f"{URL}facets/", {"fields": "plan_name,proposal"})
    dan.get(f"{URL}count/")
    reads = [e for e in commands.sent if e.command_name in ("find", "aggregate", "count")]
    assert reads
    assert all(event.command["maxTimeMS"] == 10_000 for event in reads)
