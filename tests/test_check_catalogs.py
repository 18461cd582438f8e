"""check_catalogs: what an operator is told, and that only --create-indexes writes."""

from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from headers.catalogs import Catalog
from headers.mongo import database
from policies.models import Proposal, RunOverride
from tests.conftest import Commands, People
from tests.documents import Recorder

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _indexes(catalogs: dict[str, Catalog]) -> Iterator[None]:
    """The tests' own indexes plus those that the shared fixture does not make."""
    made = []
    for catalog in catalogs.values():
        start, assets = database(catalog.metadata).run_start, database(catalog.assets)
        for place in catalog.proposal.places:
            made.append((start, start.create_index(place.path)))
        made.append((start, start.create_index("scan_id")))
        events = database(catalog.metadata).event
        made.append((events, events.create_index("uid", unique=True)))
        made.append((assets.datum, assets.datum.create_index("resource")))
    yield
    for collection, name in made:
        if name in collection.index_information() and name != "data_session_1":
            collection.drop_index(name)


def checked(*arguments: str) -> tuple[str, bool]:
    """What was printed, and whether all is well."""
    out = StringIO()
    try:
        call_command("check_catalogs", *arguments, stdout=out)
    except CommandError:
        return out.getvalue(), False
    return out.getvalue(), True


def resource(**fields: object) -> dict[str, object]:
    return {
        "uid": "r-1",
        "spec": "AD_HDF5",
        "root": "/facility/data",
        "resource_path": "there.h5",
        "resource_kwargs": {},
    } | fields


def test_a_good_catalog_is_ok_and_nothing_is_written(
    recorder: Recorder, data_folder: Path, commands: Commands
) -> None:
    (data_folder / "there.h5").touch()
    recorder.run("310000")
    recorder.insert("csx", "resource", resource())
    commands.sent.clear()
    text, well = checked()
    assert well, text
    assert "ok     files present: a sample of 1" in text
    assert "note   no text index" in text
    assert "ok     0 runs without proposal" in text
    reading = {"ping", "listCollections", "listIndexes", "find", "aggregate"}
    assert set(commands.names) <= reading


def test_tells_of_runs_without_proposal_unless_one_was_set(
    people: People, recorder: Recorder
) -> None:
    recorder.run(None)
    uid = recorder.run(None)
    RunOverride.objects.create(
        catalog="csx", run_uid=uid, proposal=Proposal.objects.get(proposal_id="310000"), reason="x"
    )
    text, well = checked()
    assert well
    assert "note   1 runs without proposal" in text


def test_tells_of_runs_that_cannot_be_listed(recorder: Recorder) -> None:
    recorder.insert("csx", "run_start", {"uid": "no-time"})
    recorder.insert("csx", "run_start", {"uid": "text-time", "time": "yesterday"})
    recorder.insert("csx", "run_start", {"time": 1.0})
    text, _ = checked()
    assert "note   3 runs without a number as time or without uid" in text


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"spec": "UNHEARD_OF"}, "handlers missing: UNHEARD_OF (1 resources, not installed)"),
        ({"spec": "AD_SPE"}, "handlers missing: AD_SPE (1 resources, not in `handlers`"),
        ({"resource_path": "gone.h5"}, "files missing: 1 of a sample of 1: resource r-1: nothing"),
        ({"resource_path": "../x"}, "resource r-1 lies outside of allowed_roots"),
    ],
)
def test_handlers_and_files_that_are_missing_are_wrong(
    recorder: Recorder, data_folder: Path, fields: dict[str, object], message: str
) -> None:
    (data_folder / "there.h5").touch()
    recorder.insert("csx", "resource", resource(**fields))
    text, well = checked()
    assert not well
    assert f"wrong  {message}" in text or message in text


def test_files_of_one_beginning_are_found(recorder: Recorder, data_folder: Path) -> None:
    (data_folder / "there_000.npy").touch()
    recorder.insert("csx", "resource", resource(spec="NPY_SEQ", resource_path="there"))
    assert checked()[1]


def test_only_the_flag_makes_missing_indexes(
    recorder: Recorder, catalogs: dict[str, Catalog]
) -> None:
    start = database(catalogs["csx"].metadata).run_start
    start.drop_index("scan_id_1")
    text, well = checked()
    assert not well
    assert "wrong  index missing: run_start (scan_id 1)" in text
    assert "scan_id_1" not in start.index_information()
    text, well = checked("--create-indexes")
    assert well, text
    assert "made   index run_start (scan_id 1)" in text
    assert "scan_id_1" in start.index_information()


def test_an_index_that_suitcase_does_not_make_is_missed_but_not_wrong(
    recorder: Recorder, catalogs: dict[str, Catalog]
) -> None:
    database(catalogs["csx"].metadata).run_start.drop_index("proposal.proposal_id_1")
    text, well = checked()
    assert well
    assert "note   index missing: run_start (proposal.proposal_id 1)" in text


def test_a_catalog_that_is_away_is_wrong_and_the_others_are_still_checked(
    recorder: Recorder, catalogs: dict[str, Catalog], settings: Any
) -> None:
    away = replace(catalogs["csx"], metadata="mongodb://127.0.0.1:1/gone")
    settings.CATALOGS = (away, catalogs["hxn"])
    text, well = checked()
    assert not well
    assert "wrong  not reachable" in text
    assert "hxn: HXN 3-ID\n  ok     reachable" in text
