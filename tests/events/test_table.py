"""GET headers/{key}/streams/{stream}/table/: every format, by the reader its users use."""

import csv
import io
import json
from pathlib import Path

import msgpack
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from rest_framework.test import APIClient

from headers.mongo import database
from tests.conftest import Actor, Commands
from tests.documents import EPOCH, Doc, Recorder

NUMBER = {"dtype": "number", "shape": [], "source": "SIM:x"}


def table_url(run: str, stream: str = "primary") -> str:
    return f"/api/v1/headers/{run}/streams/{stream}/table/"


def get(client: APIClient, url: str, **query: str) -> bytes:
    response = client.get(url, query)
    assert response.status_code == 200, response.content
    return b"".join(response)


def read_arrow(content: bytes) -> Doc:
    with pa.ipc.open_stream(io.BytesIO(content)) as reader:
        return dict(reader.read_all().to_pydict())


def read_parquet(content: bytes) -> Doc:
    return dict(pa.parquet.read_table(io.BytesIO(content)).to_pydict())


def read_csv(content: bytes) -> Doc:
    return dict(pd.read_csv(io.BytesIO(content)).to_dict("list"))


def read_ndjson(content: bytes) -> Doc:
    return dict(pd.read_json(io.BytesIO(content), lines=True).to_dict("list"))


READERS = {
    "arrow": read_arrow,
    "parquet": read_parquet,
    "csv": read_csv,
    "json": json.loads,
    "ndjson": read_ndjson,
    "msgpack": msgpack.unpackb,
}


@pytest.mark.parametrize("kind", list(READERS))
def test_every_format_holds_the_same_table(kind: str, acting_as: Actor, recorder: Recorder) -> None:
    run = recorder.run(events=4)
    content = get(acting_as("alice"), table_url(run), format=kind)
    table = READERS[kind](content)
    assert list(table) == ["seq_num", "time", "det", "motor"]
    assert table["seq_num"] == [1, 2, 3, 4]
    assert table["det"] == [1.0, 4.0, 9.0, 16.0]
    assert table["motor"] == [-1.0, -2.0, -3.0, -4.0]
    assert [t - table["time"][0] for t in table["time"]] == [0, 1, 2, 3]
    assert table["time"][0] > EPOCH


@pytest.mark.parametrize("actor", ["alice", "sue", "dan"])
def test_who_may_read_the_run_may_read_its_tables(
    actor: str, acting_as: Actor, recorder: Recorder
) -> None:
    run = recorder.run()
    assert json.loads(get(acting_as(actor), table_url(run)))["seq_num"] == [1, 2, 3]


@pytest.mark.parametrize("actor", ["bob", "nobody"])
@pytest.mark.parametrize("method", ["get", "head"])
def test_the_table_of_a_hidden_run_does_not_exist(
    actor: str, method: str, acting_as: Actor, recorder: Recorder
) -> None:
    """Abuse cases 6 and 8."""
    run = recorder.run()
    client = acting_as(actor)
    hidden, absent = (
        getattr(client, method)(table_url(uid, stream))
        for uid, stream in ((run, "primary"), ("no-such-run", "no-such-stream"))
    )
    assert hidden.status_code == absent.status_code == 404
    assert hidden.content == absent.content


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "application/json"),
        ("application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.stream"),
        ("text/csv", "text/csv; charset=utf-8"),
        ("application/x-ndjson", "application/x-ndjson; charset=utf-8"),
    ],
)
def test_accept_chooses_the_format(
    accept: str, media_type: str, acting_as: Actor, recorder: Recorder
) -> None:
    response = acting_as("alice").get(table_url(recorder.run()), HTTP_ACCEPT=accept)
    assert response["Content-Type"] == media_type


def test_an_unknown_format_is_refused(acting_as: Actor, recorder: Recorder) -> None:
    run = recorder.run()
    assert acting_as("alice").get(table_url(run), {"format": "xlsx"}).status_code == 400
    response = acting_as("alice").get(table_url(run), HTTP_ACCEPT="image/png")
    assert response.status_code == 406


def test_fields_narrow_the_columns_in_their_order(acting_as: Actor, recorder: Recorder) -> None:
    content = get(acting_as("alice"), table_url(recorder.run()), fields="motor,det,motor")
    assert list(json.loads(content)) == ["seq_num", "time", "motor", "det"]


def test_an_unknown_field_is_named_with_those_there_are(
    acting_as: Actor, recorder: Recorder
) -> None:
    """Abuse case 14."""
    response = acting_as("alice").get(table_url(recorder.run()), {"fields": "det,nope"})
    assert response.status_code == 400
    assert "'nope'" in response.json()["detail"]
    assert "det, motor" in response.json()["detail"]


