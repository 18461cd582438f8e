"""Runs that are watched while they are taken: what is shown grows, and nothing chosen is lost."""

import os
import time
import tomllib
import uuid
from pathlib import Path
from typing import Any

import h5py
from playwright.sync_api import Route, expect

from tests.browser.conftest import PHONE, ROOT, Record, Visit, Visitor

PLOT = "#stream-1 [data-plot]"
TABLE = "#stream-1 [data-table]"
SHOTS = ROOT / "var" / "screenshots"


class Taken:
    """A run that is being taken, point by point."""

    def __init__(self, record: Record, dimensions: list[str], points: int = 0) -> None:
        self._record = record
        self._dimensions = dimensions
        self.uid, self._descriptor = str(uuid.uuid4()), str(uuid.uuid4())
        self.count = 0
        start = {
            "uid": self.uid,
            "time": time.time(),
            "scan_id": 7,
            "plan_name": "scan",
            "num_points": 12,
            "hints": {"dimensions": [[[name], "primary"] for name in dimensions]},
        }
        record([{"collection": "run_start", "document": start}])
        self.describe("primary", [*dimensions, "det"])
        for at in range(points):
            self.point(at)

    def describe(self, name: str, fields: list[str], uid: str | None = None) -> str:
        number = {"dtype": "number", "shape": [], "source": "SIM"}
        descriptor = {
            "uid": uid or self._descriptor,
            "run_start": self.uid,
            "time": time.time(),
            "name": name,
            "data_keys": dict.fromkeys(fields, number),
            "hints": {"det": {"fields": ["det"]}},
        }
        self._record([{"collection": "event_descriptor", "document": descriptor}])
        return str(descriptor["uid"])

    def point(self, *places: float, descriptor: str | None = None) -> None:
        self.count += 1
        data = dict(zip(self._dimensions, places, strict=True)) | {"det": float(self.count**2)}
        event = {
            "uid": str(uuid.uuid4()),
            "descriptor": descriptor or self._descriptor,
            "seq_num": self.count if descriptor is None else 1,
            "time": time.time(),
            "data": data,
            "timestamps": dict.fromkeys(data, 1.0),
            "filled": {},
        }
        self._record([{"collection": "event", "document": event}])

    def stop(self) -> None:
        stop = {
            "uid": str(uuid.uuid4()),
            "run_start": self.uid,
            "time": time.time(),
            "exit_status": "success",
            "num_events": {"primary": self.count},
        }
        self._record([{"collection": "run_stop", "document": stop}])


def drawn(person: Visitor, points: int) -> Any:
    """What is plotted, once it has as many points."""
    has = f"""() => {{
      const place = document.querySelector('{PLOT}');
      const found = [place, ...place.querySelectorAll('*')].find(inside => inside.plotted)?.plotted;
      const values = found?.x ?? (found?.values && [...found.values].filter(v => !Number.isNaN(v)));
      return values?.length === {points};
    }}"""
    person.page.wait_for_function(has)
    return person.plotted(PLOT)


def followed(person: Visitor, run: Taken) -> None:
    person.open(f"/runs/{run.uid}/")
    expect(person.page.locator("#refreshed")).to_have_text("live")
    person.page.evaluate("window.mark = 'not reloaded'")


