"""Documents as nobody should have written them: served or skipped, never a defect."""

import json
import math
import struct
from datetime import datetime
from typing import Any

import bson
import pytest
from bson import Binary, Code, DatetimeMS, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.decimal128 import Decimal128
from bson.raw_bson import RawBSONDocument

from broker_site.encoding import to_json
from headers.mongo import CODEC, database
from tests.conftest import Actor
from tests.documents import EPOCH, Doc, Recorder

URL = "/api/v1/headers/"
ODD: dict[str, Any] = {
    "not a number": math.nan,
    "infinite": [math.inf, -math.inf],
    "huge": Int64(2**63 - 1),
    "decimal": Decimal128("1E+6000"),
    "bytes": b"\x00\xff",
    "uuid": Binary(b"0" * 16, 4),
    "broken uuid": Binary(b"0", 3),
    "date": datetime(2026, 7, 4),
    "id": ObjectId("0" * 24),
    "pattern": Regex("(((", "i"),
    "code": Code("while(1);", {"x": 1}),
    "clock": Timestamp(1, 2),
    "ends": [MinKey(), MaxKey()],
    "nothing": None,
    "empty": [{}, [], ""],
    "long": "x" * 100_000,
    "markup": "<script>alert(1)</script>\u202e{{7*7}}",
}


def deep(levels: int) -> Doc:
    document: Doc = {}
    for _ in range(levels):
        document = {"x": document}
    return document


def raw(document: Doc, name: bytes, value: bytes) -> RawBSONDocument:
    """A document with one more text, whose name and value are as they are, UTF-8 or not."""
    body = bson.encode(document)[4:-1]
    body += b"\x02" + name + b"\0" + struct.pack("<i", len(value) + 1) + value + b"\0\0"
    return RawBSONDocument(struct.pack("<i", len(body) + 4) + body)


def start(uid: Any, **fields: Any) -> Doc:
    return {"uid": uid, "time": EPOCH, "data_session": "pass-310000", **fields}


def listed(acting_as: Actor, actor: str = "alice", **parameters: str) -> list[Any]:
    response = acting_as(actor).get(URL, parameters)
    assert response.status_code == 200, response.content
    return list(json.loads(response.content, parse_constant=pytest.fail)["results"])


def read(acting_as: Actor, *paths: str, actor: str = "alice") -> None:
    """Each of the addresses answers with valid JSON."""
    client = acting_as(actor)
    for path in paths:
        response = client.get(path)
        assert response.status_code == 200, (path, response.content[:500])
        json.loads(response.content, parse_constant=pytest.fail)


OF_MANY = [
    URL,
    f"{URL}?include=descriptors",
    f"{URL}?exit_status=success",
    f'{URL}?query={{"descriptor.name": {{"$exists": true}}}}',
    f"{URL}count/",
    f"{URL}facets/?fields=odd,sample.name,proposal,catalog,time,uid",
]


def of_one(key: str) -> list[str]:
    return [f"{URL}{key}/", f"{URL}{key}/streams/"]


def test_odd_values_anywhere_are_served(acting_as: Actor, recorder: Recorder) -> None:
    for kind, value in ODD.items():
        uid = f"odd-{kind.replace(' ', '-')}"
        recorder.insert("csx", "run_start", start(uid, odd=value, sample={"name": value}))
        recorder.stop(uid, reason=value, num_events=value, exit_status=value, time=value)
        recorder.descriptor(uid, time=value, name=value, data_keys={"x": value}, hints=value)
        recorder.descriptor(uid, data_keys=value, configuration=value)
        read(acting_as, *of_one(uid))
    read(acting_as, *OF_MANY)
    assert len(listed(acting_as)) == len(ODD)


