"""Detector frames: what is drawn, measured and told is what numpy makes of the recorded ones."""

import os
import tomllib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Locator, Position, expect
from pymongo import MongoClient

from tests.browser.conftest import PHONE, ROOT, Visit, Visitor
from tests.browser.test_every_page import violations

Array = NDArray[Any]
RecordFrames = Callable[..., str]
VIEWER = "[data-viewer]"
BEGAN = 1_500_000_000.0  # before the demo's own runs
RNG = np.random.default_rng(15)
COUNTS = RNG.integers(10, 1000, (6, 40, 60), "<u2")
DETAILED = RNG.integers(10, 1000, (3, 1200, 1600), "<u2")


@pytest.fixture
def record_frames(site: str) -> Iterator[RecordFrames]:
    """record_frames(frames) puts a run of alice's with these into csx, first axis the event.

    Each event has a motor, and a `det` that is ten times its number.
    """
    folder = ROOT / "var" / "tests" / f"site-{os.getpid()}"
    catalog = tomllib.loads((folder / "catalogs.toml").read_text())["catalogs"]["csx"]
    written: list[Path] = []
    inserted: list[tuple[Any, Any]] = []
    with (
        MongoClient[Any](catalog["metadata"]) as metadata,
        MongoClient[Any](catalog["assets"]) as assets,
    ):

        def insert(client: MongoClient[Any], name: str, document: dict[str, Any]) -> None:
            collection = client.get_default_database()[name]
            inserted.append((collection, collection.insert_one(document).inserted_id))

        def record(frames: Array, motor: str = "theta") -> str:
            uid, descriptor, resource = (str(uuid.uuid4()) for _ in range(3))
            path = Path(catalog["allowed_roots"][0]) / f"{resource}.h5"
            with h5py.File(path, "w") as file:
                file.create_dataset("entry/data/data", data=frames, chunks=(1, *frames.shape[1:]))
            written.append(path)
            start = {"uid": uid, "time": BEGAN, "scan_id": 1, "data_session": "pass-310000"}
            hints = {"dimensions": [[[motor], "primary"]]}
            insert(metadata, "run_start", start | {"hints": hints, "motors": [motor]})
            number = {"dtype": "number", "shape": [], "source": "SIM", "units": "deg"}
            image = {"dtype": "array", "shape": [1, *frames.shape[1:]], "source": "SIM"}
            keys = {"image": image | {"external": "FILESTORE:"}, motor: number, "det": number}
            described = {"uid": descriptor, "run_start": uid, "time": BEGAN, "name": "primary"}
            insert(metadata, "event_descriptor", described | {"data_keys": keys})
            place = {"spec": "AD_HDF5", "root": "/facility/data", "resource_path": path.name}
            kwargs = {"resource_kwargs": {"frame_per_point": 1}, "path_semantics": "posix"}
            insert(assets, "resource", {"uid": resource, "run_start": uid} | place | kwargs)
            for n in range(len(frames)):
                datum = {"datum_id": f"{resource}/{n}", "resource": resource}
                insert(assets, "datum", datum | {"datum_kwargs": {"point_number": n}})
                data = {"image": f"{resource}/{n}", motor: 20 + n / 10, "det": 10.0 * n}
                event = {"uid": str(uuid.uuid4()), "descriptor": descriptor, "seq_num": n + 1}
                taken = {"data": data, "timestamps": dict.fromkeys(data, BEGAN + n)}
                insert(metadata, "event", event | taken | {"time": BEGAN + n, "filled": {}})
            stop = {"uid": str(uuid.uuid4()), "run_start": uid, "time": BEGAN + 99}
            ended = {"exit_status": "success", "num_events": {"primary": len(frames)}}
            insert(metadata, "run_stop", stop | ended)
            return uid

        yield record
        for collection, key in inserted:
            collection.delete_one({"_id": key})
    for path in written:
        path.unlink()


