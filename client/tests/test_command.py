"""The command line, as a person and as a script use it."""

import csv
import io
import json
import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import BASELINE, FRAMES, OPEN, password_of

import dbservice
from dbservice.runs import Database

COMMAND = str(Path(sys.executable).with_name("dbservice"))


@pytest.fixture
def signed_in(site: str) -> None:
    dbservice.connect(site).login("dan", password_of("dan"))


def _run(*arguments: str, status: int = 0) -> str:
    environment = {**os.environ, "TZ": "UTC"}
    done = subprocess.run(
        [COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


@pytest.mark.usefixtures("signed_in")
def test_list_of_runs(dan: Database) -> None:
    lines = _run("list", "plan_name=scan", "num_points__gt=40", "--limit", "3").splitlines()
    assert lines[0].split() == ["scan_id", "time", "plan_name", "sample", "stop.exit_status", "uid"]
    uids = [run.uid[:8] for run in dan.search(plan_name="scan", num_points__gt=40).last(3)]
    assert [line.split()[-1] for line in lines[1:]] == uids
    assert lines[1].split()[2] < "24:00"


@pytest.mark.usefixtures("signed_in")
def test_list_as_csv_is_harmless_in_a_spreadsheet() -> None:
    """Abuse case 12: a cell that begins as a formula does."""
    written = _run("list", "--csv", "-n", "1000", "--columns", "uid,time,sample.formula")
    rows = list(csv.DictReader(io.StringIO(written)))
    assert len(rows) == 69
    assert rows[0]["uid"] == OPEN
    assert rows[0]["time"].startswith("2026-11-19T01:53:13")
    assert {row["sample.formula"] for row in rows} == {"", "'=1+1"}


@pytest.mark.usefixtures("signed_in")
def test_show_a_run() -> None:
    for key in ("148242", BASELINE, "-2"):
        shown = _run("show", key)
        assert "scan #148242 5fba682c" in shown
        assert "baseline: 2 events of" in shown
    documents = json.loads(_run("show", BASELINE, "--json"))
    assert documents["start"]["uid"] == BASELINE


@pytest.mark.usefixtures("signed_in")
def test_get_a_run_and_a_stream(tmp_path: Path) -> None:
    target = tmp_path / "run.h5"
    assert _run("get", FRAMES, "-o", str(target)).strip() == str(target)
    assert target.stat().st_size > 1_000_000
    table = tmp_path / "t.csv"
    _run("get", BASELINE, "--stream", "baseline", "-o", str(table))
    assert table.read_text().startswith('"seq_num"')


def test_anonymous_and_logout(site: str) -> None:
    dbservice.connect(site).login("alice", password_of("alice"))
    assert _run("whoami").splitlines()[0] == "alice"
    assert _run("--anonymous", "whoami").strip() == "nobody"
    _run("logout")
    assert "$DBSERVICE_TOKEN" in _run("--url", site, "whoami", status=1)


@pytest.mark.usefixtures("signed_in")
def test_errors_are_one_line() -> None:
    for arguments in (
        ["show", "0000000"],
        ["list", "since=yesterday"],
        ["get", "-1", "-o", "x.doc"],
    ):
        told = _run(*arguments, status=1)
        assert told.startswith("dbservice: ")
        assert len(told.splitlines()) == 1


def test_without_an_address_it_says_what_to_do() -> None:
    assert "DBSERVICE_URL" in _run("list", status=1)


def test_a_person_signs_in_at_a_terminal(site: str, home: Path) -> None:
    """A real one: a name, a password that is not shown, and signed in from then on."""
    leader, follower = pty.openpty()
    command = [COMMAND, "--url", site, "login"]
    person = subprocess.Popen(
        command, stdin=follower, stdout=follower, stderr=follower, start_new_session=True
    )
    os.close(follower)
    seen = _until(leader, b"browser): ")
    os.write(leader, b"alice\n")
    seen += _until(leader, b"Password of alice: ")
    os.write(leader, password_of("alice").encode() + b"\n")
    seen += _until(leader, b"310002")
    assert person.wait(60) == 0
    os.close(leader)
    assert password_of("alice").encode() not in seen
    assert _run("whoami").startswith("alice\n")


def _until(terminal: int, text: bytes) -> bytes:
    seen = b""
    while text not in seen:
        ready, _, _ = select.select([terminal], [], [], 60)
        assert ready, seen
        seen += os.read(terminal, 4096)
    return seen