@pytest.mark.parametrize("ordering", ["time", "-time"])
def test_runs_with_odd_times_leave_the_others_in_order(
    ordering: str, acting_as: Actor, recorder: Recorder
) -> None:
    for number in range(4):
        recorder.insert("csx", "run_start", start(f"run-{number}", time=EPOCH + number))
    for number, value in enumerate([*ODD.values(), True, "noon", {}, [], [1.0, 5.0], [[3.0]]]):
        recorder.insert("csx", "run_start", start(f"odd-{number}", time=value))
        recorder.insert("hxn", "run_start", start(f"odd-{number}-2", time=value))
        read(acting_as, f"{URL}odd-{number}/")
    client, url = acting_as("alice"), f"{URL}?page_size=3&ordering={ordering}"
    found = []
    while url:
        page = client.get(url).json()
        found += [run["uid"] for run in page["results"] if run["uid"].startswith("run-")]
        url = page["next"]
    assert found == [f"run-{n}" for n in (range(4) if ordering == "time" else (3, 2, 1, 0))]
    read(acting_as, f"{URL}-1/")


def test_a_run_without_time_is_reached_by_its_uid(acting_as: Actor, recorder: Recorder) -> None:
    recorder.insert("csx", "run_start", {"uid": "timeless", "data_session": "pass-310000"})
    read(acting_as, *OF_MANY, *of_one("timeless"))
    assert listed(acting_as) == []


def test_runs_without_a_text_as_uid_are_listed_without_uid(
    acting_as: Actor, recorder: Recorder
) -> None:
    odd = [None, 5, ["x", "other"], {"a": 1}, b"x", math.nan, True, Code("x")]
    for uid in odd:
        recorder.insert("csx", "run_start", start(uid))
    recorder.insert("csx", "run_stop", {"uid": "stray", "exit_status": "fail"})
    recorder.insert("csx", "event_descriptor", {"uid": "stray", "name": "stray"})
    everything = {"include": "descriptors"}
    for parameters in (everything, everything | {"query": '{"stop.uid": {"$ne": 1}}'}):
        runs = listed(acting_as, **parameters)
        assert len(runs) == len(odd)
        told = [(run["uid"], run["stop"], run["descriptors"]) for run in runs]
        assert told == [(None, None, [])] * len(odd)
    client = acting_as("alice")
    for key in ("-1", "stray", "None", "5"):
        assert client.get(f"{URL}{key}/").status_code == 404
    run = client.get(f"{URL}other/").json()  # an item of a list
    assert (run["uid"], run["stop"], run["descriptors"]) == (None, None, [])


@pytest.mark.parametrize("collection", ["run_stop", "event_descriptor"])
def test_a_document_that_names_its_run_oddly_belongs_to_none(
    collection: str, acting_as: Actor, recorder: Recorder
) -> None:
    """ABUSE-CASES 5: what is joined to a run must name that very run."""
    recorder.insert("csx", "run_start", start("odd-run"))
    for number, owner in enumerate([None, 5, ["odd-run", "x"], {"a": 1}]):
        stray = {"uid": f"stray-{number}", "run_start": owner, "time": EPOCH}
        recorder.insert("csx", collection, stray)
        assert acting_as("dan").get(f"/api/v1/descriptors/stray-{number}/").status_code == 404
    read(acting_as, *OF_MANY, *of_one("odd-run"))
    run = acting_as("alice").get(f"{URL}odd-run/").json()
    assert (run["stop"], run["descriptors"]) == (None, [])


def test_descriptors_without_a_text_as_uid_are_served(acting_as: Actor, recorder: Recorder) -> None:
    recorder.insert("csx", "run_start", start("odd-run"))
    odd: list[Any] = [None, 5, ["x"], {"a": 1}, math.nan, Code("x")]
    files = {"image": {"dtype": "array", "shape": [1, 1], "external": "FILESTORE:"}}
    for uid in odd:
        recorder.descriptor("odd-run", uid=uid, data_keys=files)
    recorder.descriptor("odd-run", uid="right")
    recorder.insert("csx", "event", {"uid": "e", "descriptor": ["x"], "time": EPOCH})
    run = f"{URL}odd-run/"
    read(acting_as, *OF_MANY, *of_one("odd-run"), "/api/v1/events/?descriptor=right")
    for route in ("documents/", "export/", "streams/primary/table/?format=csv"):
        response = acting_as("alice").get(run + route)
        assert (response.status_code, b"".join(response.streaming_content) != b"") == (200, True)  # type: ignore[attr-defined]
    assert len(listed(acting_as, include="descriptors")[0]["descriptors"]) == 1 + len(odd)