@pytest.fixture
def look_at(visit: Visit, record_frames: RecordFrames) -> Callable[..., tuple[Visitor, Locator]]:
    """look_at(frames): alice at the page of a run with these, once the first one is drawn."""

    def look(frames: Array, **options: Any) -> tuple[Visitor, Locator]:
        alice = visit("alice", **options)
        alice.open(f"/runs/{record_frames(frames)}/")
        alice.plotted(VIEWER)
        return alice, alice.page.locator(VIEWER)

    return look


LookAt = Callable[..., tuple[Visitor, Locator]]


def use(viewer: Locator, tool: str) -> None:
    viewer.locator(".tool-choice span", has_text=tool).click()


def choose(viewer: Locator, **looks: str) -> None:
    """What `Colours`, `Scale`, `From`, `to` and `Mask above` are set to."""
    for name, value in looks.items():
        if name in ("Colours", "Scale"):
            viewer.get_by_role("combobox", name=name).select_option(value)
            continue
        control = viewer.get_by_label(name.replace("_", " "), exact=True)
        control.fill(value)
        control.press("Tab")


def place_of(viewer: Locator, x: float, y: float) -> Position:
    """Where on the canvas, in CSS px, a pixel of the detector is seen."""
    found: Position = viewer.evaluate(
        """(viewer, [x, y]) => {
          const {view} = [...viewer.querySelectorAll('*')].find(one => one.plotted?.view).plotted;
          const box = viewer.querySelector('canvas.image').getBoundingClientRect();
          const part = (value, [low, high], size) => (value - low) / (high - low) * size;
          return {x: part(x, view.x, box.width), y: part(y, view.y, box.height)};
        }""",
        [x, y],
    )
    return found


def colour_at(viewer: Locator, x: float, y: float) -> list[int]:
    """Red, green, blue and opacity that are drawn for a pixel of the detector."""
    viewer.page.wait_for_timeout(60)  # a drawn frame of the browser
    spot = place_of(viewer, x, y)
    found: list[int] = viewer.locator("canvas.image").evaluate(
        """(canvas, {x, y}) => {
          const scale = canvas.width / canvas.getBoundingClientRect().width;
          const place = [x, y].map(value => Math.floor(value * scale));
          // A copy: reading the canvas itself would make the browser complain of its slowness.
          const copy = Object.assign(document.createElement('canvas'), {width: 1, height: 1});
          copy.getContext('2d').drawImage(canvas, ...place, 1, 1, 0, 0, 1, 1);
          return [...copy.getContext('2d').getImageData(0, 0, 1, 1).data];
        }""",
        spot,
    )
    return found


def drag(viewer: Locator, start: tuple[float, float], end: tuple[float, float]) -> None:
    """From one pixel of the detector to another."""
    viewer.locator("canvas.image").scroll_into_view_if_needed()
    box = viewer.locator("canvas.image").bounding_box()
    assert box is not None
    mouse = viewer.page.mouse
    [one, other] = [place_of(viewer, *spot) for spot in (start, end)]
    mouse.move(box["x"] + one["x"], box["y"] + one["y"])
    mouse.down()
    mouse.move(box["x"] + other["x"], box["y"] + other["y"], steps=4)
    mouse.up()


def kept(viewer: Locator, name: str) -> Any:
    """What an element of the viewer says that it shows, by the name of its property."""
    return viewer.evaluate(
        "(viewer, name) => [...viewer.querySelectorAll('*')].find(one => one[name])[name]", name
    )


def statistics(viewer: Locator) -> dict[str, str]:
    names = viewer.locator(".statistics dt").all_inner_texts()
    return dict(zip(names, viewer.locator(".statistics dd").all_inner_texts(), strict=True))


def wait_until_scrolled(person: Visitor, before: float) -> None:
    """Fails when the page stays where it was for two seconds."""
    for _ in range(20):
        if person.page.evaluate("scrollY") > before:
            return
        person.page.wait_for_timeout(100)
    pytest.fail("the page did not scroll")


def grey(value: float) -> int:
    return round(255 * min(1.0, max(0.0, value)))


