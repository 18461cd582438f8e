"""What careless or hostile writers send: refused with its place, or stored so that nothing breaks.

Abuse cases 8, 11, 12 and 20.
"""

import json
import math
import threading
import time
import uuid
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import msgpack
import pytest
from rest_framework.test import APIClient

from headers.catalogs import Catalog
from headers.mongo import database
from policies.models import APIToken
from tests.conftest import Actor, People
from tests.writing.conftest import URL, Doc, Documents, Writer, token_client
from tests.writing.runs import TIME, a_run, a_stop, an_event

Stored = Callable[[str], list[Doc]]
MSGPACK, NDJSON = "application/msgpack", "application/x-ndjson"
SECONDS = 10


def packed(*documents: tuple[str, Any]) -> bytes:
    return b"".join(msgpack.packb(list(document)) for document in documents)


def post(writer: Writer, body: bytes, kind: str = MSGPACK) -> Any:
    return writer.client.post(URL, body, content_type=kind)


def counted(stored: Stored) -> dict[str, int]:
    names = ("run_start", "event_descriptor", "event", "run_stop")
    return {name: len(stored(name)) for name in names}


# -- Bodies that are cut or broken -------------------------------------------------------------


def test_a_body_that_is_cut_anywhere_is_stored_to_the_cut_and_right_when_sent_again(
    writer: Writer, stored: Stored
) -> None:
    """What a connection that breaks may leave: each length of a whole run."""
    run = a_run(events=1)
    body = packed(*run)
    ends = [len(packed(*run[: n + 1])) for n in range(len(run))]
    for length in range(1, len(body), 7):
        answer = post(writer, body[:length])
        whole = sum(end <= length for end in ends)
        if length in ends:
            assert answer.status_code == 200
        else:
            assert answer.status_code == 400
            assert answer.json()["accepted"] == whole
        assert sum(counted(stored).values()) == whole
    assert post(writer, body).status_code == 200
    assert counted(stored) == dict.fromkeys(counted(stored), 1)


@pytest.mark.parametrize(
    "body",
    [
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xffabc",
        b"\x92\xa5start\x81\x90\x01",
        b"\x92\xa5start\x81\x81\x01\x02\x03",
        b"\x92\xa5start\x81\xa1\xff\x01",
        b"\x92\xa5start\xd6\xff\x00\x00\x00\x01",
        b"\x92\xa5start\x81\xa1x\xd4\x05\x00",
        b"\x92\xa5start\x81\xa1x\xd7\xff" + b"\xff" * 8,
        b"\x91" * 100_000,
        b"\x81\xa1a" * 100_000,
        packed(("start", {1: 2})),
        packed(("start", [])),
        packed(("start", None)),
        msgpack.packb(["start", {}, 1]),
        msgpack.packb({"name": "start", "doc": {}}),
        msgpack.packb([["start"], {}]),
        packed(("__class__", {})),
        packed(("event_page", {"uid": {}, "data": [], "timestamps": 1})),
        packed(("event_page", {"uid": ["a"], "seq_num": [1], "time": [1], "data": {"x": 1}})),
        packed(("datum_page", {"datum_id": "abc", "resource": "r", "datum_kwargs": {}})),
        packed(("bulk_events", {"a": "b"})),
        packed(("bulk_events", {"a": [1]})),
        packed(("bulk_datum", {"datum_ids": 1, "datum_kwarg_list": 2, "resource": 3})),
    ],
)
def test_broken_msgpack_is_a_400(writer: Writer, stored: Stored, body: bytes) -> None:
    answer = post(writer, body)
    assert answer.status_code in (400, 413), answer.content
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert counted(stored)["run_start"] == 0


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'["start", {"uid": ' + b"9" * 10_000 + b"}]",
        b'["start", {"uid": "a", "time": 1e999999}]',
        b'["start", {"uid": "a", "time": NaN}]',
        b'["start", {"uid": "a", "time": 1, "x": "\\ud800"}]',
        b'["start", {"uid": "\\ud800", "time": 1}]',
        b'["start", {"uid": "a", "time": 1, "\\ud800": 1}]',
        b'\xef\xbb\xbf["start", {}]',
        b'["start", {"uid": "a", "time": 1}',
        b'["start"',
        b"\x00",
        b"\xff\xfe",
        b"nonsense",
    ],
)
def test_broken_lines_are_a_400(writer: Writer, stored: Stored, line: bytes) -> None:
    answer = post(writer, line, NDJSON)
    assert answer.status_code in (400, 413), answer.content
    json.loads(answer.content)
    assert counted(stored)["run_start"] == 0


# -- Documents that are too much ---------------------------------------------------------------


