"""The page of one run: its neighbours, its sentence, what people wrote, and code to copy."""

import math
import re
import subprocess
from typing import Any

import pytest

from headers.catalogs import Catalog
from headers.highlights import highlights
from headers.repositories import Run
from headers.sentences import lasting, sentence
from headers.snippets import snippets
from tests.conftest import People
from tests.documents import EPOCH, Recorder
from tests.headers.test_pages import browser_of, text_of

LINK = re.compile(r'rel="(prev|next)" href="/runs/([^/]+)/"')
DAY = "on 15 June 2025 at 11:06"
HOSTILE = '"; import os; os.system("x"); "'


def around(people: People, actor: str, uid: str, **query: str) -> dict[str, str]:
    page = text_of(browser_of(people, actor), f"/runs/{uid}/neighbours/", **query)
    return dict(LINK.findall(page))


# -- Neighbours --------------------------------------------------------------------------------


def test_the_neighbours_are_those_before_and_after_in_time(
    people: People, recorder: Recorder
) -> None:
    first, middle, last = (recorder.run("310000") for _ in range(3))
    assert around(people, "alice", middle) == {"prev": first, "next": last}
    assert around(people, "alice", first) == {"next": middle}
    assert around(people, "alice", last) == {"prev": middle}


def test_the_neighbours_are_of_the_list_that_is_read(people: People, recorder: Recorder) -> None:
    before = recorder.run("310000", plan_name="count", scan_id=9)
    near = recorder.run("310000", "hxn")
    run = recorder.run("310000", plan_name="count", scan_id=5)
    recorder.run("310000")
    after = recorder.run("310000", plan_name="count", scan_id=7)
    assert around(people, "alice", run)["prev"] == near
    assert around(people, "alice", run, catalog="csx")["prev"] == before
    counts = {"prev": before, "next": after}
    assert around(people, "alice", run, plan_name="count") == counts
    assert around(people, "alice", run, plan_name="count", ordering="time") == counts
    assert around(people, "alice", run, query='{"plan_name": "count"}') == counts
    by_number = around(people, "alice", run, plan_name="count", ordering="-scan_id")
    assert by_number == {"next": after}


def test_abuse_7_and_9_no_neighbour_that_one_may_not_read(
    people: People, recorder: Recorder
) -> None:
    first = recorder.run("310000")
    hidden = recorder.run("310001")
    last = recorder.run("310000")
    assert around(people, "alice", last) == {"prev": first}
    assert around(people, "sue", last) == {"prev": hidden}
    page = text_of(browser_of(people, "alice"), f"/runs/{last}/neighbours/")
    assert hidden[:8] not in page


def test_runs_of_one_moment_are_walked_without_loss(people: People, recorder: Recorder) -> None:
    uids = [recorder.run("310000", time=EPOCH) for _ in range(4)]
    ends = [uid for uid in uids if "prev" not in around(people, "alice", uid)]
    walked = ends
    while following := around(people, "alice", walked[-1]).get("next"):
        walked.append(following)
    assert sorted(walked) == sorted(uids)


@pytest.mark.parametrize("query", [{"unknown": "1"}, {"ordering": "best"}, {"query": "{"}])
def test_a_list_that_makes_no_sense_is_refused(
    query: dict[str, str], people: People, recorder: Recorder
) -> None:
    uid = recorder.run("310000")
    answer = browser_of(people, "alice").get(f"/runs/{uid}/neighbours/", query)
    assert answer.status_code == 400


@pytest.mark.parametrize("time", ["noon", None, math.nan, math.inf])
def test_a_run_without_time_has_no_neighbours(
    time: Any, people: People, recorder: Recorder
) -> None:
    recorder.run("310000")
    recorder.insert("csx", "run_start", {"uid": "odd-one", "time": time})
    assert around(people, "dan", "odd-one") == {}


# -- A sentence --------------------------------------------------------------------------------

AXIS = "Axis(prefix='', name='{}', read_attrs=['readback'])".format


def run_of(catalog: Catalog, stop: dict[str, Any] | None = None, **start: Any) -> Run:
    keys = {"theta": {"units": "deg"}, "odd": {"units": 5}}
    return Run(
        catalog=catalog,
        start={"uid": "u", "time": EPOCH, **start},
        stop=stop,
        proposal=None,
        document=1,
        descriptors=[{"name": "primary", "data_keys": keys}],
    )


