"""Curves: what is drawn, computed, saved and kept in the address, as the API and numpy have it."""

import csv
import io
import math
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest
from bluesky.callbacks.fitting import PeakStats
from playwright.sync_api import expect

from demo.load import manifest
from tests.browser.conftest import Record, Visit, Visitor
from tests.browser.test_plots import PLOT, columns_of, scan

CSX = manifest()["csx"]
PUBLIC = f"/runs/{CSX['public']}/"


def open_scan(visit: Visit, query: str = "") -> Visitor:
    person = visit(None)
    person.open(f"{PUBLIC}{query}")
    person.plotted(PLOT)
    return person


def draw(person: Visitor, expression: str) -> dict[str, Any]:
    """Draws an expression; what the plot then shows."""
    field = person.page.locator(PLOT).get_by_label("Expression")
    field.fill(expression)
    field.press("Enter")
    person.page.locator(PLOT).get_by_label(expression, exact=True).wait_for()
    return dict(person.plotted(PLOT)["series"])


def test_each_unit_has_a_panel_of_its_own_over_one_x(visit: Visit) -> None:
    person = open_scan(visit, "?y=diode&y=ring_current&y=theta_setpoint")
    assert person.page.locator(f"{PLOT} .uplot").count() == 3
    lefts = person.page.locator(f"{PLOT} .u-over").evaluate_all(
        "all => all.map(one => [one.getBoundingClientRect().left, one.offsetWidth])"
    )
    assert len({tuple(left) for left in lefts}) == 1


def test_the_cursor_shows_one_event_in_all_panels(visit: Visit) -> None:
    person = open_scan(visit, "?y=diode&y=ring_current")
    columns = columns_of(person, CSX["public"])
    first = person.page.locator(f"{PLOT} .u-over").first
    first.scroll_into_view_if_needed()
    box = first.bounding_box()
    assert box is not None
    person.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 10)
    at = int(np.argmin(np.abs(np.array(columns["theta"]) - np.mean(columns["theta"]))))
    told = person.page.locator(f"{PLOT} .plot-legend output")
    expect(told.first).to_have_text(str(columns["diode"][at]))
    assert float(told.nth(1).inner_text()) == pytest.approx(columns["ring_current"][at], rel=1e-5)
    expect(person.page.locator(f"{PLOT} .plot-where")).to_contain_text(f"point {at + 1} of 61")


def test_keys_walk_the_points_in_recorded_order_and_zoom(visit: Visit, record: Record) -> None:
    alice = visit("alice")
    points = [{"det": float(n), "field": x} for n, x in enumerate([0.0, 2.0, 1.0, 3.0])]
    alice.open(f"/runs/{record(scan(points, [['field']]))}/")
    alice.plotted(PLOT)
    plot = alice.page.locator(f"{PLOT} .panels")
    plot.focus()
    told = []
    for _ in points:
        alice.page.keyboard.press("ArrowRight")
        told.append(alice.page.locator(f"{PLOT} .plot-legend output").inner_text())
    assert told == ["0", "1", "2", "3"]
    alice.page.keyboard.press("Home")
    alice.page.keyboard.press("+")
    zoomed = alice.page.locator(PLOT).evaluate("place => place.zoomed")
    assert (zoomed["min"], zoomed["max"]) == (0, 1.5)
    assert alice.page.url.endswith("?zoom=0%2C1.5")
    alice.page.keyboard.press("0")
    assert alice.page.locator(PLOT).evaluate("place => place.zoomed") is None


def test_of_a_loop_the_cursor_finds_the_branch_it_is_on(visit: Visit, record: Record) -> None:
    alice = visit("alice")
    points = [{"det": 0.0, "field": float(x)} for x in range(11)]
    points += [{"det": 100.0, "field": float(x)} for x in reversed(range(11))]
    alice.open(f"/runs/{record(scan(points, [['field']]))}/")
    alice.plotted(PLOT)
    over = alice.page.locator(f"{PLOT} .u-over")
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    assert box is not None
    where = alice.page.locator(f"{PLOT} .plot-where")
    for height, point in ((0.95, 6), (0.05, 17)):
        alice.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * height)
        expect(where).to_have_text(f"field 5 · point {point} of 22")