def a_start(**more: Any) -> tuple[str, Doc]:
    return "start", {"uid": str(uuid.uuid4()), "time": TIME, "data_session": "pass-310000"} | more


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("documents", "status"),
    [
        pytest.param([a_start(x=nested(89))], 200, id="as deep as is stored"),
        pytest.param([a_start(x=nested(95))], 400, id="too deep"),
        pytest.param([a_start(x=[0] * 2_000_000)], 400, id="larger in BSON than MongoDB stores"),
        pytest.param([a_start(**{f"k{n}": n for n in range(300_000)})], 200, id="many keys"),
        pytest.param([a_start(**{"k" * 4_000_000: [{}] * 200_000})], 200, id="a long key"),
        pytest.param([a_start(x=[{}] * 600_000)], 413, id="many containers"),
        pytest.param([a_start(uid="u" * 501)], 400, id="a long uid"),
        pytest.param([a_start(uid="")], 400, id="an empty uid"),
        pytest.param([a_start(uid="a\0b")], 400, id="NUL in a uid"),
        pytest.param([a_start(**{"$where": "1"})], 400, id="an operator"),
        pytest.param([a_start(**{"a.b": 1})], 400, id="a dot, as event-model has it"),
        pytest.param([a_start(x={"a\0": 1})], 400, id="NUL in a key"),
        pytest.param([a_start(x=2**63)], 400, id="an integer beyond 64 bits"),
        pytest.param([a_start(x=b"\xff\x00")], 200, id="bytes"),
        pytest.param([a_start(x=math.inf, y=-math.inf, z=math.nan)], 200, id="no numbers"),
        pytest.param([a_start(time=math.nan)], 400, id="no time"),
    ],
)
def test_documents_at_their_limits_are_answered_soon(
    writer: Writer, acting_as: Actor, documents: Documents, status: int
) -> None:
    begin = time.process_time()
    answer = writer(*deepcopy(documents))
    assert answer.status_code == status, answer.content[:500]
    assert len(answer.content) < 2000
    # So much work that a service which does it a hundred times over would be noticed.
    assert time.process_time() - begin < SECONDS
    assert acting_as("alice").get("/api/v1/headers/?page_size=2&fields=uid").status_code == 200


def test_a_page_whose_rows_repeat_huge_keys_is_refused_before_it_is_made(writer: Writer) -> None:
    """A body of 2 MB whose documents would be 10 GB."""
    run = a_run(events=0, stop=False)
    count = 4_000
    keys = ["k" * 2000 + str(n) for n in range(200)]
    page: Doc = {"descriptor": run[1][1]["uid"], "time": [1.0] * count, "filled": {}}
    page |= {"uid": [str(n) for n in range(count)], "seq_num": list(range(count))}
    for kind, columns in (("wide", keys), ("few", keys[:1])):
        page |= {"data": {key: [0] * count for key in columns}}
        page |= {"timestamps": {key: [0] * count for key in columns}}
        answer = writer(*run, ("event_page", page))
        assert answer.status_code == (413 if kind == "wide" else 200), answer.content[:300]
    page |= {"data": {"k" * 100_000: [0] * count}, "timestamps": {}}
    page["uid"] = [f"other {n}" for n in range(count)]
    assert writer(*run, ("event_page", page)).status_code == 413


# -- What is stored stays readable -------------------------------------------------------------


def test_runs_of_odd_values_break_no_route(writer: Writer, acting_as: Actor) -> None:
    odd: Doc = {"scan_id": 2**63 - 1, "plan_name": "a\0b<script>", "sample": {"name": ["x"]}}
    odd |= {"motors": [1, None, {}], "hints": {"dimensions": []}, "num_points": -1}
    run: Documents = [a_start(**odd)]
    uid = run[0][1]["uid"]
    descriptor = str(uuid.uuid4())
    keys: Doc = {
        "x": {"dtype": "number", "shape": [-1, 10**12], "source": ""},
        "y": {"dtype": "array", "shape": [None], "source": "", "dtype_numpy": "<f8"},
        "z": {"dtype": "string", "shape": [], "source": ""},
    }
    described: Doc = {"uid": descriptor, "run_start": uid, "time": -1e308, "data_keys": keys}
    described |= {"name": "a b/../c", "configuration": {}, "hints": {}, "object_keys": {}}
    run.append(("descriptor", described))
    for n, (seq_num, moment) in enumerate([(-1, 1e308), (2**63 - 1, -1e308), (0, math.inf)]):
        event = an_event(descriptor, 1) | {"seq_num": seq_num, "time": moment, "uid": f"{uid}{n}"}
        run.append(("event", event | {"data": {"x": math.nan, "y": [[1], 2], "z": "=1+1"}}))
    run.append(("stop", a_stop(uid) | {"num_events": {"a b/../c": 2**62}, "time": -1.0}))
    answer = writer(*run)
    assert answer.status_code == 200, answer.content
    alice = acting_as("alice")
    for route in (
        "headers/",
        "headers/?search=script",
        "headers/facets/?fields=plan_name,motors",
        f"headers/{uid}/",
        f"headers/{uid}/streams/",
        f"headers/{uid}/documents/",
        f"headers/{uid}/documents/?after=",
        f"headers/{uid}/export/?format=h5",
        f"headers/{2**63 - 1}/",
        f"events/?descriptor={descriptor}",
        f"headers/{uid}/streams/a%20b/../c/table/?format=csv",
    ):
        answer = alice.get(f"/api/v1/{route}")
        assert answer.status_code < 500, route
        if answer.streaming:
            answer.getvalue()
    assert alice.get(f"/runs/{uid}/").status_code < 500