@pytest.mark.parametrize("query", [{"field": "det"}, {"timestamps": "perhaps"}, {"fields": ","}])
def test_wrong_parameters_are_refused(
    query: dict[str, str], acting_as: Actor, recorder: Recorder
) -> None:
    """Abuse case 14."""
    assert acting_as("alice").get(table_url(recorder.run()), query).status_code == 400


def test_an_unknown_stream_of_a_readable_run_is_told(acting_as: Actor, recorder: Recorder) -> None:
    response = acting_as("alice").get(table_url(recorder.run(), "baseline"))
    assert response.status_code == 404
    assert "primary" in response.json()["detail"]


def test_timestamps_are_added_on_request(acting_as: Actor, recorder: Recorder) -> None:
    content = get(acting_as("alice"), table_url(recorder.run()), timestamps="true", fields="det")
    table = json.loads(content)
    assert list(table) == ["seq_num", "time", "det", "ts_det"]
    assert table["ts_det"] == table["time"]


def collections(commands: Commands) -> set[str]:
    """What was read, but for what is joined to it."""
    return {str(event.command[event.command_name]) for event in commands.sent}


def insert_events(recorder: Recorder, events: list[Doc]) -> None:
    database(recorder.catalogs["csx"].metadata).event.insert_many(events)


def event(descriptor: str, seq_num: int, time: float, data: Doc) -> Doc:
    timestamps = dict.fromkeys(data, time)
    about = {"uid": f"{descriptor}-{seq_num}-{time}", "descriptor": descriptor, "filled": {}}
    return about | {"seq_num": seq_num, "time": time, "data": data, "timestamps": timestamps}


def test_several_descriptors_of_a_stream_are_one_table(
    acting_as: Actor, recorder: Recorder
) -> None:
    run = recorder.run(events=2)
    late = {"det": NUMBER, "temperature": NUMBER}
    second = recorder.descriptor(run, data_keys=late, time=EPOCH + 5e6)
    insert_events(recorder, [event(second, 3, EPOCH + 5e6, {"det": 0.5, "temperature": 300.0})])
    table = json.loads(get(acting_as("alice"), table_url(run)))
    assert table["seq_num"] == [1, 2, 3]
    assert table["det"] == [1.0, 4.0, 0.5]
    assert table["motor"] == [-1.0, -2.0, None]
    assert table["temperature"] == [None, None, 300.0]


def test_a_repeated_seq_num_keeps_the_last_by_time(acting_as: Actor, recorder: Recorder) -> None:
    run = recorder.run(events=0)
    descriptor = recorder.descriptor(run, name="retaken")
    insert_events(
        recorder,
        [
            event(descriptor, 1, EPOCH + 1, {"det": 1.0}),
            event(descriptor, 2, EPOCH + 9, {"det": 22.0}),
            event(descriptor, 2, EPOCH + 2, {"det": 2.0}),
            event(descriptor, 3, EPOCH + 10, {"det": 3.0}),
        ],
    )
    table = json.loads(get(acting_as("alice"), table_url(run, "retaken"), fields="det"))
    assert table == {
        "seq_num": [1, 2, 3],
        "time": [EPOCH + 1, EPOCH + 9, EPOCH + 10],
        "det": [1.0, 22.0, 3.0],
    }


@pytest.mark.parametrize("kind", list(READERS))
def test_a_stream_without_events_has_an_empty_table(
    kind: str, acting_as: Actor, recorder: Recorder
) -> None:
    content = get(acting_as("alice"), table_url(recorder.run(events=0)), format=kind)
    if kind != "ndjson":  # which has no header
        empty: Doc = {"seq_num": [], "time": [], "det": [], "motor": []}
        content_read = READERS[kind](content)
        assert content_read == empty
    else:
        assert content == b""


def test_a_stream_without_name_is_primary(acting_as: Actor, recorder: Recorder) -> None:
    run = recorder.run(events=0)
    database(recorder.catalogs["csx"].metadata).event_descriptor.update_one(
        {"run_start": run}, {"$unset": {"name": ""}}
    )
    assert json.loads(get(acting_as("alice"), table_url(run)))["det"] == []


ODD_NAMES = ["time", "seq_num", "a b", "ünïcode", 'quo"te', "=cmd()", "%s", "a/b", "{{7*7}}"]