def test_dragging_zooms_all_panels_and_back_again(visit: Visit) -> None:
    person = open_scan(visit, "?y=diode&y=ring_current")
    over = person.page.locator(f"{PLOT} .u-over").first
    over.scroll_into_view_if_needed()
    box = over.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    person.page.mouse.move(box["x"] + box["width"] * 0.25, middle)
    person.page.mouse.down()
    person.page.mouse.move(box["x"] + box["width"] * 0.75, middle, steps=4)
    person.page.mouse.up()
    theta = columns_of(person, CSX["public"])["theta"]
    zoomed = person.page.locator(PLOT).evaluate("place => place.zoomed")
    span = max(theta) - min(theta)
    assert zoomed["min"] == pytest.approx(min(theta) + span / 4, abs=span / 100)
    assert zoomed["max"] == pytest.approx(min(theta) + span * 3 / 4, abs=span / 100)
    over.dblclick()
    assert person.page.locator(PLOT).evaluate("place => place.zoomed") is None


def test_expressions_are_computed_as_numpy_does(visit: Visit) -> None:
    person = open_scan(visit)
    columns = {k: np.array(v, float) for k, v in columns_of(person, CSX["public"]).items()}
    diode, current, theta = columns["diode"], columns["ring_current"], columns["theta"]
    expected = {
        "diode / ring_current": diode / current,
        "log(max(diode) / diode) * 2": 2 * np.log(diode.max() / diode),
        "derivative(diode)": np.gradient(diode, theta),
        "-diode^2 + 1e3": -(diode**2) + 1e3,
        "(diode - mean(diode)) / sqrt(sum(diode))": (diode - diode.mean()) / np.sqrt(diode.sum()),
        "normalise(diode)": (diode - diode.min()) / (diode.max() - diode.min()),
        "time - first(time)": columns["time"] - columns["time"][0],
    }
    for text, values in expected.items():
        drawn = draw(person, text)
        assert drawn[text] == pytest.approx(values.tolist(), rel=1e-9), text
    assert "diode" not in drawn  # an expression takes the place of what it is made of


def test_what_has_no_value_is_a_gap(visit: Visit, record: Record) -> None:
    alice = visit("alice")
    points = [{"det": value, "I 0": value - 1} for value in (1.0, 2.0, 0.0)]
    alice.open(f"/runs/{record(scan(points, []))}/")
    alice.plotted(PLOT)
    drawn = draw(alice, 'log(det) / "I 0"')
    assert drawn['log(det) / "I 0"'] == [None, pytest.approx(math.log(2)), None]


