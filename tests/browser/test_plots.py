"""Plots of runs as beamlines record them: uneven grids, ways to and fro, texts, nothing at all."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Record, Visit, Visitor

CASES = Path(__file__).parent.parent / "cases"
PLOT = "#stream-1 [data-plot]"
Point = dict[str, Any]
BEGAN = 1_500_000_000.0  # before the demo's own runs, which other tests find as the newest


def case(name: str) -> list[dict[str, Any]]:
    documents: list[dict[str, Any]] = json.loads((CASES / f"{name}.json").read_text())
    return documents


def scan(points: list[Point], dimensions: list[list[str]], **start: Any) -> list[dict[str, Any]]:
    """The documents of a run of one stream, primary, with these values; `det` is hinted."""
    uid, descriptor = str(uuid.uuid4()), str(uuid.uuid4())
    hints = {"dimensions": [[names, "primary"] for names in dimensions]}
    number = {"dtype": "number", "shape": [], "source": "SIM"}
    events = [
        {
            "uid": str(uuid.uuid4()),
            "descriptor": descriptor,
            "seq_num": n,
            "time": BEGAN + n,
            "data": data,
            "timestamps": dict.fromkeys(data, BEGAN + n),
            "filled": {},
        }
        for n, data in enumerate(points, 1)
    ]
    described = {
        "uid": descriptor,
        "run_start": uid,
        "time": BEGAN,
        "name": "primary",
        "data_keys": dict.fromkeys(points[0], number),
        "hints": {"det": {"fields": ["det"]}},
    }
    stop = {"uid": str(uuid.uuid4()), "run_start": uid, "time": BEGAN + 99, "exit_status": "abort"}
    stored = [
        ("run_start", {"uid": uid, "time": BEGAN, "scan_id": 1, "hints": hints, **start}),
        ("event_descriptor", described),
        *(("event", event) for event in events),
        ("run_stop", stop | {"num_events": {"primary": len(points)}}),
    ]
    return [{"collection": name, "document": document} for name, document in stored]


def columns_of(person: Visitor, uid: str) -> dict[str, list[Any]]:
    return dict(person.api(f"/api/v1/headers/{uid}/streams/primary/table/?format=json"))


def assert_map_is(drawn: dict[str, Any], points: list[tuple[float, float, float]]) -> None:
    """Every value is drawn at its measured place (slow, fast), and nothing anywhere else."""
    assert drawn["kind"] == "picture"
    assert drawn["rows"] == sorted(set(drawn["rows"]))
    assert drawn["columns"] == sorted(set(drawn["columns"]))
    width = drawn["width"]
    expected: list[float | None] = [None] * (drawn["height"] * width)
    for slow, fast, value in points:
        row = min(range(drawn["height"]), key=lambda i: abs(drawn["rows"][i] - slow))
        column = min(range(width), key=lambda i: abs(drawn["columns"][i] - fast))
        expected[row * width + column] = value
    assert drawn["values"] == expected


def test_a_list_grid_is_drawn_where_it_was_measured(visit: Visit, record: Record) -> None:
    alice = visit("alice")
    uid = record(case("bs_list_grid"))
    alice.open(f"/runs/{uid}/")
    drawn = alice.plotted(PLOT)
    columns = columns_of(alice, uid)
    assert (drawn["rows"], drawn["columns"]) == ([1, 2, 10], [0, 1])
    assert_map_is(drawn, list(zip(columns["my"], columns["mx"], columns["d"], strict=True)))


def test_uneven_positions_have_their_true_places(visit: Visit, record: Record) -> None:
    """Of rows at 1, 2 and 10, whose cells reach from 0.5 to 14, a quarter up is 3.875: the 2nd."""
    alice = visit("alice")
    alice.open(f"/runs/{record(case('bs_list_grid'))}/")
    alice.plotted(PLOT)
    canvas = alice.page.locator(f"{PLOT} canvas.image")
    box = canvas.bounding_box()
    assert box is not None
    canvas.click(position={"x": box["width"] * 0.75, "y": box["height"] * 0.75})
    expect(alice.page.locator(f"{PLOT} .legend-readout")).to_have_text("mx 1  my 2  value 2001")
    mark = alice.page.locator(f"{PLOT} .crosshair")
    top = float(mark.evaluate("mark => mark.style.top").rstrip("%"))
    assert top == pytest.approx(100 * (1 - (2 - 0.5) / (14 - 0.5)))


def test_a_map_of_one_unit_has_its_true_proportions(visit: Visit, record: Record) -> None:
    """Of 9 columns a tenth apart and 5 rows four tenths apart: 0.9 mm by 2 mm."""
    alice = visit("alice")
    places = grid([0.4 * i for i in range(5)], [0.1 * i for i in range(9)], snake=True)
    points = [{"det": 10.0 + i, "sy": y, "sx": x} for i, (y, x) in enumerate(places)]
    documents = scan(points, [["sy"], ["sx"]], shape=[5, 9])
    number = {"dtype": "number", "shape": [], "source": "SIM", "units": "mm"}
    documents[1]["document"]["data_keys"] = dict.fromkeys(("det", "sy", "sx"), number)
    alice.open(f"/runs/{record(documents)}/")
    drawn = alice.plotted(PLOT)
    assert drawn["view"]["x"] == pytest.approx([-0.05, 0.85])
    assert drawn["view"]["y"] == pytest.approx([-0.2, 1.8])
    box = alice.page.locator(f"{PLOT} canvas.image").bounding_box()
    assert box is not None
    assert box["width"] / box["height"] == pytest.approx(0.9 / 2, rel=0.02)
    names = alice.page.locator(f"{PLOT} .axes .name").all_text_contents()
    assert sorted(names) == ["sx (mm)", "sy (mm)"]
    alice.page.locator(PLOT).get_by_label("true proportions").uncheck()
    box = alice.page.locator(f"{PLOT} canvas.image").bounding_box()
    assert box is not None
    assert box["width"] / box["height"] == pytest.approx(9 / 5, rel=0.02)


def grid(rows: list[float], columns: list[float], snake: bool = False) -> list[tuple[float, float]]:
    return [
        (slow, fast)
        for i, slow in enumerate(rows)
        for fast in (columns[::-1] if snake and i % 2 else columns)
    ]


TENTHS = [0.1 * i for i in range(5)]
NOISE = [0.013, -0.021, 0.004, -0.017, 0.022, 0.009, -0.006]
MAPS = {
    # Extents of a relative scan are distances from where it began, not places.
    "relative": (grid([9.0, 10.0, 11.0], [99.0, 100.0, 101.0]), [3, 3], [[-1, 1], [-1, 1]]),
    "snaked": (grid([0.0, 1.0, 2.0], TENTHS, snake=True), [3, 5], [[0, 2], [0, 0.4]]),
    "downwards": (grid([3.0, 2.0, 1.0], [5.0, 4.0]), [3, 2], [[3, 1], [5, 4]]),
    "aborted": (grid([0.0, 1.0, 2.0], TENTHS)[:8], [30, 5], [[0, 29], [0, 0.4]]),
    "repeated": (grid([0.0, 1.0], [0.0, 1.0]) * 2, [2, 2], [[0, 1], [0, 1]]),
    "not described": (grid([0.0, 1.0, 5.0], [1.0, 10.0, 100.0, 1000.0]), None, None),
    "described wrongly": (grid([0.0, 1.0, 5.0], [1.0, 2.0]), [2, 3], [[0, 9], [0, 9]]),
    "noisy": (
        [
            (slow + NOISE[i % 7], fast + NOISE[(3 * i) % 7])
            for i, (slow, fast) in enumerate(
                grid([0.0, 1.0, 2.0, 7.0], [0.0, 0.5, 1.0], snake=True)
            )
        ],
        [4, 3],
        [[0, 7], [0, 1]],
    ),
}
SHAPES = {
    "relative": (3, 3),
    "snaked": (3, 5),
    "downwards": (3, 2),
    "aborted": (2, 5),
    "repeated": (2, 2),
    "not described": (3, 4),
    "described wrongly": (3, 2),
    "noisy": (4, 3),
}


@pytest.mark.parametrize("name", MAPS)
def test_a_map_is_made_of_measured_positions(visit: Visit, record: Record, name: str) -> None:
    alice = visit("alice")
    places, shape, extents = MAPS[name]
    points = [{"det": 10.0 + i, "sy": y, "sx": x} for i, (y, x) in enumerate(places)]
    planned = {"shape": shape, "extents": extents} if shape else {}
    uid = record(scan(points, [["sy"], ["sx"]], **planned))
    alice.open(f"/runs/{uid}/")
    drawn = alice.plotted(PLOT)
    columns = columns_of(alice, uid)
    assert (drawn["height"], drawn["width"]) == SHAPES[name]
    assert_map_is(drawn, list(zip(columns["sy"], columns["sx"], columns["det"], strict=True)))


SPIRAL = [(0.3 * i * (-1) ** i, 0.17 * i * i % 3.1) for i in range(20)]
NO_GRIDS = {
    "spiral": (SPIRAL, "time"),
    "diagonal": ([(float(i), float(i)) for i in range(4)], "time"),
    "first row only": ([(1.0, float(i)) for i in range(4)], "sx"),
    "one point": ([(1.0, 1.0)], "sx"),
    "noise as wide as steps": ([(y + 40 * NOISE[i % 7], x + 40 * NOISE[(3 * i) % 7])
        for i, (y, x) in enumerate(grid([0.0, 1.0, 2.0, 3.0], [0.0, 1.0, 2.0]))], "time"),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_GRIDS)
def test_what_is_no_grid_is_drawn_as_curves(visit: Visit, record: Record, name: str) -> None:
    alice = visit("alice")
    places, x = NO_GRIDS[name]
    points = [{"det": 10.0 + i, "sy": y, "sx": x} for i, (y, x) in enumerate(places)]
    planned = {"shape": [len(points), 1], "extents": [[0, 3], [0, 3]]}
    uid = record(scan(points, [["sy"], ["sx"]], **planned))
    alice.open(f"/runs/{uid}/")
    drawn = alice.plotted(PLOT)
    columns = columns_of(alice, uid)
    assert (drawn["kind"], drawn["xName"]) == ("lines", x)
    assert drawn["x"] == columns[x]
    assert drawn["series"] == {"det": columns["det"]}


def test_a_hysteresis_is_a_loop_not_a_saw(visit: Visit, record: Record) -> None:
    """Up at 0, down at 100: nothing is drawn between the branches but where the field turns."""
    alice = visit("alice")
    up, down = [12, *range(11)], [*reversed(range(11))]
    points = [{"det": 0.0, "field": float(x)} for x in up]
    points += [{"det": 100.0, "field": float(x)} for x in down]
    uid = record(scan(points, [["field"]]))
    alice.open(f"/runs/{uid}/")
    drawn = alice.plotted(PLOT)
    columns = columns_of(alice, uid)
    assert (drawn["x"], drawn["series"]["det"]) == (columns["field"], columns["det"])
    [crossed] = crossings(alice)
    assert crossed == pytest.approx(10 / 12, abs=0.01)


def crossings(person: Visitor) -> list[float]:
    """Where, as parts of the width, lines are crossed near the middle of the plot's height."""
    found: list[float] = person.page.locator(f"{PLOT} canvas").evaluate("""canvas => {
      const over = canvas.parentElement.querySelector(".u-over");
      const [box, inside] = [canvas.getBoundingClientRect(), over.getBoundingClientRect()];
      const scale = canvas.width / box.width;
      const from = Math.round((inside.left - box.left) * scale) ;
      const wide = Math.round(inside.width * scale);
      const context = canvas.getContext("2d");
      const y = Math.round((inside.top - box.top + inside.height * 0.44) * scale);
      const { data } = context.getImageData(from, y, wide, 1);
      const probe = document.createElement("span");
      probe.style.color = "var(--series-1)";
      document.body.append(probe);
      const ink = getComputedStyle(probe).color.match(/[0-9.]+/g).map(Number);
      probe.remove();
      const near = (at, i) => Math.abs(data[at * 4 + i] - ink[i]) < 40;
      const like = at => data[at * 4 + 3] > 100 && [0, 1, 2].every(i => near(at, i));
      const found = [];
      for (let at = 1; at < wide; at++) if (like(at) && !like(at - 1)) found.push(at / wide);
      return found;
    }""")
    return found


