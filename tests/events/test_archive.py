"""GET headers/archive/: many runs as one zip, and its size before."""

import csv
import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import h5py
import pytest
from rest_framework.test import APIClient

from events import archive, archive_views, exporting
from policies import requests
from policies.models import AuditEvent, Membership
from tests.conftest import Actor, Commands, People
from tests.documents import EPOCH, Recorder

ARCHIVE, SIZE = "/api/v1/headers/archive/", "/api/v1/headers/archive/size/"


def fetched(client: APIClient, **parameters: Any) -> zipfile.ZipFile:
    response = client.get(ARCHIVE, parameters)
    assert response.status_code == 200, response.content
    assert response["Content-Type"] == "application/zip"
    assert response["Content-Disposition"] == 'attachment; filename="runs.zip"'
    content = b"".join(response)
    closed(response)
    found = zipfile.ZipFile(io.BytesIO(content))
    assert found.testzip() is None
    return found


def closed(response: Any) -> None:
    """As a server does at the end; without the signal that closes the database's connection."""
    for close in response._resource_closers:
        close()


def table(found: zipfile.ZipFile) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(found.read("runs.csv").decode())))


def test_each_run_has_a_folder_and_a_row(acting_as: Actor, recorder: Recorder) -> None:
    runs = [recorder.run(scan_id=n, events=n) for n in (1, 2, 3)]
    recorder.run("310001")
    alice = acting_as("alice")
    found = fetched(alice, files=["h5", "ndjson", "csv"])
    rows = table(found)
    assert [row["uid"] for row in rows] == runs[::-1]
    assert len({row["folder"] for row in rows}) == 3
    for n, row in zip((3, 2, 1), rows, strict=True):
        folder = row["folder"]
        assert row["included"] == "run.h5 documents.ndjson primary.csv"
        assert (row["scan_id"], row["status"], row["left_out"]) == (str(n), "success", "")
        with h5py.File(io.BytesIO(found.read(f"{folder}/run.h5"))) as file:
            assert file["entry/primary/det"][:].tolist() == [float(k * k) for k in range(1, n + 1)]
        documents = [json.loads(line) for line in found.open(f"{folder}/documents.ndjson")]
        assert documents[0][1]["uid"] == row["uid"]
        exported = alice.get(f"/api/v1/headers/{row['uid']}/export/?format=ndjson")
        whole = b"".join(exported)
        assert found.read(f"{folder}/documents.ndjson") == whole
        assert found.read(f"{folder}/primary.csv").count(b"\n") == n + 1
    assert len(found.namelist()) == 3 * 3 + 1


def test_filters_and_ticked_runs_choose(acting_as: Actor, recorder: Recorder) -> None:
    one, two = recorder.run(plan_name="scan"), recorder.run(plan_name="scan")
    other, hidden = recorder.run(plan_name="count"), recorder.run("310001")
    alice = acting_as("alice")
    assert {row["uid"] for row in table(fetched(alice, plan_name="scan"))} == {one, two}
    assert {row["uid"] for row in table(fetched(alice, find="count"))} == {other}
    ticked = {"run": [one, hidden, "no-such-run"]}
    assert [row["uid"] for row in table(fetched(alice, **ticked))] == [one]
    assert alice.get(SIZE, ticked).json()["runs"] == 1
    for asked in ({"run": [hidden]}, {"run": ["no-such-run"]}, {"plan_name": "none"}):
        for path in (ARCHIVE, SIZE):
            assert alice.get(path, asked).status_code == 404


def test_hidden_runs_are_as_if_they_were_not(acting_as: Actor, recorder: Recorder) -> None:
    """ABUSE-CASES 6 and 8."""
    hidden = recorder.run("310001", sample="zirconium")
    alice = acting_as("alice")
    for path in (ARCHIVE, SIZE):
        for asked in ({"run": hidden}, {"search": "zirconium"}, {"find": "zirc"}):
            answers = [alice.get(path, query) for query in (asked, {"run": "no-such-run"})]
            assert [answer.status_code for answer in answers] == [404, 404]
            assert answers[0].content == answers[1].content


