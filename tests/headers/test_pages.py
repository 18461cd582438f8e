"""The pages without a browser: what they show, to whom, and what that costs."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from broker_site.document_html import MAX_CHARACTERS, document_html
from broker_site.inert import visible
from headers.downloads import array_downloads, field_bytes
from headers.metadata_tree import MAX_NODES, tree
from headers.plotting import field_kind, plot_plan
from headers.repositories import Run
from tests.conftest import Commands, People
from tests.documents import Recorder

LINK = re.compile(r'class="what" href="/runs/([^/]+)/"')


def browser_of(people: People, name: str) -> Client:
    client = Client()
    if name != "nobody":
        client.force_login(
            getattr(people, name), backend="django.contrib.auth.backends.ModelBackend"
        )
    return client


def text_of(client: Client, path: str, **parameters: str) -> str:
    response = client.get(path, parameters)
    assert response.status_code == 200
    return response.content.decode()


@pytest.mark.parametrize(
    ("actor", "expected"),
    [
        ("alice", {"310000", "312000"}),
        ("bob", {"310001", "312000"}),
        ("sue", {"310000", "310001", "312000", None}),
        ("dan", {"310000", "310001", "312000", None}),
        ("nobody", {"312000"}),
    ],
)
def test_the_list_shows_each_actor_just_what_they_may_read(
    actor: str, expected: set[str | None], people: People, recorder: Recorder
) -> None:
    runs = {recorder.run(proposal): proposal for proposal in ("310000", "310001", "312000", None)}
    page = text_of(browser_of(people, actor), "/runs/")
    assert {runs[uid] for uid in LINK.findall(page)} == expected


def test_facets_count_no_hidden_run(people: People, recorder: Recorder) -> None:
    """ABUSE 7, for the pages."""
    recorder.run("310000", plan_name="scan")
    recorder.run("310001", plan_name="secret_plan")
    page = text_of(browser_of(people, "alice"), "/runs/facets/")
    assert "scan" in page
    assert "secret_plan" not in page
    assert "310001" not in page


def test_a_hidden_run_gives_the_same_page_as_nonsense(people: People, recorder: Recorder) -> None:
    """ABUSE 6 and 8, for the pages."""
    hidden = recorder.run("310001")
    alice = browser_of(people, "alice")
    answers = [alice.get(f"/runs/{key}/") for key in (hidden, hidden[:8], "nonsense")]
    assert {answer.status_code for answer in answers} == {404}
    bodies = [re.sub(r'value="\w{64}"', "", answer.content.decode()) for answer in answers]
    assert bodies[0] == bodies[1] == bodies[2]
    assert browser_of(people, "bob").get(f"/runs/{hidden}/").status_code == 200


def test_a_page_of_runs_costs_two_commands_and_a_complete_run_one(
    people: People, recorder: Recorder, commands: Commands, index_stands: Callable[[], None]
) -> None:
    uid = recorder.run()
    alice = browser_of(people, "alice")
    index_stands()
    commands.sent.clear()
    text_of(alice, "/runs/", catalog="csx")
    assert commands.names == ["find", "find"]
    commands.sent.clear()
    text_of(alice, f"/runs/{uid}/")
    assert commands.names == ["aggregate"]


def test_markup_in_documents_stays_text(people: People, recorder: Recorder) -> None:
    """ABUSE 23."""
    keys: dict[str, Any] = {"<b>key</b>": {"<i>inner</i>": ["</li>", "data:text/html,x"]}}
    uid = recorder.run(
        sample="<script>alert(1)</script>",
        purpose='"><img src=x onerror=alert(1)>',
        plan_name="{{7*7}} \u202etxt",
        link="javascript:alert(1)",
        page="https://example.org/a?b=1&c=2",
        **keys,
    )
    alice = browser_of(people, "alice")
    for path in (f"/runs/{uid}/", "/runs/", "/runs/facets/"):
        page = text_of(alice, path)
        for raw in ("<script>alert", "<img src=x", "<b>key", "<i>inner", "</li>,", "\u202e"):
            assert raw not in page
        assert 'href="javascript:' not in page
        assert "49" not in re.findall(r"\{\{7\*7\}\}.{5}", page)[0]
    assert 'href="https://example.org/a?b=1&amp;c=2" rel="noopener' in text_of(
        alice, f"/runs/{uid}/"
    )


def test_odd_documents_have_a_page(people: People, recorder: Recorder) -> None:
    uid = recorder.run(
        exit_status=None,
        scan_id={"a": 1},
        plan_name=["scan"],
        sample=7,
        hints={"dimensions": [[["motor"], "primary"], "x", [[], 3]]},
        shape=["a", None],
        time=1e300,
    )
    recorder.descriptor(uid, name="no keys", data_keys=None, hints=None)
    recorder.descriptor(uid, name="odd/stream ?", data_keys={"a b": {"dtype": 3}, "c": 5})
    alice = browser_of(people, "alice")
    assert "odd/stream" in text_of(alice, f"/runs/{uid}/")
    assert uid in text_of(alice, "/runs/")


def test_what_is_wrong_with_a_filter_is_said_beside_the_filters(
    people: People, recorder: Recorder
) -> None:
    """ABUSE 1 and 14, for the pages."""
    for parameters in (
        {"plan_name": '{"$ne": null}'},
        {"query": '{"$where": "1"}'},
        {"query": '{}]}, "$or": [{}'},
        {"sample": "x", "query": '{"plan_name": "scan"}]}, "$or": [{}'},
        {"cursor": "AAAA"},
        {"nonsense": "1"},
        {"page_size": "0"},
    ):
        response = browser_of(people, "alice").get("/runs/", parameters)
        assert response.status_code == 400
        assert 'role="alert"' in response.content.decode()


def test_empty_fields_of_the_form_are_no_filters(people: People, recorder: Recorder) -> None:
    uid = recorder.run()
    parameters = {"plan_name": "", "scan_id": "", "query": "", "since": "", "catalog": "csx"}
    assert uid in text_of(browser_of(people, "alice"), "/runs/", **parameters)


def test_a_cursor_of_the_page_is_of_no_use_to_others(people: People, recorder: Recorder) -> None:
    """ABUSE 13, for the pages."""
    for _ in range(3):
        recorder.run("312000")
    page = text_of(browser_of(people, "alice"), "/runs/", page_size="2")
    older = re.findall(r'rel="next" href="([^"]+)"', page)[0].replace("&amp;", "&")
    assert browser_of(people, "alice").get(older).status_code == 200
    assert browser_of(people, "bob").get(older).status_code == 400


def test_unknown_addresses_are_a_page_for_people_and_a_problem_for_programs(
    client: Client, db: None
) -> None:
    page = client.get("/nonsense/", HTTP_ACCEPT="text/html")
    assert page["Content-Type"].startswith("text/html")
    problem = client.get("/api/v1/nonsense/", HTTP_ACCEPT="text/html")
    assert problem["Content-Type"] == "application/problem+json"


def test_the_schema_describes_every_route_with_examples_that_run(
    people: People, recorder: Recorder
) -> None:
    recorder.run("312000")
    client = Client()
    schema = client.get("/api/v1/schema/", {"format": "json"}).json()
    assert schema["openapi"].startswith("3.1")
    detail = schema["paths"]["/api/v1/headers/{key}/"]["get"]
    key = next(p["example"] for p in detail["parameters"] if p["name"] == "key")
    assert client.get(f"/api/v1/headers/{key}/").status_code == 200
    assert not [path for path in schema["paths"] if not path.startswith("/api/v1/")]


def test_a_document_of_any_size_makes_a_tree_of_bounded_size() -> None:
    wide: dict[str, Any] = {f"key{n}": {f"in{m}": m for m in range(40)} for n in range(1000)}
    assert tree(wide).count("<li>") <= MAX_NODES + 100
    deep: dict[str, Any] = {}
    for _ in range(150):
        deep = {"down": deep, "x": 1}
    assert "nested deeper" in tree(deep)
    assert len(tree({"text": "x" * 1_000_000})) < 50_000


def test_marks_that_turn_the_direction_are_written_out() -> None:
    assert visible("a\u202eb\u200f\x00") == "a‹U+202E›b‹U+200F›‹U+0000›"
    assert visible("tab\tand\nline, µm, 日本") == "tab\tand\nline, µm, 日本"


def test_a_long_answer_is_cut_before_it_is_a_page() -> None:
    html, is_cut = document_html({"values": [[float(n)] * 4 for n in range(200_000)]})
    assert is_cut
    assert len(html) < MAX_CHARACTERS + 5_000
    assert document_html({"a": [1, 2], "b": "<"}) == (
        '{\n  <span class="j-key">&quot;a&quot;</span>: '
        '[<span class="j-other">1</span>, <span class="j-other">2</span>],\n  '
        '<span class="j-key">&quot;b&quot;</span>: '
        '<span class="j-text">&quot;&lt;&quot;</span>\n}',
        False,
    )


def field(dtype: str = "number", shape: Any = (), **more: Any) -> dict[str, Any]:
    known = {"units": None, "external": None, "available": True}
    return {"dtype": dtype, "shape": list(shape), **known, **more}


@pytest.mark.parametrize(
    ("described", "kind"),
    [
        (field(), "number"),
        (field("integer"), "number"),
        (field("string"), "text"),
        (field("array", (1024,)), "line"),
        (field("array", (1, 512, 512), external="FILESTORE:"), "image"),
        (field("array", (256, 256, 0), external="FILESTORE:"), "image"),
        (field("array", (), external="FILESTORE:"), "image"),
        (field("array", (4, 4), external="STREAM:", available=False), "unavailable"),
        (field("array", (2,), holds_text=True), "text"),
        (field("array", (2,), dtype_numpy="<U20"), "text"),
        (field("array", (2,), dtype_numpy="|O"), "text"),
        (field("array", (2,), dtype_numpy="<f8"), "line"),
    ],
)
def test_a_field_is_shown_by_what_its_data_key_says(described: dict[str, Any], kind: str) -> None:
    assert field_kind(described) == kind


def test_sizes_are_estimated_from_shape_and_type() -> None:
    frame = field("array", (1, 512, 512), external="FILESTORE:", dtype_numpy="<u2")
    assert field_bytes(frame) == 512 * 512 * 2
    assert {item.bytes for item in array_downloads("/s/", "a/b", frame, 20)} == {20 * 2**19}
    assert array_downloads("/s/", "a b", frame, 1)[0].url == "/s/data/a%20b/?format=npy"


def run_of(recorder: Recorder, **start: Any) -> Run:
    catalog = recorder.catalogs["csx"]
    descriptor = {"uid": "d", "name": "primary", "hints": {"det": {"fields": ["det"]}}}
    return Run(catalog, {"uid": "u", **start}, None, None, 0, [descriptor])


STREAM = {"name": "primary", "fields": {name: field() for name in ("det", "x", "y")}}


def test_hints_choose_the_plot(recorder: Recorder) -> None:
    dimension = [[["x"], "primary"], [["y"], "primary"]]
    scan = plot_plan(run_of(recorder, hints={"dimensions": dimension[:1]}), STREAM)
    assert scan is not None
    assert (scan["kind"], scan["x"], scan["signals"]) == ("lines", "x", ["det"])
    start = {"hints": {"dimensions": dimension}, "shape": [3, 4], "extents": [[0, 1], [0, 2]]}
    grid = plot_plan(run_of(recorder, **start), STREAM)
    assert grid is not None
    assert (grid["kind"], grid["slow"], grid["fast"], grid["shape"]) == ("map", "x", "y", [3, 4])
    count = plot_plan(run_of(recorder, hints={"dimensions": [[["time"], "primary"]]}), STREAM)
    assert count is not None
    assert (count["kind"], count["x"]) == ("lines", "time")


def signals(run: Run, *fields: str, name: str = "primary") -> list[str] | None:
    plan = plot_plan(run, {"name": name, "fields": {field_name: field() for field_name in fields}})
    return list(plan["signals"]) if plan else None


def test_what_was_moved_is_no_signal(recorder: Recorder) -> None:
    """Neither the second motor of a dimension nor what else its device reads."""
    dimensions = [[["x", "y"], "primary"]]
    run = run_of(recorder, hints={"dimensions": dimensions}, motors=["mx", "my"])
    run.descriptors[0]["hints"] = {"my": {"fields": ["y"]}, "mx": {"fields": ["x"]}}
    run.descriptors[0]["object_keys"] = {"mx": ["x", "x_setpoint"], "my": ["y", "y_setpoint"]}
    assert signals(run, "x", "x_setpoint", "y", "y_setpoint", "counts") == ["counts"]
    assert signals(run, "x", "x_setpoint", "y", "y_setpoint") is None


def test_what_old_descriptors_say_of_moved_devices_is_enough(recorder: Recorder) -> None:
    """Without `object_keys`, without dimensions, and, at last, without `motors`."""
    fields = ("mx", "mx_setpoint", "my", "myriad", "counts")
    run = run_of(recorder, motors=["mx", "my"])
    run.descriptors[0]["hints"] = {"my": {"fields": ["my"]}, "mx": {"fields": ["mx"]}}
    assert signals(run, "mx", "my", "counts") == ["counts"]
    run.descriptors[0]["hints"] = None
    assert signals(run, *fields) == ["myriad", "counts"]
    arguments = ["EpicsMotor(prefix='', name='mx', settle_time=0.0)", -1, 1, "Axis(name='my')", 0]
    detectors = ["Counter(name='counts')"]
    run = run_of(recorder, plan_args={"args": arguments, "detectors": detectors, "num": 3})
    run.descriptors[0]["hints"] = {}
    assert signals(run, *fields) == ["myriad", "counts"]


def test_the_ring_current_is_known_by_its_channel(recorder: Recorder) -> None:
    fields = {"i0": field(source="PV:SR:C03-BI{DCCT:1}I:Real-I"), "it": field(source="PV:It")}
    plan = plot_plan(run_of(recorder), {"name": "primary", "fields": fields})
    assert plan is not None
    assert plan["signals"] == ["it"]


def test_an_address_may_hold_what_is_chosen_on_the_page(people: People, recorder: Recorder) -> None:
    uid = recorder.run()
    alice = browser_of(people, "alice")
    chosen = "stream=primary&x=time&y=a&y=b&expr=a/b&scale=log&time=seconds&zoom=-1e3,2.5"
    page = text_of(alice, f"/runs/{uid}/?{chosen}")
    assert 'data-caption="' in page
    for wrong in ("scale=cubic", "zoom=alert(1)", "unknown=1", "x=a&x=b", "expr=" + "a" * 301):
        assert alice.get(f"/runs/{uid}/?{wrong}").status_code == 400


@pytest.mark.parametrize(
    "current",
    ["ring_current", "RingCurrent", "sr_current", "SR-beam-current", "beam_current", "DCCT_mean"],
)
def test_the_ring_current_is_drawn_only_where_nothing_else_is(
    recorder: Recorder, current: str
) -> None:
    run = run_of(recorder)
    run.descriptors[0]["hints"] = {current: {"fields": [current]}}
    assert signals(run, current, "diode") == ["diode"]
    assert signals(run, current) == [current]
    run.descriptors[0]["hints"] |= {"det": {"fields": ["det"]}}
    assert signals(run, current, "det", "diode") == ["det"]


@pytest.mark.parametrize("name", ["string_current", "sample_current", "current_x", "stirring"])
def test_other_currents_are_signals(recorder: Recorder, name: str) -> None:
    assert signals(run_of(recorder), name, "other") == [name, "other"]


def test_a_baseline_has_no_plot(recorder: Recorder) -> None:
    assert signals(run_of(recorder), "det", name="baseline") is None
