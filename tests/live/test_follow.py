"""Documents of a run as they come, as server-sent events."""

import json
import threading
import time
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.test import Client

from headers.mongo import database
from headers.repositories import Run, Runs
from live import channels, following, reading, starts
from live.positions import Position
from policies.models import APIToken, AuditEvent, Membership
from policies.rule.access import Access
from policies.tokens import Limits, make_token
from tests.conftest import Actor
from tests.documents import EPOCH, Doc, Recorder
from tests.live.conftest import LiveServer, parsed, unpacked

STREAMS = ("primary", "baseline", "monitor")


def interlaced(recorder: Recorder, events: int = 12, catalog: str = "csx", **fields: Any) -> str:
    """An open run of three streams, whose events come in turns, some at the same time."""
    uid = recorder.run(catalog=catalog, events=0, exit_status=None, **fields)
    (own,) = database(recorder.catalogs[catalog].metadata).event_descriptor.find({"run_start": uid})
    uids = [own["uid"]]
    uids += [recorder.descriptor(uid, catalog, name=name, time=EPOCH) for name in STREAMS[1:]]
    for n in range(events):
        recorder.insert(
            catalog,
            "event",
            {
                "uid": f"{uid}-{n}",
                "descriptor": uids[n % 3],
                "seq_num": n // 3 + 1,
                "time": EPOCH + n // 2,
                "data": {"det": float(n), "motor": -float(n)},
                "timestamps": {"det": 1.0, "motor": 2.0},
                "filled": {},
            },
        )
    return uid


def stop(recorder: Recorder, uid: str, events: int = 12, catalog: str = "csx") -> None:
    count = {name: len(range(at, events, 3)) for at, name in enumerate(STREAMS)}
    recorder.stop(uid, catalog, time=time.time(), exit_status="success", num_events=count)


def identity(name: str, document: Doc) -> str:
    return f"{name} {document.get('uid') or document.get('datum_id')}"


def names_of(documents: list[tuple[str, Doc, str]]) -> list[str]:
    return [name for name, _, _ in documents]


def test_a_complete_run_is_sent_whole_and_ends(live: LiveServer, recorder: Recorder) -> None:
    uid = interlaced(recorder)
    stop(recorder, uid)
    answer = live.follow(uid)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Accel-Buffering"] == "no"
    documents = list(answer.documents())
    names = names_of(documents)
    assert names[0] == "start"
    assert names[-2:] == ["stop", "end"]
    assert sorted(names[1:-2]) == ["descriptor"] * 3 + ["event"] * 12
    assert documents[-1][1] == {"reason": "stop"}
    described: set[str] = set()
    for name, document, _ in documents:
        if name == "descriptor":
            described.add(document["uid"])
        elif name == "event":
            assert document["descriptor"] in described
            assert "_id" not in document
    times = [document["time"] for name, document, _ in documents if name == "event"]
    assert times == sorted(times)


def test_who_comes_back_after_the_end_is_told_that_there_is_no_more(
    live: LiveServer, recorder: Recorder
) -> None:
    uid = recorder.run()
    *_, last = live.follow(uid).events()
    assert last.name == "end"
    again = live.follow(uid, Last_Event_ID=last.id)
    assert (again.status, again.body()) == (204, b"")


def test_it_is_the_same_as_the_whole_of_the_documents(
    live: LiveServer, recorder: Recorder, acting_as: Actor
) -> None:
    uid = interlaced(recorder)
    stop(recorder, uid)
    whole = b"".join(acting_as("alice").get(f"/api/v1/headers/{uid}/documents/"))
    expected = [json.loads(line) for line in whole.splitlines()]
    sent = [[name, document] for name, document, _ in live.follow(uid).documents()]
    assert sorted(sent[:-1], key=str) == sorted(expected, key=str)