# -- Several at once ---------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_the_same_body_from_many_writers_at_once_is_stored_once(
    people: People, writable: Catalog, stored: Stored
) -> None:
    run = a_run(events=30, files=True)
    clients = [token_client(people.sue) for _ in range(4)]
    answers: list[Any] = []

    def send(client: APIClient) -> None:
        for part in (run[:20], run[20:], run):
            answers.append(Writer(client)(*part))

    threads = [threading.Thread(target=send, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} <= {200, 409}
    reasons = {a.json()["reason"] for a in answers if a.status_code == 409}
    assert reasons <= {"start-missing", "unknown-descriptor", "unknown-resource"}
    assert Writer(clients[0])(*run).status_code == 200
    assert counted(stored) == {
        "run_start": 1,
        "event_descriptor": 1,
        "event": 30,
        "run_stop": 1,
    }


# -- Documents of others -----------------------------------------------------------------------


def test_no_reference_leads_into_a_run_of_others(
    people: People, writer: Writer, stored: Stored
) -> None:
    theirs = a_run(events=1, proposal="320000", files=True, stop=False)
    assert writer(*theirs).status_code == 200
    before = {name: stored(name) for name in ("event", "datum", "stream_datum")}
    thief = Writer(token_client(people.sue, proposals=["310000"]))
    own = a_run(events=0, stop=False)
    assert thief(*own).status_code == 200
    of_theirs = {name: document for name, document in theirs}
    descriptor = of_theirs["descriptor"]["uid"]
    new: Doc = {"uid": str(uuid.uuid4())}
    attempts: Documents = [
        ("event", an_event(descriptor, 5)),
        ("datum", of_theirs["datum"] | {"datum_id": "mine/1"}),
        ("stream_datum", of_theirs["stream_datum"] | new),
        ("descriptor", of_theirs["descriptor"] | new),
        ("resource", of_theirs["resource"] | new),
        ("stream_resource", of_theirs["stream_resource"] | new),
        ("stop", a_stop(of_theirs["start"]["uid"])),
    ]
    for name, document in attempts:
        for body in ([(name, document)], [*own, (name, document)]):
            answer = thief(*body)
            assert answer.status_code in (400, 409), (name, answer.content)
            assert "320000" not in answer.content.decode()
    # With a resource of one's own, but the descriptor of others.
    resource = {**of_theirs["stream_resource"], **new, "run_start": own[0][1]["uid"]}
    mixed = of_theirs["stream_datum"] | {"uid": "m", "stream_resource": resource["uid"]}
    answer = thief(("stream_resource", resource), ("stream_datum", mixed))
    assert (answer.status_code, answer.json()["reason"]) == (409, "unknown-descriptor")
    assert {name: stored(name) for name in before} == before


def test_a_run_of_others_and_none_at_all_are_answered_alike(people: People, writer: Writer) -> None:
    """Abuse case 8, for writers."""
    theirs = a_run(events=1, proposal="320000", stop=False)
    assert writer(*theirs).status_code == 200
    thief = Writer(token_client(people.sue, proposals=["310000"]))
    nowhere = a_run(events=1, proposal="320000", stop=False)
    for part in (slice(1, 2), slice(2, 3)):
        answers = [thief(*run[part]) for run in (theirs, nowhere)]
        details = [
            json.loads(
                answer.content.decode()
                .replace(run[part][0][1]["uid"], "UID")
                .replace(answer.headers["X-Request-ID"], "")
            )
            for run, answer in zip((theirs, nowhere), answers, strict=True)
        ]
        assert details[0] == details[1]


def test_the_uid_of_a_run_of_another_catalog_changes_nothing_there(
    people: People,
    writer: Writer,
    catalogs: dict[str, Catalog],
    acting_as: Actor,
    recorder: Any,
) -> None:
    uid = recorder.run(catalog="hxn", proposal="310000", events=2)
    forged = a_run(events=0)
    forged[0][1]["uid"] = forged[1][1]["run_start"] = forged[2][1]["run_start"] = uid
    forged[0][1]["data_session"] = "pass-320000"
    alice = acting_as("alice")
    before = alice.get(f"/api/v1/headers/{uid}/").json()
    assert writer(*forged).status_code == 200
    assert alice.get(f"/api/v1/headers/{uid}/").json() == before


# -- Tokens that end ---------------------------------------------------------------------------


def test_a_token_that_is_revoked_writes_nothing_more(
    people: People, writer: Writer, stored: Stored
) -> None:
    run = a_run(events=3)
    assert writer(*run[:3]).status_code == 200
    APIToken.objects.all().delete()
    assert writer(*run[3:]).status_code == 401
    assert counted(stored)["event"] == 1


def test_a_run_that_is_removed_while_it_is_written_is_asked_for_from_its_start(
    writer: Writer, writable: Catalog
) -> None:
    run = a_run(events=3)
    assert writer(*run[:3]).status_code == 200
    assert writable.metadata is not None
    database(writable.metadata).run_start.delete_many({})
    answer = writer(*run[3:])
    assert (answer.status_code, answer.json()["reason"]) == (409, "start-missing")
    assert writer(*run).status_code == 200