WRONG = {
    "diode /": "missing before the end",
    "diode ring_current": "An operator such as + or / is missing",
    "(diode": "A closing “)” is missing",
    "no_such_field": "There is no number “no_such_field” here; there are diode",
    "alert(1)": "There is no function “alert”",
    "constructor.constructor": "There is no number",
    "diode; 1": "cannot be read here",
    "log": "write log(…)",
    "derivative()": "derivative takes 1 or 2 values",
    "(" * 200: "nested too deeply",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_with_an_expression_is_said_at_its_field(visit: Visit, text: str) -> None:
    """ABUSE 23: an expression is parsed, never run; what was drawn stays."""
    person = open_scan(visit)
    field = person.page.locator(PLOT).get_by_label("Expression")
    field.fill(text)
    field.press("Enter")
    alert = person.page.locator(f"{PLOT} .expression [role=alert]")
    expect(alert).to_contain_text(WRONG[text])
    expect(field).to_have_attribute("aria-invalid", "true")
    assert list(person.plotted(PLOT)["series"]) == ["diode"]


def peak_stats(xs: list[float], ys: list[float]) -> Any:
    """What bluesky tells of a scan of these points."""
    stats: Any = PeakStats
    found = stats("x", "y")
    for x, y in zip(xs, ys, strict=True):
        found.event({"data": {"x": x, "y": y}})
    found.compute()
    return found


def test_peaks_are_what_bluesky_calls_so(visit: Visit) -> None:
    person = open_scan(visit, "?y=diode&y=ring_current")
    columns = columns_of(person, CSX["public"])
    found = person.page.locator(f"{PLOT} .peaks").evaluate("box => box.peaks")
    for name in ("diode", "ring_current"):
        stats = peak_stats(columns["theta"], columns[name])
        assert found[name]["max"] == pytest.approx(list(stats["max"]))
        assert found[name]["min"] == pytest.approx(list(stats["min"]))
        for part in ("com", "cen", "fwhm"):
            assert found[name][part] == pytest.approx(float(stats[part])), part


def test_peaks_can_be_copied(visit: Visit) -> None:
    person = open_scan(visit)
    person.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    person.page.locator(f"{PLOT} .peaks").get_by_role("button", name="Copy").click()
    head, row = person.page.evaluate("navigator.clipboard.readText()").split("\n")
    columns = columns_of(person, CSX["public"])
    assert head.split("\t")[1:4] == ["max at", "max", "com"]
    assert float(row.split("\t")[2]) == max(columns["diode"])


def saved(person: Visitor, kind: str) -> bytes:
    with person.page.expect_download() as download:
        person.page.locator(PLOT).get_by_role("button", name=kind, exact=True).click()
    assert download.value.suggested_filename.startswith("scan_148218_Fe_Gd_reference")
    return download.value.path().read_bytes()


def test_what_is_seen_can_be_saved(visit: Visit) -> None:
    person = open_scan(visit, "?y=diode&y=ring_current&zoom=21,22")
    columns = columns_of(person, CSX["public"])
    rows = list(csv.reader(io.StringIO(saved(person, "CSV").decode())))
    assert rows[0] == ["theta (deg)", "diode (counts)", "ring_current (mA)"]
    inside = [i for i, theta in enumerate(columns["theta"]) if 21 <= theta <= 22]
    expected = [[columns[name][i] for name in ("theta", "diode", "ring_current")] for i in inside]
    assert [[float(cell) for cell in row] for row in rows[1:]] == expected
    drawing = ET.fromstring(saved(person, "SVG"))
    texts = [node.text for node in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert "scan #148218 · Fe/Gd reference · 2026-02-18 07:47 EST · CSX 23-ID-1" in texts
    assert {"diode (counts)", "theta (deg)"} <= set(texts)
    assert saved(person, "PNG").startswith(b"\x89PNG")


def test_times_are_iso_in_the_beamlines_zone_or_seconds(visit: Visit) -> None:
    person = open_scan(visit, "?x=time")
    begun = columns_of(person, CSX["public"])["time"]
    assert person.plotted(PLOT)["x"] == begun
    person.page.locator(f"{PLOT} .panels").press("ArrowRight")
    where = person.page.locator(f"{PLOT} .plot-where")
    expect(where).to_contain_text("time 2026-02-18T07:47:")
    choice = person.page.locator(PLOT).get_by_role("combobox", name="as", exact=True)
    choice.select_option("seconds")
    assert person.plotted(PLOT)["x"] == pytest.approx([at - begun[0] for at in begun])
    person.page.locator(f"{PLOT} .panels").press("Home")
    expect(where).to_contain_text("time since the first point 0 s")


def test_what_is_chosen_is_in_the_address_and_back_undoes_it(visit: Visit) -> None:
    person = open_scan(visit)
    plot = person.page.locator(PLOT)
    plot.get_by_label("log scale").check()
    plot.get_by_label("ring_current", exact=True).check()
    draw(person, "diode * 2")
    plot.get_by_role("combobox", name="Over").select_option("time")
    seen = person.plotted(PLOT)
    address = person.page.url
    assert "scale=log" in address
    other = visit(None)
    other.open(address.removeprefix(other.site))
    assert other.plotted(PLOT)["series"] == seen["series"]
    assert other.plotted(PLOT)["xName"] == "time"
    expect(other.page.locator(PLOT).get_by_label("log scale")).to_be_checked()
    for _ in range(4):
        person.page.go_back()
    assert person.page.url == f"{person.site}{PUBLIC}"
    assert list(person.plotted(PLOT)["series"]) == ["diode"]
    expect(plot.get_by_label("log scale")).not_to_be_checked()
    person.page.go_forward()
    expect(plot.get_by_label("log scale")).to_be_checked()


def test_a_state_that_cannot_be_is_left_out(visit: Visit) -> None:
    person = open_scan(visit, "?x=nothing&y=gone&y=diode&expr=log(gone)&stream=primary&zoom=9,1")
    drawn = person.plotted(PLOT)
    assert (drawn["xName"], list(drawn["series"])) == ("time", ["diode"])
    alert = person.page.locator(f"{PLOT} .expression [role=alert]")
    expect(alert).to_contain_text("no number “gone”")


def test_names_of_fields_are_inert_in_plots_and_files(visit: Visit, record: Record) -> None:
    """ABUSE 23."""
    alice = visit("alice")
    alice.page.on("dialog", lambda dialog: alice.errors.append(f"dialog: {dialog.message}"))
    name = '=cmd|"<img src=x onerror=alert(1)>\u202e'
    documents = scan([{name: 1.0, "det": 2.0}, {name: 2.0, "det": 3.0}], [])
    documents[0]["document"]["sample"] = "<script>alert(1)</script>"
    alice.open(f"/runs/{record(documents)}/")
    alice.plotted(PLOT)
    alice.page.locator(PLOT).locator(".signals label", has_text="onerror").click()
    expect(alice.page.locator(f"{PLOT} .plot-legend")).to_contain_text("<img src=x")
    assert alice.page.locator(f"{PLOT} :is(img, script)").count() == 0
    assert "\u202e" not in alice.page.locator(PLOT).inner_text()
    with alice.page.expect_download() as download:
        alice.page.locator(PLOT).get_by_role("button", name="CSV", exact=True).click()
    rows = list(csv.reader(io.StringIO(download.value.path().read_text())))
    assert not [cell for cell in rows[0] if cell.startswith("=")]


def test_a_signal_without_values_is_an_empty_plot(visit: Visit, record: Record) -> None:
    alice = visit("alice")
    points: list[dict[str, Any]] = [{"det": None, "x": 1.0}, {"det": None, "x": None}]
    alice.open(f"/runs/{record(scan(points, [['x']]))}/")
    assert alice.plotted(PLOT)["series"] == {"det": [None]}
    expect(alice.page.locator(f"{PLOT} .peaks table")).to_have_count(0)


def test_a_clicked_point_is_told_to_who_shows_frames_and_theirs_is_marked(
    visit: Visit, record: Record
) -> None:
    """Events are counted as in the table, also where some have no place on the plot."""
    alice = visit("alice")
    points: list[dict[str, Any]] = [{"det": n, "x": x} for n, x in enumerate([None, 1.0, 2.0, 0.0])]
    alice.open(f"/runs/{record(scan(points, [['x']]))}/")
    alice.plotted(PLOT)
    alice.page.locator("#stream-1").evaluate(
        "place => place.addEventListener('event-chosen', ({detail}) => { place.told = detail; })"
    )
    plot = alice.page.locator(f"{PLOT} .panels")
    for key in ("Home", "ArrowRight", "Enter"):
        plot.press(key)
    section = alice.page.locator("#stream-1")
    assert section.evaluate("place => place.told") == {"event": 2}
    section.evaluate(
        "place => place.dispatchEvent(new CustomEvent('event-shown', {detail: {event: 3}}))"
    )
    expect(alice.page.locator(f"{PLOT} .plot-where")).to_have_text("x 0 · point 3 of 3")


def test_the_signal_of_a_map_is_in_the_address(visit: Visit, record: Record) -> None:
    alice = visit("alice")
    places = [(y, x) for y in (0.0, 1.0) for x in (0.0, 1.0, 2.0)]
    points = [
        {"det": float(i), "other": 10.0 * i, "sy": y, "sx": x} for i, (y, x) in enumerate(places)
    ]
    documents = scan(points, [["sy"], ["sx"]], shape=[2, 3])
    documents[1]["document"]["hints"] = {"det": {"fields": ["det", "other"]}}
    alice.open(f"/runs/{record(documents)}/?y=other")
    assert alice.plotted(PLOT)["values"] == [10.0 * i for i in range(6)]
    alice.page.locator(PLOT).get_by_role("combobox", name="Signal").select_option("det")
    alice.page.wait_for_url(lambda url: "y=other" not in url)
    alice.page.go_back()
    alice.page.wait_for_url("**?y=other")
    expect(alice.page.locator(PLOT).get_by_role("combobox", name="Signal")).to_have_value("other")