def test_texts_are_in_the_table_and_no_curves(visit: Visit, record: Record) -> None:
    alice = visit("alice")
    uid = record(case("strings"))
    alice.open(f"/runs/{uid}/")
    alice.plotted(PLOT)
    viewers = alice.page.locator("[data-viewer]").evaluate_all(
        "all => all.map(a => a.dataset.field)"
    )
    assert viewers == ["one"]
    alice.plotted("[data-viewer]")
    alice.page.locator("#stream-1").get_by_text("Table", exact=True).click()
    expect(alice.page.locator("#stream-1 [data-table] tbody tr").first).to_contain_text("a, bb")
    for link in alice.page.locator("#downloads a").evaluate_all("all => all.map(a => a.href)"):
        assert alice.page.request.get(link).status == 200, link


def test_a_stream_recorded_elsewhere_says_so_and_asks_for_nothing(
    visit: Visit, record: Record
) -> None:
    alice = visit("alice")
    uid = record(case("only_stream_fields"))
    alice.open(f"/runs/{uid}/")
    expect(alice.page.locator("#stream-1 .note")).to_contain_text("outside this database")
    alice.page.locator("#stream-1 summary").first.click()
    expect(alice.page.locator("#stream-1")).to_contain_text("det-key2")
    alice.page.wait_for_load_state("networkidle")
    assert [r.url for r in alice.requests if "/api/" in r.url] == []


def test_the_baseline_is_never_what_is_drawn(visit: Visit, record: Record) -> None:
    alice = visit("alice")
    documents = scan([{"det": 1.0, "sx": 2.0}] * 2, [])
    documents[1]["document"]["name"] = "baseline"
    documents[-1]["document"]["num_events"] = {"baseline": 2}
    alice.open(f"/runs/{record(documents)}/")
    expect(alice.page.locator("#stream-1 h2")).to_contain_text("baseline")
    expect(alice.page.locator("[data-plot], canvas")).to_have_count(0)
    expect(alice.page.locator("#stream-1 [data-table] tbody tr")).to_have_count(2)