def test_what_is_stored_while_it_is_followed_comes_at_once(
    live: LiveServer, recorder: Recorder
) -> None:
    uid = recorder.run(exit_status=None, events=2)
    documents = live.follow(uid).documents()
    assert [next(documents)[0] for _ in range(4)] == ["start", "descriptor", "event", "event"]
    second = recorder.descriptor(uid, name="baseline", time=EPOCH + 50)
    assert next(documents)[1]["uid"] == second
    recorder.events(second, 1, time=EPOCH + 50)
    assert next(documents)[1]["descriptor"] == second
    recorder.stop(uid, num_events={"primary": 2, "baseline": 1}, time=time.time())
    assert [name for name, _, _ in documents] == ["stop", "end"]


def test_events_that_a_stop_counts_are_waited_for(live: LiveServer, recorder: Recorder) -> None:
    uid = recorder.run(exit_status=None, events=1)
    documents = live.follow(uid).documents()
    assert [next(documents)[0] for _ in range(3)] == ["start", "descriptor", "event"]
    recorder.stop(uid, num_events={"primary": 2}, time=time.time())
    time.sleep(2 * channels.SECONDS)
    (descriptor,) = database(recorder.catalogs["csx"].metadata).event_descriptor.find(
        {"run_start": uid}
    )
    recorder.events(descriptor["uid"], 1, time=EPOCH + 100)
    assert [name for name, _, _ in documents] == ["event", "stop", "end"]


def test_events_that_never_come_are_told_of_at_the_end(
    live: LiveServer, recorder: Recorder
) -> None:
    uid = recorder.run(exit_status=None, events=1)
    recorder.stop(uid, num_events={"primary": 3}, time=EPOCH)
    *_, (name, content, _) = live.follow(uid).documents()
    assert (name, content) == ("end", {"reason": "stop", "missing": {"primary": 2}})


def test_a_late_event_is_sent_although_later_ones_were(
    live: LiveServer, recorder: Recorder
) -> None:
    uid = recorder.run(exit_status=None, events=0)
    (descriptor,) = database(recorder.catalogs["csx"].metadata).event_descriptor.find(
        {"run_start": uid}
    )
    recorder.events(descriptor["uid"], 1, time=EPOCH + 3)
    documents = live.follow(uid).documents()
    assert [next(documents)[0] for _ in range(3)] == ["start", "descriptor", "event"]
    (late,) = recorder.events(descriptor["uid"], 1, time=EPOCH)
    assert next(documents)[1]["uid"] == late["uid"]


def read_and_resume(live: LiveServer, uid: str, cut: int) -> list[str]:
    """The documents that a reader gets whose connection breaks after `cut` bytes each time."""
    seen: list[str] = []
    last = ""
    for _ in range(200):
        headers = {"Last_Event_ID": last} if last else {}
        answer = live.follow(uid, **headers)
        if answer.status == 204:
            return seen
        taken = answer._response.read(cut).decode()
        live.opened.pop().close()
        whole, _, _ = taken.rpartition("\n\n")
        for block in whole.split("\n\n"):
            event = parsed(block.split("\n"))
            if event is None:
                continue
            last = event.id
            seen += [identity(name, document) for name, document in unpacked(event)]
        cut += 37  # a message longer than the cut would never come
    raise AssertionError("it does not end")


