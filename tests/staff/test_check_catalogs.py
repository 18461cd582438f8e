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
from staff.checkup import Level, _version_finding
from tests.conftest import Commands, People
from tests.documents import Recorder

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _indexes(catalogs: dict[str, Catalog], data_folder: Path) -> Iterator[None]:
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
    assert "no text index" in text
    assert "ok     0 runs without proposal" in text
    reading = {
        "ping",
        "buildinfo",
        "listCollections",
        "listIndexes",
        "explain",
        "find",
        "aggregate",
    }
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


@pytest.mark.parametrize(
    ("collection", "uid"), [("run_start", "r-x"), ("event_descriptor", "d-x"), ("event", "e-x")]
)
def test_a_list_as_time_is_wrong_in_runs_descriptors_and_events(
    recorder: Recorder, catalogs: dict[str, Catalog], collection: str, uid: str
) -> None:
    recorder.run("310000")
    document = {"uid": uid, "time": [1.0, 2.0], "descriptor": "d", "run_start": "r"}
    recorder.insert("csx", collection, document)
    text, well = checked()
    assert not well
    wrong = [line for line in text.splitlines() if line.startswith("  wrong")]
    assert len(wrong) == 1
    assert f"{collection}: 1 documents with a list as time, such as '{uid}'" in wrong[0]


def test_an_index_that_should_be_unique_and_is_not_is_wrong(
    recorder: Recorder, catalogs: dict[str, Catalog]
) -> None:
    start = database(catalogs["csx"].metadata).run_start
    start.drop_index("uid_1")
    try:
        start.create_index("uid")
        text, well = checked()
        assert not well
        assert "wrong  index not unique: run_start (uid 1)" in text
        start.drop_index("uid_1")
        text, well = checked("--create-indexes")
        assert well, text
        assert start.index_information()["uid_1"]["unique"]
    finally:
        start.create_index("uid", unique=True)


@pytest.mark.parametrize(
    "options",
    [
        {"collation": {"locale": "en", "strength": 2}},
        {"partialFilterExpression": {"scan_id": {"$gt": 5}}},
    ],
)
def test_an_index_of_other_texts_or_of_some_documents_does_not_count(
    recorder: Recorder, catalogs: dict[str, Catalog], options: dict[str, Any]
) -> None:
    start = database(catalogs["csx"].metadata).run_start
    start.drop_index("scan_id_1")
    start.create_index("scan_id", **options)
    text, well = checked()
    assert not well
    assert "wrong  index missing: run_start (scan_id 1)" in text


def test_a_collection_with_a_collation_of_its_own_is_wrong(
    recorder: Recorder, catalogs: dict[str, Catalog]
) -> None:
    stored = database(catalogs["csx"].assets)
    known = stored.datum.index_information()
    stored.drop_collection("datum")
    stored.create_collection("datum", collation={"locale": "en", "strength": 2})
    try:
        text, well = checked()
        assert not well
        assert "wrong  collections with a collation, which compare texts loosely: datum" in text
    finally:
        stored.drop_collection("datum")
        for name, index in known.items():
            if name != "_id_":
                stored.datum.create_index(index["key"], unique=index.get("unique", False))


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ("4.2.24", Level.WRONG),
        ("4.4.0", Level.OK),
        ("7.0.14-ent", Level.OK),
        ("8.0.4", Level.OK),
        ("8.2.1", Level.NOTE),
        ("10.0.0", Level.NOTE),
    ],
)
def test_versions_of_the_server_from_4_4_to_8_0_are_supported(version: str, level: Level) -> None:
    found = _version_finding(version)
    assert found.level is level
    assert version in found.text


@pytest.mark.parametrize(
    ("pattern", "well"), [(r"/pass-(\d+)/", True), (r"/proposal_(\d+)/", False)]
)
def test_a_file_proposal_that_matches_no_file_is_wrong(
    recorder: Recorder, data_folder: Path, settings: Any, pattern: str, well: bool
) -> None:
    (data_folder / "pass-310000").mkdir()
    (data_folder / "pass-310000" / "a.h5").touch()
    (data_folder / "there.h5").touch()
    recorder.insert("csx", "resource", resource(resource_path="pass-310000/a.h5"))
    recorder.insert("csx", "resource", resource(uid="r-2"))
    csx, hxn = settings.CATALOGS
    settings.CATALOGS = (replace(csx, file_proposal=pattern), hxn)
    text, is_well = checked()
    assert is_well is well, text
    told = (
        "ok     file_proposal matches 1 of 2" if well else "wrong  file_proposal matches none of 2"
    )
    assert told in text


def test_allowed_roots_that_do_not_exist_are_wrong(
    recorder: Recorder, data_folder: Path, settings: Any
) -> None:
    csx, hxn = settings.CATALOGS
    gone = str(data_folder / "gone")
    settings.CATALOGS = (replace(csx, allowed_roots=(*csx.allowed_roots, gone)), hxn)
    text, well = checked()
    assert not well
    assert f"wrong  allowed_roots that do not exist: {gone}\n" in text
