"""How things look in a notebook, and that the notebook of the documentation runs."""

import html
import json
import re
import sys
import types
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from conftest import BASELINE, FRAMES, ROOT, password_of

import dbservice
from dbservice import auth, notebook, progress
from dbservice.runs import Database

QUICKSTART = ROOT / "docs" / "quickstart.ipynb"


def test_a_run_shows_its_facts_and_a_plot_of_what_is_in_hand(dan: Database) -> None:
    run = dan[BASELINE]
    before = run._repr_html_()
    assert run.url in before
    assert "baseline (2)" in before
    assert "<svg" not in before
    run.table()
    assert "diode over theta" in run._repr_html_()


def test_a_list_of_runs_is_a_table_of_ten(dan: Database) -> None:
    shown = dan.search(plan_name="scan")._repr_html_()
    assert shown.count("<tr>") == 11
    assert f"{dan.search(plan_name='scan').count()} runs, the first 10" in shown


def test_what_documents_say_is_text(dan: Database) -> None:
    """Abuse case 23: the demo has a run whose sample is a script."""
    hostile = dan.search({"sample.name": "<script>alert(1)</script>"})
    for shown in (hostile[-1]._repr_html_(), hostile._repr_html_()):
        assert "<script" not in shown
        assert "&lt;script&gt;" in shown
    assert "\n" not in repr(hostile[-1])


def test_reprs_are_one_line_and_ask_nothing(dan: Database) -> None:
    run = dan[FRAMES]
    things = [dan, dan.search(plan_name="scan"), run, run.primary, run.data("fccd_image")]
    for thing in things:
        assert len(repr(thing).splitlines()) == 1


def test_a_bar_is_for_people_only(monkeypatch: pytest.MonkeyPatch) -> None:
    import tqdm

    shown: list[dict[str, Any]] = []
    monkeypatch.setattr(tqdm, "tqdm", _recording(shown))
    with progress.bar(10, "x", wanted=True) as meter:
        meter(5)
    assert shown == []  # a script
    monkeypatch.setattr(sys, "stderr", types.SimpleNamespace(isatty=lambda: True))
    with progress.bar(10, "x", wanted=False):
        pass
    assert shown == []
    with progress.bar(10, "x", wanted=True) as meter:
        meter(5)
    assert (shown[0]["total"], shown[0]["delay"]) == (10, 2.0)


def _recording(shown: list[dict[str, Any]]) -> type:
    class Bar:
        def __init__(self, **options: Any) -> None:
            shown.append(options)

        def __enter__(self) -> "Bar":
            return self

        def __exit__(self, *problem: object) -> None:
            pass

        def update(self, count: int) -> None:
            pass

    return Bar


def test_a_code_to_sign_in_is_shown_as_a_link(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=1)  # type: ignore[attr-defined]
    display = types.ModuleType("IPython.display")
    display.HTML = str  # type: ignore[attr-defined]
    display.display = shown.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    auth.show_code({"verification_uri": "https://b.org/device/", "user_code": "<BCDF>"})
    assert 'href="https://b.org/device/"' in shown[0]
    assert "&lt;BCDF&gt;" in shown[0]


def test_a_thumbnail_needs_two_points_and_leaves_gaps_out() -> None:
    nan = float("nan")
    assert notebook.thumbnail([1.0], [2.0], "x") == ""
    assert notebook.thumbnail([1.0, nan, 3.0], [nan, 1.0, 2.0], "x") == ""
    assert "polyline" in notebook.thumbnail([1.0, 2.0, 3.0], [5.0, 5.0, 5.0], "x")


def test_the_quickstart_runs(site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cell of the documentation's notebook, in order, as alice."""
    db = dbservice.connect(site)
    db.login("alice", password_of("alice"))
    monkeypatch.setenv("DBSERVICE_URL", site)
    cells = json.loads(QUICKSTART.read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert len(sources) > 8
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {}
    for number, source in enumerate(sources):
        exec(compile(source, f"quickstart cell {number}", "exec"), space)
    assert len(space["table"]) == space["run"].primary.event_count


def test_the_lines_on_the_page_of_a_run_work(
    site: str, alice: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the page shows for pasting, as anybody sees it of a public run."""
    public = alice.search(proposal="312000", plan_name="scan")[-1]
    with urllib.request.urlopen(public.url) as page:
        text = page.read().decode()
    (shown,) = re.findall(r'<pre[^>]*aria-label="With Python">(.*?)</pre>', text, re.DOTALL)
    scopes = ["read:metadata", "read:data"]
    token = alice._session.do(dbservice.reading.api_token("page", scopes, 900))
    monkeypatch.setenv("DBSERVICE_TOKEN", token)
    space: dict[str, Any] = {}
    exec(html.unescape(shown), space)
    assert space["run"] == public
    assert len(space["table"]) == space["data"].sizes["time"] > 0
