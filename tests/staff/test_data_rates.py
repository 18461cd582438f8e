"""manage.py data_rates: the study agrees with what was recorded, and its reports are safe."""

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from django.core.management import CommandError, call_command

from policies.rule.access import Access
from staff.rate_reports import as_html, number
from staff.rates import Spread, study
from tests.conftest import Commands
from tests.documents import EPOCH, Doc, Recorder
from tests.events.test_events_list import run_with_frames

pytestmark = pytest.mark.django_db

DAY = 86_400.0
ADMIN = Access(data_admin=True)


def report(*options: str) -> str:
    out = StringIO()
    call_command("data_rates", *options, stdout=out)
    return out.getvalue()


def studied(*options: str) -> list[Doc]:
    found: list[Doc] = json.loads(report("--format", "json", *options))
    return found


def test_runs_per_day_are_counted_in_the_catalogs_time_zone(recorder: Recorder) -> None:
    evening = 1_750_042_800.0  # 2025-06-15 23:00 in New York, the 16th in UTC
    for time in (evening, evening + 60, evening + DAY):
        recorder.run(time=time)
    (csx,) = studied("--catalog", "csx")
    assert csx["days"] == {"2025-06-15": 2, "2025-06-16": 1}
    assert csx["runs_per_day"]["max"] == 2


def test_rates_are_events_over_the_time_a_run_was_on(recorder: Recorder) -> None:
    for events in (10, 20, 30, 40, 50):
        recorder.run(events=events)
    (csx,) = studied("--catalog", "csx")
    (primary,) = csx["streams"]
    assert primary["runs"] == 5
    assert primary["events_per_run"]["median"] == 30
    assert primary["events_per_run"]["max"] == 50
    # Runs of the recorder last ten seconds; an event has two numbers.
    assert primary["event_rate"]["median"] == pytest.approx(3.0)
    assert primary["inline_bytes_per_event"]["max"] == 16
    assert primary["external_bytes_per_event"]["max"] == 0
    assert primary["bytes_per_second"]["max"] == pytest.approx(5 * 16)


def test_open_runs_are_counted_and_have_no_rate(recorder: Recorder) -> None:
    recorder.run(events=7, exit_status=None)
    (csx,) = studied("--catalog", "csx")
    (primary,) = csx["streams"]
    assert primary["events_per_run"]["max"] == 7
    assert primary["event_rate"] == {
        "count": 0,
        "median": None,
        "p95": None,
        "max": None,
        "deciles": [],
    }


def test_external_bytes_and_the_event_sources_they_call_for(
    recorder: Recorder, data_folder: Path
) -> None:
    run_with_frames(recorder, data_folder)
    # A newer run of the same stream without the detector does not hide it.
    keys = {"det": {"dtype": "number", "shape": [], "source": "x"}}
    recorder.descriptor(recorder.run(events=0), name="frames", data_keys=keys)
    (csx,) = studied("--catalog", "csx")
    frames = next(stream for stream in csx["streams"] if stream["name"] == "frames")
    assert frames["external_bytes_per_event"]["max"] == 4 * 6 * 8
    sources = {tuple(s["fields"]): (s["source"], s["route"]) for s in frames["event_sources"]}
    assert sources == {("img",): ("file", "array"), ("det",): ("scalar", "inline")}


def test_long_runs_call_for_the_table(recorder: Recorder) -> None:
    run = recorder.run(events=0, exit_status=None)
    recorder.stop(run, time=EPOCH + 100, num_events={"primary": 50_000})
    (csx,) = studied("--catalog", "csx")
    assert {source["route"] for source in csx["streams"][0]["event_sources"]} == {"table"}
    assert "table" in csx["streams"][0]["advice"]


def test_since_leaves_older_runs_out(recorder: Recorder) -> None:
    recorder.run(time=EPOCH - 400 * DAY)
    recorder.run()
    (csx,) = studied("--catalog", "csx", "--since", "2025-06-01")
    assert csx["runs"] == 1


def test_a_large_catalog_is_sampled_in_few_commands(
    recorder: Recorder, commands: Commands, index_stands: Callable[[], None]
) -> None:
    for _ in range(30):
        recorder.run(events=1)
    index_stands()
    commands.sent.clear()
    found = study(recorder.catalogs["csx"], ADMIN, max_runs=20, sample=10)
    assert (found.runs, found.sampled, found.truncated) == (20, 10, True)
    assert commands.names.count("find") == 3
    assert found == study(recorder.catalogs["csx"], ADMIN, max_runs=20, sample=10)


def test_a_study_sees_what_its_access_allows(recorder: Recorder) -> None:
    """Abuse case 7."""
    recorder.run("310000")
    recorder.run("310001")
    access = Access(proposals=frozenset({"310000"}))
    assert study(recorder.catalogs["csx"], access).runs == 1


def test_the_page_is_well_formed_has_no_script_and_escapes_names(recorder: Recorder) -> None:
    """Abuse case 23."""
    run = recorder.run(events=3)
    recorder.events(recorder.descriptor(run, name="<script>alert(1)</script>"), 2)
    page = report("--format", "html")
    assert "<script" not in page
    root = ElementTree.fromstring(
        page.replace("<!doctype html>", "").replace('charset="utf-8">', 'charset="utf-8"/>')
    )
    assert root.findall(".//{*}svg")
    assert "http" not in page


def test_an_empty_catalog_has_a_report_in_every_format(recorder: Recorder) -> None:
    assert "csx: 0 runs" in report()
    assert as_html([study(recorder.catalogs["csx"], ADMIN)])
    assert [found["runs"] for found in studied()] == [0, 0]


def test_the_table_tells_each_measure(recorder: Recorder) -> None:
    recorder.run(events=4)
    table = report("--catalog", "csx")
    for word in ("runs/day", "events/run", "event rate", "inline/event", "data rate", "p95"):
        assert word in table


def test_a_wrong_date_is_told() -> None:
    with pytest.raises(CommandError, match="--since"):
        call_command("data_rates", "--since", "yesterday")


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (8e6, "8 MB"), (1e18, "1e+06 TB")],
)
def test_numbers_are_written_for_people(value: float | None, text: str) -> None:
    assert number(value, "B") == text


def test_a_spread_leaves_out_what_is_not_finite() -> None:
    assert Spread.of([1.0, float("nan"), float("inf"), 3.0]).max == 3.0