def test_a_plot_and_a_table_grow_and_keep_zoom_choices_and_folds(
    visit: Visit, record: Record
) -> None:
    alice, run = visit("alice"), Taken(record, ["motor"], points=5)
    followed(alice, run)
    drawn(alice, 5)
    page = alice.page
    page.locator(f"{TABLE} > summary").click()
    expect(page.locator(f"{TABLE} tbody tr")).to_have_count(5)
    page.locator(f"{TABLE} th button[data-name=det]").click()
    page.locator(f"{TABLE} th button[data-name=det]").click()  # the largest first
    page.locator(f"{PLOT} label", has_text="log scale").locator("input").check()
    box = page.locator(f"{PLOT} .u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 50, steps=4)
    page.mouse.up()
    for at in range(5, 9):
        run.point(float(at))
    assert drawn(alice, 9)["series"]["det"][-1] == 81
    zoomed = page.evaluate(ZOOMED)
    assert zoomed["min"] > 0.5
    assert zoomed["max"] < 4
    assert page.locator(f"{PLOT} label", has_text="log scale").locator("input").is_checked()
    expect(page.locator(f"{TABLE} tbody tr")).to_have_count(9)
    expect(page.locator(f"{TABLE} tbody tr").first).to_contain_text("81")
    expect(page.locator("#stream-1-title")).to_contain_text("9")
    expect(page.locator("[data-progress]")).to_contain_text("9 of 12 points")
    run.stop()
    expect(page.locator("#status")).to_have_text("complete")
    expect(page.locator("#progress")).to_have_count(0)
    expect(page.locator("[data-document=Stop]")).to_contain_text("success")
    assert page.evaluate("window.mark") == "not reloaded"
    assert page.locator(TABLE).evaluate("fold => fold.open")
    assert drawn(alice, 9)["series"]["det"][-1] == 81


ZOOMED = f"""() => {{
  const place = document.querySelector('{PLOT}');
  return place.zoomed;
}}"""


def test_a_map_grows(visit: Visit, record: Record) -> None:
    alice, run = visit("alice"), Taken(record, ["slow", "fast"])
    for slow in range(2):
        for fast in range(4):
            run.point(slow, fast)
    followed(alice, run)
    drawn(alice, 8)
    for fast in range(4):
        run.point(2, fast)
    found = drawn(alice, 12)
    assert (found["width"], found["height"]) == (4, 3)


def test_streams_that_begin_later_are_added(visit: Visit, record: Record) -> None:
    alice, run = visit("alice"), Taken(record, ["motor"], points=3)
    followed(alice, run)
    drawn(alice, 3)
    other = run.describe("monitor", ["motor", "det"], str(uuid.uuid4()))
    run.point(1.0, descriptor=other)
    expect(alice.page.locator("[data-stream=monitor]")).to_be_visible()
    assert alice.page.evaluate("window.mark") == "not reloaded"


def test_frames_of_a_stream_without_events_grow(visit: Visit, record: Record, site: str) -> None:
    """As a detector of ophyd-async that flies: its file grows, and stream_datums tell of that."""
    folder = ROOT / "var" / "tests" / f"site-{os.getpid()}"
    catalog = tomllib.loads((folder / "catalogs.toml").read_text())["catalogs"]["csx"]
    path = Path(catalog["allowed_roots"][0]) / "grows.h5"
    alice, run = visit("alice"), Taken(record, ["motor"], points=1)
    key = {"dtype": "array", "shape": [1, 4, 5], "source": "SIM", "external": "STREAM:"}
    fly, resource = str(uuid.uuid4()), str(uuid.uuid4())
    described: dict[str, Any] = {
        "uid": fly,
        "run_start": run.uid,
        "time": time.time(),
        "name": "fly",
    }
    described["data_keys"] = {"cam": key}
    named: dict[str, Any] = {"uid": resource, "run_start": run.uid, "data_key": "cam"}
    named |= {"mimetype": "application/x-hdf5", "uri": f"file://localhost{path}"}
    named |= {"parameters": {"dataset": "/data"}}

    def take(start: int, stop: int) -> None:
        dataset.resize(stop - 1, axis=0)
        dataset.flush()
        datum: dict[str, Any] = {
            "uid": f"{resource}/{start}",
            "stream_resource": resource,
            "descriptor": fly,
        }
        spans = {"seq_nums": (start, stop), "indices": (start - 1, stop - 1)}
        datum |= {name: {"start": s[0], "stop": s[1]} for name, s in spans.items()}
        record([{"collection": "stream_datum", "document": datum}])

    with h5py.File(path, "w", libver="latest", locking=False) as file:
        dataset = file.create_dataset("/data", (0, 4, 5), "u2", maxshape=(None, 4, 5))
        file.swmr_mode = True
        record(
            [
                {
                    "collection": "event_descriptor",
                    "document": described,
                },
                {"collection": "stream_resource", "document": named},
            ]
        )
        take(1, 3)
        followed(alice, run)
        stream = alice.page.locator("[data-stream=fly]")
        stream.scroll_into_view_if_needed()
        expect(stream.locator("h2")).to_contain_text("2 events")
        frames = stream.locator("[data-viewer] input[type=range]").first
        expect(frames).to_have_attribute("max", "2")
        take(3, 6)
        expect(frames).to_have_attribute("max", "5")
        expect(stream.locator("[data-viewer][data-state=drawn]")).to_be_visible()
    path.unlink()
    assert alice.page.evaluate("window.mark") == "not reloaded"


def test_the_list_tells_of_new_runs_and_of_those_that_end(visit: Visit, record: Record) -> None:
    alice = visit("alice")
    alice.open("/runs/")
    run = Taken(record, ["motor"], points=1)
    expect(alice.page.locator("#news")).to_contain_text("A new run has begun.")
    alice.page.locator("#news button").click()
    row = alice.page.locator(f"tr[data-uid='{run.uid}']")
    expect(row.locator(".chip")).to_have_text("open")
    expect(alice.page.locator("#news")).to_be_hidden()
    run.stop()
    expect(row.locator(".chip")).to_have_text("complete")


def test_what_happens_between_the_list_and_its_stream_is_told(visit: Visit, record: Record) -> None:
    alice, run = visit("alice"), Taken(record, ["motor"], points=1)
    begun: list[Taken] = []

    def between(route: Route) -> None:
        if not begun:
            run.stop()
            begun.append(Taken(record, ["motor"]))
        route.continue_()

    chip = alice.page.locator(f"tr[data-uid='{run.uid}'] .chip")
    alice.open("/runs/")
    told = alice.page.locator("#news:not([hidden])")
    expect(chip.or_(told).first).to_be_visible()  # the service knows of it
    alice.page.route("**/api/v1/headers/live/*", between)
    alice.open("/runs/")
    expect(chip).to_have_text("complete")
    expect(alice.page.locator("#news")).to_contain_text("A new run has begun.")


def test_the_newest_run_of_a_beamline_has_a_screen_of_its_own(visit: Visit, record: Record) -> None:
    alice = visit("alice")
    first = Taken(record, ["motor"], points=3)
    alice.open("/beamlines/csx/live/")
    expect(alice.page.locator("#place h2 a")).to_have_attribute("href", f"/runs/{first.uid}/")
    drawn_here(alice, 3)
    first.point(9.0)
    drawn_here(alice, 4)
    second = Taken(record, ["motor"], points=2)
    expect(alice.page.locator("#place h2 a")).to_have_attribute("href", f"/runs/{second.uid}/")
    drawn_here(alice, 2)
    for name, options in (
        ("newest-light", {}),
        ("newest-dark", {"color_scheme": "dark"}),
        ("newest-phone", {"viewport": PHONE}),
    ):
        person = visit("alice", **options)
        person.open("/beamlines/csx/live/")
        drawn_here(person, 2)
        SHOTS.mkdir(parents=True, exist_ok=True)
        person.page.screenshot(path=SHOTS / f"{name}.png")


def drawn_here(person: Visitor, points: int) -> None:
    person.page.wait_for_function(
        f"() => document.querySelector('#place [data-plot]')?.plotted?.x.length === {points}"
    )