@pytest.mark.parametrize("kind", list(READERS))
def test_fields_may_have_any_name(kind: str, acting_as: Actor, recorder: Recorder) -> None:
    run = recorder.run(events=0)
    descriptor = recorder.descriptor(run, name="odd", data_keys=dict.fromkeys(ODD_NAMES, NUMBER))
    insert_events(recorder, [event(descriptor, 1, EPOCH, dict.fromkeys(ODD_NAMES, 7.5))])
    table = READERS[kind](get(acting_as("alice"), table_url(run, "odd"), format=kind))
    assert list(table.values()) == [[1], [EPOCH], *[[7.5]] * len(ODD_NAMES)]
    expected = ["_time", "_seq_num", *ODD_NAMES[2:]]
    if kind == "csv":  # see the next test
        expected[expected.index("=cmd()")] = "'=cmd()"
    assert list(table)[2:] == expected


def test_cells_that_a_spreadsheet_would_run_are_texts(acting_as: Actor, recorder: Recorder) -> None:
    """Abuse case 12."""
    run = recorder.run(events=0)
    text = {"dtype": "string", "shape": [], "source": "x"}
    descriptor = recorder.descriptor(run, name="notes", data_keys={"note": text})
    notes = ["=1+1", "+1", "-1", "@x", '<script>"', "plain"]
    rows = [event(descriptor, n, EPOCH + n, {"note": note}) for n, note in enumerate(notes)]
    insert_events(recorder, rows)
    content = get(acting_as("alice"), table_url(run, "notes"), format="csv")
    cells = [row["note"] for row in csv.DictReader(io.StringIO(content.decode()))]
    assert cells == ["'=1+1", "'+1", "'-1", "'@x", '<script>"', "plain"]


def test_numbers_that_json_lacks_are_null(acting_as: Actor, recorder: Recorder) -> None:
    """Abuse case 12."""
    run = recorder.run(events=0)
    descriptor = recorder.descriptor(run, name="odd", data_keys={"x": NUMBER})
    values = [float("nan"), float("inf"), float("-inf"), 1.5]
    rows = [event(descriptor, n, EPOCH + n, {"x": value}) for n, value in enumerate(values)]
    insert_events(recorder, rows)
    table = json.loads(get(acting_as("alice"), table_url(run, "odd")))
    assert table["x"] == [None, None, None, 1.5]


def test_complete_runs_have_an_etag_and_answer_304_before_reading(
    acting_as: Actor, recorder: Recorder, commands: Commands
) -> None:
    client, url = acting_as("alice"), table_url(recorder.run())
    etag = client.get(url)["ETag"]
    commands.sent.clear()
    response = client.get(url, HTTP_IF_NONE_MATCH=etag)
    assert response.status_code == 304
    assert collections(commands) == {"run_start"}
    for other in ({"format": "csv"}, {"fields": "det"}, {"timestamps": "true"}):
        assert client.get(url, other)["ETag"] != etag


def test_open_runs_have_no_etag(acting_as: Actor, recorder: Recorder) -> None:
    assert "ETag" not in acting_as("alice").get(table_url(recorder.run(exit_status=None)))


def test_head_reads_no_events(acting_as: Actor, recorder: Recorder, commands: Commands) -> None:
    client, url = acting_as("alice"), table_url(recorder.run())
    full = client.get(url, {"format": "parquet"})
    commands.sent.clear()
    head = client.head(url, {"format": "parquet"})
    assert head.content == b""
    for header in ("Content-Type", "Content-Disposition", "ETag"):
        assert head[header] == full[header]
    assert collections(commands) == {"run_start"}


def test_the_file_name_is_safe(acting_as: Actor, recorder: Recorder) -> None:
    """Abuse case 23."""
    run = recorder.run(events=0, uid='evil\r\nX-Evil: 1"; ..')
    recorder.descriptor(run, name="odd")
    client = acting_as("alice")
    listed = client.get("/api/v1/headers/-1/streams/odd/table/", {"format": "csv"})
    disposition = listed["Content-Disposition"]
    assert disposition == 'attachment; filename="evil-X-Evil-1-.._odd.csv"'


def big_array_stream(recorder: Recorder) -> tuple[str, list[float]]:
    run = recorder.run(events=0)
    spectrum = {"dtype": "array", "shape": [4096], "source": "x"}
    keys = {"spectrum": spectrum, "det": NUMBER}
    descriptor = recorder.descriptor(run, name="mca", data_keys=keys)
    values = [float(n) for n in range(4096)]
    insert_events(recorder, [event(descriptor, 1, EPOCH, {"spectrum": values, "det": 1.0})])
    return run, values