@pytest.mark.parametrize(
    ("start", "told"),
    [
        (
            {
                "plan_name": "scan",
                "motors": ["theta"],
                "num_points": 31,
                "plan_pattern_args": {"args": [AXIS("theta"), 0, 10], "num": 31},
            },
            "A scan of theta from 0 to 10 deg in 31 points",
        ),
        (
            {
                "plan_name": "grid_scan",
                "plan_pattern": "outer_product",
                "motors": ["sy", "sx"],
                "num_points": 315,
                "plan_args": {"args": [AXIS("sy"), -0.8, 0.8, 15, AXIS("sx"), -1.2, 1.2, 21, True]},
            },
            "A grid scan of sy from -0.8 to 0.8 and sx from -1.2 to 1.2 in 15 × 21 points",
        ),
        (
            {"plan_name": "list_scan", "plan_args": {"args": [AXIS("theta"), [3, 1, 2.5]]}},
            "A list scan of theta from 3 to 2.5 deg",
        ),
        (
            {"plan_name": "count", "detectors": ["fccd"], "num_points": 1},
            "A count of fccd in 1 point",
        ),
        (
            {"plan_name": "adaptive_scan", "motors": ["a", "b", "c", "d", "e"]},
            "An adaptive scan of a, b, c and 2 more",
        ),
        ({}, "A run"),
        ({"plan_name": ["x"], "motors": {"$ne": 1}, "plan_args": {"args": "x"}}, "A run"),
        (
            {"plan_name": "scan", "motors": ["odd"], "plan_args": {"args": [[1, 2], 3]}},
            "A scan of odd",
        ),
    ],
)
def test_what_was_scanned_is_said_in_one_sentence(
    start: dict[str, Any], told: str, catalogs: dict[str, Catalog]
) -> None:
    run = run_of(catalogs["csx"], {"time": EPOCH + 300, "exit_status": "success"}, **start)
    assert sentence(run) == f"{told}, 5 minutes, {DAY}."


def test_the_sentence_says_how_a_run_ended(catalogs: dict[str, Catalog]) -> None:
    csx = catalogs["csx"]
    stop = {"time": EPOCH + 2.25, "exit_status": "fail"}
    assert sentence(run_of(csx)) == f"A run, not ended yet, {DAY}."
    assert sentence(run_of(csx, stop)) == f"A run, failed after 2.2 seconds, {DAY}."
    assert sentence(run_of(csx, stop | {"exit_status": "abort", "time": "x"})) == f"A run, {DAY}."
    assert sentence(run_of(csx, stop, time="noon")) == "A run."


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1, "1 second"), (28.4, "28 seconds"), (300, "5 minutes"), (7500, "2 hours 5 minutes"),
     (3600 * 3, "3 hours")],
)  # fmt: skip
def test_time_spans_in_words(seconds: float, words: str) -> None:
    assert lasting(seconds) == words


# -- What people wrote -------------------------------------------------------------------------


def test_what_people_wrote_comes_first() -> None:
    start = {
        "uid": "x",
        "versions": {"bluesky": "1"},
        "magnet_T": 1.5,
        "sample": {"layers": 120, "name": "gold", "deep": {"er": 1}},
        "purpose": "a\u202etest",
        "detectors": ["d1", "d2", {"no": 1}],
        "empty": "",
        "dark": True,
    }
    assert highlights(start) == [
        ("purpose", "a‹U+202E›test"),
        ("sample", "gold, layers: 120"),
        ("detectors", "d1, d2"),
        ("magnet T", "1.5"),
        ("dark", "yes"),
    ]


def test_of_very_much_metadata_only_some_is_highlighted() -> None:
    many = highlights({f"k{i}": "x" * 1000 for i in range(1000)})
    assert len(many) == 24
    assert max(len(text) for _, text in many) == 300


def test_abuse_23_what_people_wrote_is_inert(people: People, recorder: Recorder) -> None:
    markup = "<script>alert(1)</script>"
    fields: dict[str, Any] = {"purpose": markup, markup: markup, "motors": [markup]}
    uid = recorder.run("310000", **fields)
    recorder.run("310000", plan_name=markup)
    for address in (f"/runs/{uid}/", f"/runs/{uid}/neighbours/"):
        page = text_of(browser_of(people, "alice"), address)
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert" in page


# -- Code to copy ------------------------------------------------------------------------------


def code_of(catalog: Catalog, stream: str, field: str) -> dict[str, str]:
    shown = {
        "name": stream,
        "event_count": 3,
        "file_name": "s",
        "url": "/api/v1/headers/u/streams/s/",
        "arrays": [{"name": field, "kind": "image"}],
    }
    return snippets("https://broker", "/api/v1/headers/u/", run_of(catalog), [shown])


def test_the_code_reads_tables_frames_and_files_and_stops_at_errors(
    catalogs: dict[str, Catalog],
) -> None:
    code = code_of(catalogs["csx"], "primary", "fccd_image")
    for name in ("python", "tiled"):
        compile(code[name], name, "exec")
    assert 'run.data("fccd_image", "primary")[0]' in code["python"]
    assert 'run.export("run.h5")' in code["python"]
    assert '["primary"]["data"]["fccd_image"][0]' in code["tiled"]
    assert code["curl"].count("curl ") == code["curl"].count("--fail") == 4
    assert subprocess.run(["bash", "-n", "-c", code["curl"]], check=False).returncode == 0


def test_abuse_23_names_from_documents_become_no_code(catalogs: dict[str, Catalog]) -> None:
    code = code_of(catalogs["csx"], HOSTILE, HOSTILE)
    assert not any("os.system" in text for text in code.values())
    compile(code["python"], "python", "exec")


def test_the_code_for_a_run_without_data_still_reads_what_there_is(
    catalogs: dict[str, Catalog],
) -> None:
    code = snippets("https://broker", "/api/v1/headers/u/", run_of(catalogs["csx"]), [])
    compile(code["python"], "python", "exec")
    assert "run.table" not in code["python"]