def test_the_size_is_told_before(acting_as: Actor, recorder: Recorder) -> None:
    for _ in range(12):
        recorder.run(events=5)
    told = acting_as("alice").get(SIZE, {"files": "ndjson"}).json()
    assert (told["runs"], told["events"]) == (12, 60)
    found = fetched(acting_as("alice"), files="ndjson")
    real = sum(info.file_size for info in found.infolist())
    assert real / 4 < told["bytes"] < real * 4


def test_too_much_is_refused_before_anything_is_read(
    acting_as: Actor, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        recorder.run()
    alice = acting_as("alice")
    monkeypatch.setattr(archive_views, "MAX_RUNS", 2)
    response = alice.get(ARCHIVE)
    assert response.status_code == 413
    assert "3 runs; one zip holds at most 2" in response.json()["detail"]
    assert alice.get(SIZE).json()["most_runs"] == 2
    monkeypatch.setattr(archive_views, "MAX_RUNS", 3)
    monkeypatch.setattr(archive_views, "MAX_BYTES", 10)
    response = alice.get(ARCHIVE)
    assert response.status_code == 413
    assert "at most 10 B" in response.json()["detail"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"files": "exe"},
        {"nonsense": "1"},
        {"find": "status:x"},
        {"run": ["x"] * 201},
        {"files": ["h5"] * 4},
    ],
)
def test_wrong_parameters_are_told(
    parameters: dict[str, Any], acting_as: Actor, recorder: Recorder
) -> None:
    recorder.run()
    for path in (ARCHIVE, SIZE):
        assert acting_as("alice").get(path, parameters).status_code == 400