def test_a_table_of_nothing_but_big_arrays_is_redirected_to_the_array_route(
    acting_as: Actor, recorder: Recorder
) -> None:
    run, values = big_array_stream(recorder)
    client, query = acting_as("alice"), {"fields": "spectrum", "format": "json"}
    response = client.get(table_url(run, "mca"), query)
    assert response.status_code == 307
    assert response["Location"] == (f"/api/v1/headers/{run}/streams/mca/data/spectrum/?format=json")
    assert json.loads(get(client, response["Location"])) == [values]


@pytest.mark.parametrize(
    "query",
    [
        {"fields": "spectrum", "format": "arrow"},
        {"fields": "spectrum", "timestamps": "true"},
        {"fields": "spectrum,det"},
        {},
    ],
)
def test_who_needs_a_table_gets_one(
    query: dict[str, str], acting_as: Actor, recorder: Recorder
) -> None:
    run, _ = big_array_stream(recorder)
    assert acting_as("alice").get(table_url(run, "mca"), query).status_code == 200


def test_fields_in_files_hold_the_ids_of_their_datums(
    acting_as: Actor, recorder: Recorder, data_folder: Path
) -> None:
    run = recorder.run(events=0)
    image = {"dtype": "array", "shape": [4, 6], "source": "x", "external": "FILESTORE:"}
    descriptor = recorder.descriptor(run, name="frames", data_keys={"image": image, "det": NUMBER})
    insert_events(recorder, [event(descriptor, 1, EPOCH, {"image": "resource/0", "det": 1.0})])
    table = json.loads(get(acting_as("alice"), table_url(run, "frames")))
    assert table["image"] == ["resource/0"]


def test_rows_left_out_for_a_repeated_seq_num_are_counted_and_count_within_equal_data_keys(
    acting_as: Actor, recorder: Recorder
) -> None:
    run = recorder.run(events=0)
    key = {"dtype": "number", "shape": [], "source": "SIM:x"}
    first = recorder.descriptor(run, name="unnamed", data_keys={"det": key})
    other = recorder.descriptor(run, name="unnamed", data_keys={"motor": key}, time=EPOCH + 1)
    again = recorder.descriptor(run, name="unnamed", data_keys={"det": key}, time=EPOCH + 2)
    insert_events(
        recorder,
        [
            event(first, 1, EPOCH + 1, {"det": 1.0}),
            event(other, 1, EPOCH + 2, {"motor": 5.0}),
            event(first, 2, EPOCH + 3, {"det": 2.0}),
            event(again, 2, EPOCH + 4, {"det": 22.0}),
        ],
    )
    response = acting_as("alice").get(table_url(run, "unnamed"), {"format": "json"})
    table = json.loads(b"".join(response))
    assert table["seq_num"] == [1, 1, 2]
    assert table["det"] == [1.0, None, 22.0]
    assert table["motor"] == [None, 5.0, None]
    assert response["Warning"].startswith('199 - "1 events left out')
    for field, expected in (("det", [1.0, 22.0]), ("motor", [5.0])):
        url = table_url(run, "unnamed").replace("table/", f"data/{field}/")
        response = acting_as("alice").get(url, {"format": "json"})
        values = json.loads(b"".join(response))
        assert [value for value in values if value is not None] == expected
        assert response["Warning"].startswith('199 - "1 events left out')


@pytest.mark.parametrize("format", ["csv", "ndjson"])
def test_texts_name_their_charset(format: str, acting_as: Actor, recorder: Recorder) -> None:
    client, url = acting_as("alice"), table_url(recorder.run(events=1))
    for ask in (client.get, client.head):
        assert ask(url, {"format": format})["Content-Type"].endswith("; charset=utf-8")


def test_a_wide_table_has_all_of_its_columns(acting_as: Actor, recorder: Recorder) -> None:
    """More than an address could name; the others are read in a time linear in the columns."""
    run = recorder.run(events=0)
    names = [f"a_rather_long_name_of_a_baseline_field_{n:04d}" for n in range(600)]
    descriptor = recorder.descriptor(run, name="wide", data_keys=dict.fromkeys(names, NUMBER))
    insert_events(recorder, [event(descriptor, n, EPOCH, dict.fromkeys(names, n)) for n in (1, 2)])
    alice = acting_as("alice")
    table = json.loads(get(alice, table_url(run, "wide")))
    assert list(table)[2:] == names
    posted = alice.post(table_url(run, "wide"), {"fields": names[::-1]}, format="json")
    assert list(json.loads(b"".join(posted)))[2:] == names[::-1]