def test_each_pixel_has_the_colour_of_its_value(look_at: LookAt) -> None:
    _, viewer = look_at(COUNTS)
    choose(viewer, Colours="gray", From="0", to="1000")
    for x, y in ((0, 0), (59, 0), (0, 39), (59, 39), (17, 23)):
        drawn = colour_at(viewer, x, y)
        assert drawn[0] == pytest.approx(grey(COUNTS[0, y, x] / 1000), abs=1)
        assert drawn == [drawn[0]] * 3 + [255]


@pytest.mark.parametrize(
    ("scale", "part"),
    [
        ("linear", lambda v: (v - 10) / 990),
        ("log", lambda v: np.log(v / 10) / np.log(100)),
        ("sqrt", lambda v: np.sqrt((v - 10) / 990)),
        ("symlog", lambda v: (np.log1p(v) - np.log1p(10)) / (np.log1p(1000) - np.log1p(10))),
    ],
)
def test_values_are_spread_as_the_scale_says(
    scale: str, part: Callable[[float], float], look_at: LookAt
) -> None:
    _, viewer = look_at(COUNTS)
    choose(viewer, Colours="gray", From="10", to="1000", Scale=scale)
    for x, y in ((3, 4), (30, 20), (58, 38)):
        wanted = grey(part(float(COUNTS[0, y, x])))
        assert colour_at(viewer, x, y)[0] == pytest.approx(wanted, abs=1)