def test_events_that_name_several_descriptors_are_no_defect(
    acting_as: Actor, recorder: Recorder
) -> None:
    uid = recorder.run(events=2, exit_status=None)
    (descriptor,) = acting_as("alice").get(f"{URL}{uid}/").json()["descriptors"]
    recorder.insert("csx", "event", {"uid": "e", "descriptor": [descriptor["uid"], "x"]})
    (stream,) = acting_as("alice").get(f"{URL}{uid}/streams/").json()
    assert stream["event_count"] == 2


@pytest.mark.parametrize("name", ["_broker_stop", "_broker_descriptors"])
def test_a_key_of_the_user_like_one_of_ours_is_no_defect(
    name: str, acting_as: Actor, recorder: Recorder
) -> None:
    odd: list[Any] = [5, "x", [], [5], {"a": 1}, [{"time": 1.0}], None]
    for value in odd:
        read(acting_as, *of_one(recorder.run(**{name: value})))
    read(acting_as, *OF_MANY)
    for run in listed(acting_as, include="descriptors"):
        assert run["stop"]["exit_status"] == "success"
        assert [descriptor["run_start"] for descriptor in run["descriptors"]] == [run["uid"]]


@pytest.mark.parametrize(
    "fields",
    [
        {"a.b": 1, "x.y.z": {"p.q": 2}},
        {"$where": "x", "$or": []},
        {"save": 1, "pk": 2, "objects": 3, "__proto__": 4, "": 5},
        {"nested": deep(60)},
        {"reference": {"$ref": "run_start", "$id": 1}},
    ],
)
def test_odd_keys_are_served_as_they_are(fields: Doc, acting_as: Actor, recorder: Recorder) -> None:
    """ABUSE-CASES 2 and 24."""
    document = start("odd-run", **fields)
    encoded = raw(document, b"more", b"x")
    database(recorder.catalogs["csx"].metadata).run_start.insert_one(encoded)
    read(acting_as, *OF_MANY, *of_one("odd-run"))
    if "reference" not in fields:
        (run,) = listed(acting_as)
        assert run["start"].items() >= fields.items()


def test_text_that_is_not_utf_8_and_far_dates_are_read_as_well_as_they_can_be() -> None:
    """The embedded server refuses to store them, real ones do not."""
    encoded = bytes(raw({"uid": "odd"}, b"sample", b"gr\xfcn").raw)
    assert bson.decode(encoded, CODEC) == {"uid": "odd", "sample": "gr\ufffdn"}
    far = bson.encode({"date": DatetimeMS(2**55)})
    assert json.loads(to_json(bson.decode(far, CODEC)))["date"]


def test_runs_that_name_their_proposal_oddly_are_for_staff(
    acting_as: Actor, recorder: Recorder
) -> None:
    named: list[Doc] = [{"proposal": value} for value in ODD.values()]
    named += [{"proposal": {"proposal_id": value}} for value in ODD.values()]
    odd_sessions: list[Any] = [[], ["pass-310000"], {}, 310000, None, "", Code("pass-310000")]
    named += [{"data_session": value} for value in odd_sessions]
    for number, fields in enumerate(named):
        for catalog in ("csx", "hxn"):
            uid = f"odd-{catalog}-{number}"
            recorder.insert(catalog, "run_start", {"uid": uid, "time": EPOCH, **fields})
    read(acting_as, *OF_MANY, actor="dan")
    assert len(listed(acting_as, "sue")) == len(named)
    assert listed(acting_as) == []
    assert acting_as("alice").get(f"{URL}odd-csx-0/").status_code == 404