def test_a_connection_cut_anywhere_loses_and_repeats_nothing(
    live: LiveServer, recorder: Recorder
) -> None:
    uid = interlaced(recorder)
    stop(recorder, uid)
    expected = [identity(name, document) for name, document, _ in live.follow(uid).documents()]
    assert len(set(expected)) == len(expected) == 18
    size = len(live.follow(uid).body())
    for cut in range(1, size, size // 40):
        assert read_and_resume(live, uid, cut) == expected


def test_every_id_goes_on_just_behind_its_event(live: LiveServer, recorder: Recorder) -> None:
    uid = interlaced(recorder)
    stop(recorder, uid)
    events = list(live.follow(uid).events())
    for at, event in enumerate(events[:-1]):
        rest = list(live.follow(uid, Last_Event_ID=event.id).events())
        assert [(e.name, e.data) for e in rest] == [(e.name, e.data) for e in events[at + 1 :]]
        polled = live.get(f"headers/{uid}/documents/?after={event.id}")
        assert [(e.name, e.data) for e in polled.events()] == [
            (e.name, e.data) for e in events[at + 1 :]
        ]


def test_runs_in_two_catalogs_are_followed_side_by_side(
    live: LiveServer, recorder: Recorder
) -> None:
    one, two = recorder.run(exit_status=None), recorder.run(catalog="hxn", exit_status=None)
    first, second = live.follow(one).documents(), live.follow(two).documents()
    for documents in (first, second):
        assert [next(documents)[0] for _ in range(5)] == ["start", "descriptor", *["event"] * 3]
    recorder.stop(two, "hxn", time=EPOCH)
    recorder.stop(one, time=EPOCH)
    for uid, documents in ((one, first), (two, second)):
        name, document, _ = next(documents)
        assert (name, document["run_start"]) == ("stop", uid)


def test_readers_of_one_run_ask_the_database_once(
    live: LiveServer, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = recorder.run(exit_status=None)
    readers = [live.follow(uid).documents() for _ in range(8)]
    for documents in readers:
        assert [next(documents)[0] for _ in range(5)] == ["start", "descriptor", *["event"] * 3]
    looks: list[Position] = []

    def look(run: Run, position: Position) -> reading.RunFollowing:
        looks.append(position)
        return read(run, position)

    read = reading.read
    monkeypatch.setattr(reading, "read", look)
    begin = time.monotonic()
    time.sleep(4 * channels.SECONDS)
    seconds = time.monotonic() - begin
    assert 0 < len(looks) <= 1 + seconds / channels.SECONDS
    recorder.stop(uid, time=EPOCH)
    assert [[name for name, _, _ in documents] for documents in readers] == [["stop", "end"]] * 8


def test_membership_that_ends_ends_the_stream(
    live: LiveServer, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert following.CHECKED_EVERY < 5
    monkeypatch.setattr(following, "CHECKED_EVERY", 0.3)
    uid = recorder.run(exit_status=None)
    events = live.follow(uid).events()
    assert [next(events).name for _ in range(3)] == ["start", "descriptor", "event_page"]
    Membership.objects.filter(user=live.people.alice).delete()
    assert [event.name for event in events] == ["gone"]
    assert live.follow(uid).status == 404
    (event,) = AuditEvent.objects.filter(kind=AuditEvent.Kind.READ)
    assert (event.run_uid, event.actor, event.result) == (uid, "alice", "access ended")
    assert (event.bytes or 0) > 500


@pytest.mark.parametrize("end", ["removed", "moved", "revoked"])
def test_what_ends_the_right_to_a_run_ends_its_stream(
    live: LiveServer, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """Abuse case 17: the run is removed or corrected, or the token revoked, in mid-stream."""
    monkeypatch.setattr(following, "CHECKED_EVERY", 0.3)
    monkeypatch.setattr(starts, "SECONDS", 0.1)
    uid = recorder.run(exit_status=None)
    token = _token(live, ["read:metadata", "read:data"], None)
    events = live.follow(uid, Authorization=f"Bearer {token}").events()
    assert [next(events).name for _ in range(3)] == ["start", "descriptor", "event_page"]
    stored = database(recorder.catalogs["csx"].metadata).run_start
    match end:
        case "removed":
            stored.delete_one({"uid": uid})
        case "moved":
            stored.update_one({"uid": uid}, {"$set": {"data_session": "pass-310001"}})
        case "revoked":
            APIToken.objects.all().delete()
    assert [event.name for event in events] == ["gone"]
    if end != "revoked":
        assert live.follow(uid).status == 404


def test_a_signed_out_browser_is_told_that_it_is_over(
    live: LiveServer, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "CHECKED_EVERY", 0.3)
    uid = recorder.run(exit_status=None)
    browser = Client()
    browser.force_login(live.people.alice, "django.contrib.auth.backends.ModelBackend")
    cookie = f"sessionid={browser.cookies['sessionid'].value}"
    events = live.follow(uid, Cookie=cookie).events()
    assert next(events).name == "start"
    browser.logout()
    assert [event.name for event in events][-1] == "gone"


@pytest.mark.parametrize("actor", ["bob", "nobody"])
def test_a_hidden_run_is_as_an_absent_one(live: LiveServer, recorder: Recorder, actor: str) -> None:
    uid = recorder.run(exit_status=None)
    hidden, absent = live.follow(uid, actor=actor), live.follow("no-such-run", actor=actor)
    assert (hidden.status, hidden.body()) == (absent.status, absent.body())
    assert hidden.status == 404
    id = Position(started=True).id(_run_of(recorder, uid))
    assert live.follow(uid, actor=actor, Last_Event_ID=id).status == 404


def test_anybody_follows_a_public_run(live: LiveServer, recorder: Recorder) -> None:
    uid = recorder.run("312000")
    *_, last = live.follow(uid, actor="nobody").events()
    assert last.name == "end"


def test_a_token_follows_what_it_is_for(live: LiveServer, recorder: Recorder) -> None:
    own, other = recorder.run("310000"), recorder.run("312000")
    for scopes, proposals, statuses in (
        (["read:metadata", "read:data"], ["310000"], (200, 404)),
        (["read:metadata"], None, (403, 403)),
    ):
        token = _token(live, scopes, proposals)
        header = {"Authorization": f"Bearer {token}"}
        assert tuple(live.follow(uid, **header).status for uid in (own, other)) == statuses


def test_a_hostile_id_is_a_wrong_parameter(live: LiveServer, recorder: Recorder) -> None:
    uid, other = recorder.run(), recorder.run()
    *_, last = live.follow(other).events()
    for id in (
        "x",
        "a:b",
        last.id,
        last.id[:-1],
        "0" * 9000,
        "\N{LATIN SMALL LETTER E WITH ACUTE}",
    ):
        answer = live.follow(uid, Last_Event_ID=id)
        assert answer.status == 400, id[:20]
        assert "is none of this run" in answer.problem()["detail"]
    assert live.follow(uid, "&after=x").status == 400


@pytest.mark.parametrize(
    ("parameters", "word"),
    [
        ("&fill=true", "fill"),
        ("&format=bson", "format"),
        ("&from=yesterday", "from"),
        ("&from=now&after=x", "from"),
        ("&fields=none", "fields"),
        ("&streams=none", "streams"),
        ("&token=x", "token"),
    ],
)
def test_wrong_parameters_are_told(
    live: LiveServer, recorder: Recorder, parameters: str, word: str
) -> None:
    answer = live.follow(recorder.run(), parameters)
    assert answer.status == 400
    assert word in answer.problem()["detail"]


def test_fields_and_streams_are_chosen(live: LiveServer, recorder: Recorder) -> None:
    uid = interlaced(recorder)
    stop(recorder, uid)
    documents = list(live.follow(uid, "&fields=det&streams=primary,baseline").documents())
    events = [document for name, document, _ in documents if name == "event"]
    assert len(events) == 8
    assert all(list(event["data"]) == list(event["timestamps"]) == ["det"] for event in events)
    assert names_of(documents).count("descriptor") == 2


def test_who_begins_now_gets_no_old_events(live: LiveServer, recorder: Recorder) -> None:
    uid = recorder.run(exit_status=None, events=30)
    documents = live.follow(uid, "&from=now").documents()
    assert [next(documents)[0] for _ in range(2)] == ["start", "descriptor"]
    (descriptor,) = database(recorder.catalogs["csx"].metadata).event_descriptor.find(
        {"run_start": uid}
    )
    recorder.events(descriptor["uid"], 1, time=EPOCH + 500)
    assert next(documents)[1]["time"] == EPOCH + 501
    recorder.stop(uid, time=EPOCH, num_events={"primary": 31})
    assert [(name, doc.get("missing")) for name, doc, _ in documents][-1] == ("end", None)


def test_a_reader_that_lets_others_go_on_gets_everything(
    live: LiveServer, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read for by itself when what the others share is gone."""
    monkeypatch.setattr(channels, "KEPT_PAGES", 1)
    monkeypatch.setattr(channels, "SECONDS", 0.05)
    uid = recorder.run(exit_status=None, events=0)
    (descriptor,) = database(recorder.catalogs["csx"].metadata).event_descriptor.find(
        {"run_start": uid}
    )
    answers = [live.follow(uid) for _ in range(3)]
    found: list[list[Doc]] = [[], [], []]

    def take(at: int) -> None:
        for name, document, _ in answers[at].documents():
            if name == "event":
                found[at].append(document)

    threads = [threading.Thread(target=take, args=(at,)) for at in range(3)]
    for thread in threads:
        thread.start()
    for n in range(60):
        recorder.events(descriptor["uid"], 1, time=EPOCH + n)
        time.sleep(0.01)
    recorder.stop(uid, time=time.time(), num_events={"primary": 60})
    for thread in threads:
        thread.join(20)
    for documents in found:
        times = [document["time"] for document in documents]
        assert len(times) == 60
        assert all(a < b for a, b in pairwise(times))


def test_an_instance_that_serves_by_threads_says_how_to_ask_instead(
    recorder: Recorder, acting_as: Actor
) -> None:
    uid = recorder.run(exit_status=None)
    client = acting_as("alice")
    refused = client.get(f"/api/v1/headers/{uid}/documents/?follow=true")
    assert refused.status_code == 503
    assert refused["Retry-After"] == "2"
    assert "after=" in refused.json()["detail"]
    polled = client.get(f"/api/v1/headers/{uid}/documents/?after=")
    assert polled["Content-Type"] == "text/event-stream; charset=utf-8"
    text = b"".join(polled).decode()
    assert text.count("event: start\n") == 1
    assert "event: end" not in text
    id = text.rpartition("id: ")[2].partition("\n")[0]
    again = client.get(f"/api/v1/headers/{uid}/documents/", {"after": id})
    assert b"".join(again) == b"retry: 2000\n\n"


def test_one_caller_follows_so_many_at_once_and_no_more(
    live: LiveServer, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "FOLLOWERS_EACH", 2)
    uid = recorder.run(exit_status=None)
    kept = [live.follow(uid).events() for _ in range(2)]
    assert [next(events).name for events in kept] == ["start", "start"]
    assert live.follow(uid).status == 429
    assert live.follow(uid, actor="sue").status == 200
    for connection in live.opened[:2]:
        connection.close()
    deadline = time.monotonic() + 10
    while live.follow(uid).status != 200:
        assert time.monotonic() < deadline


def test_everything_else_is_answered_as_ever(live: LiveServer, recorder: Recorder) -> None:
    uid = recorder.run()
    answer = live.get(f"headers/{uid}/")
    assert answer.status == 200
    assert answer.problem()["uid"] == uid
    lines = live.get(f"headers/{uid}/documents/").body().splitlines()
    assert len(lines) == 6
    assert live.get("no-such-thing/").status == 404


def _run_of(recorder: Recorder, uid: str) -> Run:
    run = Runs(recorder.catalogs["csx"], Access(data_admin=True)).get(uid)
    assert run is not None
    return run


def _token(live: LiveServer, scopes: list[str], proposals: list[str] | None) -> str:
    limits = Limits(scopes=scopes, proposals=proposals)
    return make_token(live.people.alice, "script", limits, timedelta(days=1))[1]