def test_a_broken_run_in_the_middle_is_named_and_the_zip_is_whole(
    acting_as: Actor, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.run(scan_id=1)
    broken = recorder.run(scan_id=2, events=0)
    image = {"dtype": "array", "shape": [4, 4], "source": "x", "external": "FILESTORE:"}
    descriptor = recorder.descriptor(broken, name="camera", data_keys={"image": image})
    place = {"uid": "gone", "root": "/facility/data", "resource_path": "gone.h5", "spec": "AD_HDF5"}
    recorder.insert("csx", "resource", place | {"resource_kwargs": {"frame_per_point": 1}})
    datum = {"datum_id": "gone/0", "resource": "gone", "datum_kwargs": {"point_number": 0}}
    recorder.insert("csx", "datum", datum)
    event = {"uid": "e", "descriptor": descriptor, "seq_num": 1, "time": EPOCH, "filled": {}}
    recorder.insert("csx", "event", event | {"data": {"image": "gone/0"}, "timestamps": {}})
    recorder.run(scan_id=3)
    crashing = recorder.run(scan_id=4)
    write = exporting.write_nexus

    def crash(run: Any, *args: Any) -> None:
        if run.uid == crashing:
            raise ValueError("a defect")
        write(run, *args)

    monkeypatch.setattr(exporting, "write_nexus", crash)
    rows = table(fetched(acting_as("alice"), files=["h5", "ndjson"]))
    assert [row["scan_id"] for row in rows] == ["4", "3", "2", "1"]
    assert [row["included"] for row in rows] == [
        "documents.ndjson",
        "run.h5 documents.ndjson",
        rows[2]["included"],
        "run.h5 documents.ndjson",
    ]
    assert rows[0]["left_out"] == f"h5: {archive.FAILED}"
    assert rows[2]["left_out"]
    assert "/facility" not in rows[2]["left_out"]


def test_a_file_that_breaks_off_is_named_as_incomplete(
    acting_as: Actor, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.run()

    class Broken:
        def __init__(self, *args: Any) -> None: ...

        def __iter__(self) -> Any:
            yield b"x" * 400_000
            raise ValueError("a defect")

    monkeypatch.setattr(archive, "Emission", Broken)
    found = fetched(acting_as("alice"), files="ndjson")
    (row,) = table(found)
    assert row["included"] == "documents.ndjson"
    assert row["left_out"] == f"documents.ndjson: incomplete; {archive.FAILED}"
    assert len(found.read(f"{row['folder']}/documents.ndjson")) == 400_000


def test_names_of_files_and_cells_are_harmless(acting_as: Actor, recorder: Recorder) -> None:
    run = recorder.run(scan_id="../../etc", plan_name='=HYPERLINK("x")', sample="@evil")
    recorder.descriptor(run, name="../up")
    recorder.descriptor(run, name="..\\up")
    found = fetched(acting_as("alice"), files="csv")
    for name in found.namelist():
        assert not name.startswith("/")
        assert ".." not in name.split("/")
        assert "\\" not in name
    (row,) = table(found)
    assert (row["plan_name"], row["sample"]) == ('\'=HYPERLINK("x")', "'@evil")
    assert len(set(found.namelist())) == len(found.namelist()) == 4


def test_who_loses_a_run_meanwhile_gets_no_more(
    acting_as: Actor, recorder: Recorder, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_views, "PAGE", 1)
    monkeypatch.setattr(requests, "CHECKED_EVERY", 0.0)
    monkeypatch.setattr(requests.guarded_many, "__defaults__", (0.0,))
    for _ in range(4):
        recorder.run(events=3000)
    response = acting_as("alice").get(ARCHIVE, {"files": "ndjson"})
    stream = iter(response)
    next(stream)
    Membership.objects.filter(user=people.alice).delete()
    with pytest.raises(requests.AccessEnded):
        list(stream)
    closed(response)
    event = AuditEvent.objects.get(kind="read")
    assert event.result == "access ended"


def test_all_runs_and_bytes_are_in_the_audit_trail_and_the_budget(
    acting_as: Actor, recorder: Recorder, settings: Any
) -> None:
    runs = {recorder.run() for _ in range(3)}
    public = recorder.run("312000")
    alice = acting_as("alice")
    content = fetched(alice, files="ndjson")
    assert public in {row["uid"] for row in table(content)}
    (event,) = AuditEvent.objects.filter(kind="read", result="complete")
    assert {uid for _, uid in event.details["runs"]} == runs
    assert event.bytes
    settings.STREAM_BYTES_USER = 1
    refused = alice.get(ARCHIVE)
    assert refused.status_code == 429


def test_a_token_for_metadata_gets_no_archive(acting_as: Actor, recorder: Recorder) -> None:
    recorder.run()
    alice = acting_as("alice")
    limits = {"name": "m", "scopes": ["read:metadata"], "expires_in": 3600}
    token = alice.post("/api/v1/auth/api-tokens/", limits, format="json").json()["token"]
    script = APIClient(HTTP_AUTHORIZATION=f"Bearer {token}")
    for path in (ARCHIVE, SIZE):
        assert script.get(path).status_code == 403


def test_archives_take_turns(
    acting_as: Actor, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.run()
    monkeypatch.setattr(archive_views, "WAIT_SECONDS", 0.01)
    held = [archive_views._archives.acquire(blocking=False) for _ in range(2)]
    try:
        assert all(held)
        assert acting_as("alice").get(ARCHIVE).status_code == 503
    finally:
        for _ in held:
            archive_views._archives.release()
    for _ in range(5):  # each gives back its turn
        fetched(acting_as("alice"), files="ndjson")


def test_the_size_costs_the_same_however_many_runs_there_are(
    acting_as: Actor,
    recorder: Recorder,
    commands: Commands,
    index_stands: Callable[[], None],
) -> None:
    for _ in range(20):
        recorder.run()
    index_stands()
    commands.sent.clear()
    acting_as("alice").get(SIZE, {"catalog": "csx"})
    assert len(commands.names) <= 3