def test_two_colours_meet_at_zero(look_at: LookAt) -> None:
    frames = np.linspace(-3, 1, 2400, dtype="<f4").reshape(1, 40, 60).repeat(2, axis=0)
    _, viewer = look_at(frames)
    choose(viewer, Colours="berlin, diverging")
    low, high = (
        float(viewer.get_by_label(name, exact=True).input_value()) for name in ("From", "to")
    )
    assert -low == high > 2.9
    at_zero = int(np.abs(frames[0]).argmin())
    assert max(colour_at(viewer, at_zero % 60, at_zero // 60)[:3]) < 40  # dark where they meet


def test_profiles_are_the_rows_and_columns_of_the_frame(look_at: LookAt) -> None:
    _, viewer = look_at(COUNTS)
    viewer.locator("canvas.image").click(position=place_of(viewer, 12, 7))
    expect(viewer.locator(".legend-readout")).to_have_text(
        f"x (pixel) 12  y (pixel) 7  value {COUNTS[0, 7, 12]}"
    )
    profiles = kept(viewer, "profiles")
    assert profiles["row"]["values"] == COUNTS[0, 7].tolist()
    assert profiles["column"]["values"] == COUNTS[0, :, 12].tolist()
    viewer.locator("canvas.image").press("ArrowRight")
    viewer.locator("canvas.image").press("Shift+ArrowDown")
    assert kept(viewer, "profiles")["column"]["values"] == COUNTS[0, :, 13].tolist()
    assert kept(viewer, "profiles")["row"]["values"] == COUNTS[0, 17].tolist()


def test_a_line_between_two_points_has_the_values_under_it(look_at: LookAt) -> None:
    _, viewer = look_at(COUNTS)
    use(viewer, "Line")
    drag(viewer, (5, 5), (35, 20))
    line = kept(viewer, "profiles")["line"]
    xs = np.arange(5, 36)
    ys = np.floor(5 + (xs - 5) / 2 + 0.5).astype(int)  # as JavaScript rounds
    assert line["values"] == COUNTS[0, ys, xs].tolist()
    assert line["x"][-1] == pytest.approx(np.hypot(30, 15))


def test_a_region_comes_to_what_numpy_says_for_one_event_and_for_all(look_at: LookAt) -> None:
    alice, viewer = look_at(COUNTS)
    use(viewer, "Region")
    drag(viewer, (10, 8), (24, 19))
    inside = COUNTS[:, 8:20, 10:25].astype(float).reshape(len(COUNTS), -1)
    told = statistics(viewer)
    assert (told["sum"], told["max"], told["min"]) == (
        str(int(inside[0].sum())), str(int(inside[0].max())), str(int(inside[0].min()))
    )  # fmt: skip
    assert float(told["mean"]) == pytest.approx(inside[0].mean(), rel=1e-5)
    for how in ("sum", "mean", "max", "min"):
        viewer.get_by_label("Number of the region").select_option(how)
        viewer.get_by_role("button", name="Over all events").click()
        viewer.locator(".overall[data-state=drawn]").wait_for()
        drawn = viewer.locator(".overall").evaluate("one => one.plotted")
        assert drawn["numbers"] == pytest.approx(getattr(inside, how)(axis=1).tolist())
        assert drawn["x"] == pytest.approx([20 + n / 10 for n in range(6)])
    link = viewer.locator(".overall").get_by_role("link", name="json").get_attribute("href")
    assert link is not None
    assert alice.api(link) == pytest.approx(inside.min(axis=1).tolist())
    whole_frames = [r for r in alice.requests if "/data/" in r.url and "reduce" not in r.url]
    assert len([r for r in whole_frames if r.method == "GET"]) == 1


def test_a_region_is_typed_where_no_mouse_is(look_at: LookAt) -> None:
    _, viewer = look_at(COUNTS)
    bounds = {"First column": "3", "Behind the last column": "9", "First row": "1",
              "Behind the last row": "5"}  # fmt: skip
    for name, value in bounds.items():
        viewer.get_by_label(name, exact=True).fill(value)
        viewer.get_by_label(name, exact=True).press("Tab")
    assert statistics(viewer)["sum"] == str(int(COUNTS[0, 1:5, 3:9].sum()))


def test_hot_pixels_and_what_is_no_number_are_left_out(look_at: LookAt) -> None:
    frames = COUNTS.astype("<f4")
    frames[:, 10, 20], frames[:, 12, 22] = np.nan, 1e9
    _, viewer = look_at(frames)
    assert colour_at(viewer, 20, 10)[3] == 0
    choose(viewer, Mask_above="5000")
    assert colour_at(viewer, 22, 12)[3] == 0
    assert colour_at(viewer, 21, 11)[3] == 255
    use(viewer, "Region")
    drag(viewer, (15, 5), (30, 15))
    inside = frames[:, 5:16, 15:31].astype(float).reshape(len(frames), -1)
    cold = np.where(inside < 5000, inside, np.nan)
    assert statistics(viewer)["of"] == f"{11 * 16 - 2} values"
    assert float(statistics(viewer)["sum"]) == np.nansum(cold[0])
    viewer.get_by_role("button", name="Over all events").click()
    viewer.locator(".overall[data-state=drawn]").wait_for()
    drawn = viewer.locator(".overall").evaluate("one => one.plotted")
    assert drawn["numbers"] == np.nansum(cold, axis=1).tolist()
    assert float(viewer.get_by_label("to", exact=True).input_value()) <= 1000


def test_a_frame_larger_than_the_screen_is_shown_in_full_where_one_looks_closer(
    look_at: LookAt,
) -> None:
    alice, viewer = look_at(DETAILED)
    assert alice.plotted(VIEWER)["values"] == DETAILED[0, ::2, ::2].reshape(-1).tolist()
    expect(viewer).to_contain_text("at 1/2 of its resolution")
    viewer.locator("canvas.image").click(position=place_of(viewer, 800, 600))
    for _ in range(3):
        viewer.locator("canvas.image").press("+")
    alice.page.locator(f"{VIEWER}[data-detail]").wait_for()
    choose(viewer, Colours="gray", From="0", to="1000")
    for x, y in ((801, 601), (781, 603), (813, 611)):
        wanted = grey(DETAILED[0, y, x] / 1000)
        assert colour_at(viewer, x, y)[0] == pytest.approx(wanted, abs=1)
    viewer.locator("canvas.image").click(position=place_of(viewer, 801, 601))
    expect(viewer.locator(".legend-readout")).to_contain_text(f"value {DETAILED[0, 601, 801]}")
    # The service measures what is not all here.
    use(viewer, "Region")
    drag(viewer, (771, 591), (830, 620))
    inside = DETAILED[0, 591:621, 771:831]
    expect(viewer.locator(".statistics")).to_contain_text(str(int(inside.sum())))
    assert statistics(viewer)["max"] == str(int(inside.max()))


def test_the_wheel_zooms_around_the_pointer_and_then_lets_the_page_go(look_at: LookAt) -> None:
    alice, viewer = look_at(COUNTS)
    viewer.evaluate("viewer => viewer.scrollIntoView()")
    alice.page.wait_for_timeout(500)
    spot = place_of(viewer, 45, 30)
    viewer.locator("canvas.image").hover(position=spot)
    before = alice.page.evaluate("scrollY")
    alice.page.mouse.wheel(0, -800)
    alice.page.wait_for_timeout(100)
    view = alice.plotted(VIEWER)["view"]
    assert view["x"][1] - view["x"][0] < 30
    assert place_of(viewer, 45, 30) == pytest.approx(spot, abs=3)  # px, of whole ones of a mouse
    assert alice.page.evaluate("scrollY") == before
    drag(viewer, (45, 30), (43, 29))
    assert alice.plotted(VIEWER)["view"]["x"][0] == pytest.approx(view["x"][0] + 2, abs=0.2)
    viewer.get_by_role("button", name="The whole picture").click()
    assert alice.plotted(VIEWER)["view"] == {"x": [-0.5, 59.5], "y": [-0.5, 39.5]}
    viewer.locator("canvas.image").hover()
    alice.page.mouse.wheel(0, 200)
    wait_until_scrolled(alice, before)


def test_one_finger_scrolls_the_page_and_two_zoom(look_at: LookAt) -> None:
    alice, viewer = look_at(COUNTS, viewport=PHONE, has_touch=True, is_mobile=True)
    canvas = viewer.locator("canvas.image")
    canvas.evaluate("canvas => canvas.scrollIntoView({block: 'center'})")
    assert canvas.evaluate("canvas => getComputedStyle(canvas).touchAction") == "pan-y"
    box = canvas.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touch = alice.page.context.new_cdp_session(alice.page)

    def fingers(kind: str, *places: tuple[float, float]) -> None:
        points = [{"x": px, "y": py, "id": n} for n, (px, py) in enumerate(places)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    before = alice.page.evaluate("scrollY")
    fingers("touchStart", (x, y + 40))
    for n in range(1, 9):
        fingers("touchMove", (x, y + 40 - 15 * n))
    fingers("touchEnd")
    wait_until_scrolled(alice, before)
    assert alice.plotted(VIEWER)["view"]["x"] == [-0.5, 59.5]
    canvas.evaluate("canvas => canvas.scrollIntoView({block: 'center'})")
    alice.page.wait_for_timeout(400)
    fingers("touchStart", (x - 20, y), (x + 20, y))
    for n in range(1, 6):
        fingers("touchMove", (x - 20 - 8 * n, y), (x + 20 + 8 * n, y))
    fingers("touchEnd")
    alice.page.wait_for_timeout(100)
    view = alice.plotted(VIEWER)["view"]
    assert view["x"][1] - view["x"][0] == pytest.approx(60 * 20 / 60, abs=2)
    # Whoever chose to draw with a finger draws.
    use(viewer, "Region")
    assert canvas.evaluate("canvas => getComputedStyle(canvas).touchAction") == "none"


def test_handles_of_the_histogram_set_the_limits(look_at: LookAt) -> None:
    _, viewer = look_at(COUNTS)
    low, high = COUNTS[0].min(), COUNTS[0].max()
    wanted, _ = np.histogram(COUNTS[0], 128, (low, high))
    assert sum(kept(viewer, "counts")) == COUNTS[0].size
    assert kept(viewer, "counts")[0] == wanted[0]
    viewer.get_by_label("Brightest at").fill("500")
    middle = float(low) + (float(high) - float(low)) / 2
    assert float(viewer.get_by_label("to", exact=True).input_value()) == pytest.approx(middle)
    viewer.get_by_label("Darkest at").press("End")  # no further than the other one
    assert viewer.get_by_label("From", exact=True).input_value() == pytest.approx(
        viewer.get_by_label("to", exact=True).input_value()
    )
    viewer.get_by_role("button", name="Auto").click()
    assert float(viewer.get_by_label("From", exact=True).input_value()) < 50


def test_frames_are_played_one_after_the_other_with_the_same_limits(look_at: LookAt) -> None:
    alice, viewer = look_at(COUNTS)
    limits = [viewer.get_by_label(name, exact=True).input_value() for name in ("From", "to")]
    viewer.get_by_label("Speed").select_option("10")
    viewer.get_by_role("button", name="Play").click()
    alice.page.locator(f"{VIEWER}[data-frame='5']").wait_for()
    expect(viewer.get_by_role("button", name="Play")).to_have_attribute("aria-pressed", "false")
    assert alice.plotted(VIEWER)["values"] == COUNTS[5].reshape(-1).tolist()
    asked = [parse_qs(urlsplit(r.url).query)["slice"][0] for r in alice.requests
             if "/data/" in r.url and r.method == "GET"]  # fmt: skip
    assert [text.split(",")[0] for text in asked] == list("012345")
    assert limits == [
        viewer.get_by_label(name, exact=True).input_value() for name in ("From", "to")
    ]


def test_a_copied_address_shows_the_same_frame_in_the_same_way(look_at: LookAt) -> None:
    alice, viewer = look_at(COUNTS)
    assert urlsplit(alice.page.url).query == ""  # nothing was chosen yet
    viewer.get_by_role("slider", name="Event").fill("4")
    alice.page.locator(f"{VIEWER}[data-frame='3']").wait_for()
    choose(viewer, Colours="vik, diverging", Scale="log", From="20", to="900", Mask_above="950")
    use(viewer, "Region")
    drag(viewer, (10, 5), (19, 14))
    viewer.get_by_role("button", name="Closer").click()
    alice.page.wait_for_url("**view=*")
    asked = parse_qs(urlsplit(alice.page.url).query)
    assert asked["image"] == ["primary", "image"]
    assert (asked["frame"], asked["limits"], asked["mask"]) == (["4"], ["20,900"], ["950"])
    assert asked["region"] == ["10,20,5,15"]
    png = viewer.get_by_role("link", name="png")
    look = parse_qs(urlsplit(str(png.get_attribute("href"))).query)
    expected = {"cmap": ["vik"], "min": ["20"], "max": ["900"], "log": ["true"]}
    assert {name: look[name] for name in expected} == expected
    before = shown(viewer)
    alice.page.reload()
    alice.page.locator(f"{VIEWER}[data-frame='3']").wait_for()
    expect(viewer).to_be_in_viewport()
    expect(viewer.locator(".region-fields, .side")).to_contain_text("mean")
    assert shown(viewer) == before
    assert urlsplit(alice.page.url).query.count("image=") == 2
    choose(viewer, Scale="square root")
    expect(png).to_be_hidden()  # the service draws no such scale


def shown(viewer: Locator) -> dict[str, Any]:
    """How the frame is drawn, and what is told of the region."""
    looks: dict[str, Any] = viewer.evaluate(
        """(viewer) => {
          const {low, high, scale, map, view} =
            [...viewer.querySelectorAll('*')].find(one => one.plotted?.view).plotted;
          const round = (values) => values.map(value => +value.toPrecision(5));
          return {low, high, scale, map, x: round(view.x), y: round(view.y),
            marks: viewer.querySelectorAll('svg.marks rect').length};
        }"""
    )
    return looks


def test_a_contact_sheet_is_one_request_and_leads_to_frames(look_at: LookAt) -> None:
    alice, viewer = look_at(DETAILED)
    alice.requests.clear()
    viewer.get_by_role("button", name="All frames").click()
    viewer.locator(".contact[data-state=drawn]").wait_for()
    assert len([r for r in alice.requests if "/data/" in r.url]) == 1
    sheet = viewer.locator(".contact").evaluate(
        "one => ({...one.plotted, values: [...one.plotted.values]})"
    )
    step = -(-1600 // 72)
    assert sheet["events"] == [0, 1, 2]
    assert sheet["values"] == DETAILED[:, ::step, ::step].reshape(-1).tolist()
    viewer.get_by_role("button", name="Event 3", exact=True).click()
    alice.page.locator(f"{VIEWER}[data-frame='2']").wait_for()
    expect(viewer.get_by_role("button", name="Event 3", exact=True)).to_have_attribute(
        "aria-current", "true"
    )


def test_a_frame_of_three_colours_has_them(look_at: LookAt) -> None:
    frames = RNG.integers(0, 256, (2, 40, 60, 3), "u1")
    alice, viewer = look_at(frames)
    choose(viewer, From="0", to="255")
    for x, y in ((0, 0), (30, 20), (59, 39)):
        assert colour_at(viewer, x, y) == pytest.approx([*frames[0, y, x].tolist(), 255], abs=1)
    viewer.locator("canvas.image").click(position=place_of(viewer, 30, 20))
    red, green, blue = frames[0, 20, 30].tolist()
    expect(viewer.locator(".legend-readout")).to_contain_text(f"value {red}, {green}, {blue}")
    viewer.get_by_role("combobox", name="Show").select_option("green")
    alice.page.wait_for_function(
        "(first) => [...document.querySelectorAll('[data-viewer] *')]"
        ".find(one => one.plotted?.view).plotted.values[0] === first",
        arg=int(frames[0, 0, 0, 1]),
    )
    assert alice.plotted(VIEWER)["values"] == frames[0, :, :, 1].reshape(-1).tolist()
    use(viewer, "Region")
    drag(viewer, (2, 2), (9, 9))
    viewer.get_by_role("button", name="Over all events").click()
    viewer.locator(".overall[data-state=drawn]").wait_for()
    drawn = viewer.locator(".overall").evaluate("one => one.plotted.numbers")
    assert drawn == frames[:, 2:10, 2:10, 1].sum(axis=(1, 2)).tolist()


def test_a_point_of_a_region_s_curve_leads_to_its_frame(look_at: LookAt) -> None:
    alice, viewer = look_at(COUNTS)
    use(viewer, "Region")
    drag(viewer, (2, 2), (9, 9))
    viewer.get_by_role("button", name="Over all events").click()
    viewer.locator(".overall[data-state=drawn]").wait_for()
    curve = viewer.locator(".overall .u-over")
    box = curve.bounding_box()
    assert box is not None
    curve.click(position={"x": box["width"] - 2, "y": box["height"] / 2})
    alice.page.locator(f"{VIEWER}[data-frame='5']").wait_for()


def test_the_frame_fits_the_window_of_a_laptop(look_at: LookAt) -> None:
    alice, viewer = look_at(DETAILED, viewport={"width": 1366, "height": 768})
    viewer.evaluate("viewer => viewer.scrollIntoView()")
    alice.page.wait_for_timeout(200)
    box = viewer.locator(".picture").bounding_box()
    assert box is not None
    assert box["y"] >= 0
    assert box["y"] + box["height"] <= 768
    canvas = viewer.locator("canvas.image").bounding_box()
    assert canvas is not None
    assert canvas["width"] / canvas["height"] == pytest.approx(1600 / 1200, rel=0.01)


@pytest.mark.parametrize("style", ["light", "dark"])
def test_all_of_it_is_accessible(style: str, look_at: LookAt) -> None:
    alice, viewer = look_at(COUNTS, color_scheme=style)
    use(viewer, "Line")
    drag(viewer, (5, 5), (35, 20))
    use(viewer, "Region")
    drag(viewer, (10, 8), (24, 19))
    viewer.get_by_role("button", name="Over all events").click()
    viewer.get_by_role("button", name="All frames").click()
    viewer.locator(".contact[data-state=drawn]").wait_for()
    viewer.locator(".overall[data-state=drawn]").wait_for()
    assert violations(alice) == []


def test_a_point_of_the_curve_leads_to_its_frame_and_back(
    visit: Visit, record_frames: RecordFrames
) -> None:
    alice = visit("alice", viewport={"width": 1280, "height": 500})
    alice.open(f"/runs/{record_frames(COUNTS)}/", settle=False)
    alice.plotted("#stream-1 [data-plot]")
    alice.page.evaluate("scrollTo(0, 0)")
    curve = alice.page.locator("#stream-1 [data-plot] .u-over").last
    curve.scroll_into_view_if_needed()
    box = curve.bounding_box()
    assert box is not None
    curve.click(position={"x": box["width"] - 3, "y": box["height"] / 2})
    link = alice.page.get_by_role("link", name="Frame of event 6: image")
    link.click()
    alice.page.locator(f"{VIEWER}[data-frame='5']").wait_for()
    assert alice.plotted(VIEWER)["values"] == COUNTS[5].reshape(-1).tolist()
    alice.page.locator(VIEWER).get_by_role("slider", name="Event").press("ArrowLeft")
    alice.page.locator(f"{VIEWER}[data-frame='4']").wait_for()
    expect(alice.page.locator("#stream-1 .plot-where")).to_contain_text("point 5 of 6")


def test_the_first_paint_on_a_slow_line_is_soon_and_the_viewer_comes_when_seen(
    visit: Visit, record_frames: RecordFrames
) -> None:
    """At 400 kbit/s with 400 ms of delay: 3 s, with nothing in the browser's cache."""
    alice = visit("alice", viewport={"width": 1366, "height": 300})
    uid = record_frames(DETAILED)
    line = alice.page.context.new_cdp_session(alice.page)
    line.send("Network.enable")
    line.send("Network.setCacheDisabled", {"cacheDisabled": True})
    slow = {
        "offline": False,
        "latency": 400,
        "downloadThroughput": 50_000,
        "uploadThroughput": 50_000,
    }
    line.send("Network.emulateNetworkConditions", slow)
    alice.page.goto(f"{alice.site}/runs/{uid}/", wait_until="domcontentloaded")
    alice.page.wait_for_timeout(500)
    painted = alice.page.evaluate(
        "performance.getEntriesByName('first-contentful-paint')[0].startTime"
    )
    assert painted < 3000
    # Of the frame of 1 MB, a coarse one of 15 kB is there long before.
    alice.page.locator(VIEWER).scroll_into_view_if_needed()
    alice.page.locator(f"{VIEWER}[data-state=drawn]").wait_for()
    expect(alice.page.locator(VIEWER)).to_contain_text("coarse, the rest is coming")
    assert alice.plotted(VIEWER)["values"] == DETAILED[0, ::13, ::13].reshape(-1).tolist()
    assert alice.page.locator(f"{VIEWER}[data-frame]").count() == 1


HOSTILE = "<img src=x onerror=alert(1)>\u202e"


def test_what_a_run_calls_its_fields_is_only_text(
    visit: Visit, record_frames: RecordFrames
) -> None:
    """ABUSE 23: the viewer writes names of axes, fields and units."""
    alice = visit("alice")
    alice.page.on("dialog", lambda dialog: alice.errors.append(f"dialog: {dialog.message}"))
    alice.open(f"/runs/{record_frames(COUNTS, motor=HOSTILE)}/")
    alice.plotted(VIEWER)
    viewer = alice.page.locator(VIEWER)
    use(viewer, "Region")
    drag(viewer, (2, 2), (9, 9))
    viewer.get_by_role("button", name="Over all events").click()
    viewer.locator(".overall[data-state=drawn]").wait_for()
    expect(viewer.get_by_label("Over what it is drawn")).to_contain_text("<img src=x")
    assert "\u202e" not in viewer.inner_text()
    assert viewer.locator("script, img, iframe").count() == 0
