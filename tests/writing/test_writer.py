"""The client's writer loses nothing, whatever dies, and never stands in the way of a scan."""

import logging
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgpack
import numpy as np
import pytest

from headers.catalogs import Catalog
from headers.mongo import database
from tests.running import ROOT
from tests.writing.cutting import Cut, cutting
from tests.writing.runs import a_run, a_stop, an_event
from tests.writing.service import CLIENT, Service, serving
from tests.writing.test_write import COLLECTIONS, of, ordered, same

sys.path.insert(0, str(CLIENT))

from dbservice import connect, writing
from dbservice.spool import SpoolError
from dbservice.writing import NotWritten, Writer, spooled

Documents = list[tuple[str, dict[str, Any]]]
KILLS = int(os.environ.get("BROKER_TEST_KILLS", "20"))


@pytest.fixture(scope="module")
def site(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture
def service(site: Service, writable: Catalog, tmp_path: Path) -> Service:
    """With an empty catalog and an empty spool."""
    return Service(site.instance, site.token, tmp_path / "state")


@pytest.fixture
def open_writer(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Writer]]:
    monkeypatch.setenv("XDG_STATE_HOME", str(service.state))
    writers: list[Writer] = []

    def make(**options: Any) -> Writer:
        db = connect(service.instance.address, token=service.token)
        writers.append(db.writer("csx", **options))
        return writers[-1]

    yield make
    for writer in writers:
        writer.close(1)


def give(writer: Writer, documents: Documents) -> None:
    for name, document in documents:
        writer(name, document)


def assert_holds(catalog: Catalog, *runs: Documents) -> None:
    """The catalog has the documents of these runs, each once, and nothing else."""
    for name, collection in COLLECTIONS.items():
        assets = name in ("resource", "datum", "stream_resource", "stream_datum")
        found = list(database(catalog.assets if assets else catalog.metadata)[collection].find())
        for document in found:
            del document["_id"]
        expected = [document for run in runs for document in of(run, name)]
        assert same(by_content(found), by_content(expected)), name


def by_content(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(documents, key=lambda document: repr(ordered(document)))


def test_what_it_is_given_is_stored_and_the_spool_is_empty_then(
    open_writer: Callable[..., Writer], writable: Catalog
) -> None:
    writer, run = open_writer(), a_run(files=True)
    give(writer, run)
    assert writer.flush(20)
    assert_holds(writable, run)
    assert spooled(writer.folder) == []
    health = writer.health
    assert (health.connected, health.pending, health.spooled_bytes) == (True, 0, 0)
    assert health.last_ack_at is not None


def test_numpys_values_are_those_of_python(
    open_writer: Callable[..., Writer], writable: Catalog
) -> None:
    run = a_run(events=0, stop=False)
    values = {
        "i": np.int64(2**62),
        "u": np.uint8(7),
        "f": np.float32(0.5),
        "nan": np.float64("nan"),
        "up": np.inf,
        "truth": np.bool_(True),
        "array": np.arange(6).reshape(2, 3),
        "tuple": (1, (2.0, "x")),
        "text": np.str_("µ"),
    }
    event = an_event(run[1][1]["uid"], 1, **values)
    writer = open_writer()
    give(writer, [*run, ("event", event)])
    assert writer.flush(20)
    stored = database(writable.metadata).event.find_one({}) or {}
    expected: dict[str, Any] = {
        "i": 2**62,
        "u": 7,
        "f": 0.5,
        "nan": float("nan"),
        "up": float("inf"),
    }
    expected |= {"truth": True, "array": [[0, 1, 2], [3, 4, 5]], "tuple": [1, [2.0, "x"]]}
    expected |= {"text": "µ", "det": 1.0, "motor": -1.0}
    assert same(stored["data"], expected)


def test_while_the_service_is_away_the_scan_goes_on(
    open_writer: Callable[..., Writer], service: Service, writable: Catalog
) -> None:
    writer = open_writer()
    runs = [a_run(events=50) for _ in range(3)]
    give(writer, runs[0][:10])
    assert writer.flush(20)
    os.kill(service.instance.process.pid, signal.SIGSTOP)
    try:
        give(writer, runs[0][10:])
    finally:
        os.kill(service.instance.process.pid, signal.SIGCONT)
    service.instance.stop()
    try:
        give(writer, runs[1])
        give(writer, runs[2])
        time.sleep(0.5)
        assert writer.health.pending
        assert not writer.flush(0.1)
    finally:
        service.instance.start()
    assert writer.flush(60)
    assert_holds(writable, *runs)


@pytest.mark.parametrize("of_answer", [False, True])
def test_connections_cut_anywhere_lose_and_repeat_nothing(
    service: Service,
    writable: Catalog,
    monkeypatch: pytest.MonkeyPatch,
    of_answer: bool,
) -> None:
    """At places all over the request, and all over the answer."""
    monkeypatch.setenv("XDG_STATE_HOME", str(service.state))
    monkeypatch.setattr(writing, "backoff", lambda tries, longest: 0.001)
    run = a_run(events=20, files=True)
    size = sum(len(msgpack.packb(list(item))) for item in run)
    longest = 400 if of_answer else size + 600  # with its head
    places = range(1, longest, 9 if of_answer else max(1, longest // 45))
    cuts: list[Cut] = [(None, place) if of_answer else (place, None) for place in places]
    target = urlsplit(service.instance.address)
    with cutting((str(target.hostname), int(target.port or 0)), cuts) as proxy:
        writer = connect(proxy.address, token=service.token).writer("csx")
        give(writer, run)
        assert writer.flush(120)
        writer.close()
        assert not proxy.cuts, "so many connections were needed"
    # A request that was cut behind its content may still be at work.
    service.instance.stop()
    service.instance.start()
    assert_holds(writable, run)


def test_kills_between_documents_lose_nothing(
    service: Service, writable: Catalog, tmp_path: Path
) -> None:
    """A writer dies by SIGKILL at a random place, and so again and again."""
    dice = random.Random(KILLS)
    plan, kept = [], []
    for _ in range(KILLS):
        run = a_run(events=dice.randrange(1, 40), files=dice.random() < 0.5)
        count = dice.randrange(1, len(run) + 1)
        plan.append((run, count, dice.choice([0.0, 0.0, 0.12, 0.3])))
        kept.append(run[:count])
    (tmp_path / "runs.msgpack").write_bytes(msgpack.packb(plan))
    killed = service.python("-m", "tests.writing.killed", str(tmp_path / "runs.msgpack"), cwd=ROOT)
    assert killed.returncode == 0, killed.stderr[-2000:]
    sent = service.command("spool", "send")
    assert sent.returncode == 0, sent.stderr
    assert_holds(writable, *kept)


def test_a_run_whose_engine_died_is_closed_by_hand(
    service: Service, writable: Catalog, tmp_path: Path
) -> None:
    run = a_run(events=5)
    (tmp_path / "runs.msgpack").write_bytes(msgpack.packb([(run, len(run) - 1, 0)]))
    service.python("-m", "tests.writing.killed", str(tmp_path / "runs.msgpack"), cwd=ROOT)
    uid = run[0][1]["uid"]
    assert f"{uid}  waiting  {len(run) - 1}" in service.command("spool", "list").stdout
    assert service.command("spool", "send").returncode == 0
    assert f"{uid}  open" in service.command("spool", "list").stdout
    assert database(writable.metadata).run_stop.find_one({}) is None
    closed = service.command("spool", "close", uid)
    assert closed.returncode == 0, closed.stderr
    stop = database(writable.metadata).run_stop.find_one({}) or {}
    assert (stop["exit_status"], stop["reason"]) == ("fail", "writer ended")
    assert stop["num_events"] == {"primary": 5}
    assert uid not in service.command("spool", "list").stdout
    assert service.command("spool", "close", uid).returncode == 1


def test_another_process_leaves_alone_what_is_being_written(
    open_writer: Callable[..., Writer], service: Service
) -> None:
    writer, run = open_writer(), a_run()
    give(writer, run[:3])
    closed = service.command("spool", "close", run[0][1]["uid"])
    assert closed.returncode == 1
    assert "being written" in closed.stderr
    give(writer, run[3:])
    assert writer.flush(20)


@pytest.mark.parametrize("is_sent", [False, True])
def test_what_detectors_tell_late_is_stored_with_its_run(
    open_writer: Callable[..., Writer], writable: Catalog, is_sent: bool
) -> None:
    """A file writer may know only after the stop where its last frames are."""
    writer, run = open_writer(), a_run(files=True)
    late = [item for item in run if item[0] in ("datum", "stream_datum")][-2:]
    give(writer, [item for item in run if item not in late])
    if is_sent:
        assert writer.flush(20)
    give(writer, late[:1])
    if is_sent:
        assert writer.flush(20)
    give(writer, late[1:])
    assert writer.flush(20)
    assert_holds(writable, run)
    assert spooled(writer.folder) == []
    give(writer, a_run())  # nothing is told at the next start


def test_what_came_late_is_sent_by_the_next_process(
    open_writer: Callable[..., Writer], service: Service, writable: Catalog
) -> None:
    writer, run = open_writer(), a_run(files=True)
    late = [item for item in run if item[0] == "stream_datum"][-1:]
    give(writer, [item for item in run if item not in late])
    assert writer.flush(20)
    service.instance.stop()
    try:
        give(writer, late)
        writer.close(0.1)
        (left,) = spooled(writer.folder)
        assert (left.state, left.items, left.ended) == ("waiting", 1, True)
    finally:
        service.instance.start()
    assert service.command("spool", "send").returncode == 0
    assert_holds(writable, run)
    assert spooled(writer.folder) == []


def test_an_event_after_the_stop_is_kept_and_told_of(
    open_writer: Callable[..., Writer], writable: Catalog
) -> None:
    writer, run = open_writer(), a_run()
    give(writer, run)
    assert writer.flush(20)
    give(writer, [("event", an_event(run[1][1]["uid"], 9))])
    assert writer.flush(20)
    assert_holds(writable, run)
    (kept,) = spooled(writer.folder)
    assert (kept.state, kept.items) == ("failed", 1)
    with pytest.raises(NotWritten, match="closed"):
        give(writer, a_run())


def test_a_refusal_is_told_at_the_next_start_and_never_before(
    open_writer: Callable[..., Writer], writable: Catalog, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "dbservice")
    writer, run = open_writer(), a_run()
    name, event = run[3]
    wrong = event | {"data": {"det": 2**64 - 1}}
    give(writer, [*run[:3], (name, wrong)])
    assert writer.flush(20)
    give(writer, run[4:])
    assert writer.flush(20)
    following = a_run()
    with pytest.raises(NotWritten, match="beyond 64 bits") as refused:
        writer(*following[0])
    assert refused.value.path is not None
    assert refused.value.path.exists()
    give(writer, following)
    assert writer.flush(20)
    # What stands before it is stored. The run never got its stop.
    assert_holds(writable, run[:3], following)
    assert [found.state for found in spooled(writer.folder)] == ["failed"]


def test_on_failure_log_only_logs(
    open_writer: Callable[..., Writer], caplog: pytest.LogCaptureFixture
) -> None:
    writer, run = open_writer(on_failure="log"), a_run()
    give(writer, [run[0], ("descriptor", {"run_start": run[0][1]["uid"], "uid": "x"})])
    assert writer.flush(20)
    give(writer, a_run())
    assert "was refused" in caplog.text


def test_what_has_no_form_is_refused_without_stopping_the_scan(
    open_writer: Callable[..., Writer], writable: Catalog, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "dbservice")
    writer, run = open_writer(), a_run()
    event = an_event(run[1][1]["uid"], 9, odd=object())
    give(writer, [*run[:3], ("event", event), *run[3:]])
    assert writer.flush(20)
    assert_holds(writable, run[:3])
    with pytest.raises(NotWritten):
        writer(*a_run()[0])


def test_two_writers_of_one_run_get_one_refusal(
    open_writer: Callable[..., Writer], caplog: pytest.LogCaptureFixture, writable: Catalog
) -> None:
    caplog.set_level(logging.CRITICAL, "dbservice")
    run = a_run(stop=False)
    uid = run[0][1]["uid"]
    writer = open_writer()
    for _ in range(2):
        give(writer, [*run, ("stop", a_stop(uid))])
        assert writer.flush(20)
    with pytest.raises(NotWritten, match="another content"):
        writer(*a_run()[0])
    assert database(writable.metadata).run_stop.count_documents({}) == 1


def test_runs_at_once_are_kept_apart(open_writer: Callable[..., Writer], writable: Catalog) -> None:
    writer, one, other = open_writer(), a_run(files=True), a_run(files=True)
    for a, b in zip(one, other, strict=True):
        give(writer, [a, b])
    assert writer.flush(20)
    assert_holds(writable, one, other)


def test_a_document_that_is_too_large_is_refused_and_larger_batches_are_not(
    open_writer: Callable[..., Writer], writable: Catalog, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "dbservice")
    writer, run, large = open_writer(), a_run(events=0, stop=False), a_run(events=0, stop=False)
    fits = [("event", an_event(run[1][1]["uid"], n, text="x" * 700_000)) for n in range(1, 16)]
    give(writer, [*run, *fits])
    assert writer.flush(60)
    assert_holds(writable, run + fits)
    give(writer, [*large, ("event", an_event(large[1][1]["uid"], 1, text="x" * 9_000_000))])
    assert writer.flush(60)
    with pytest.raises(NotWritten, match="413"):
        writer(*a_run()[0])


def test_a_run_that_the_service_forgot_is_sent_again_from_its_start(
    open_writer: Callable[..., Writer], writable: Catalog
) -> None:
    writer, run = open_writer(), a_run(events=6)
    give(writer, run[:4])
    assert writer.flush(20)
    for name in ("run_start", "event_descriptor", "event"):
        database(writable.metadata)[name].delete_many({})
    give(writer, run[4:])
    assert writer.flush(20)
    assert_holds(writable, run)


def test_a_full_disk_ends_the_run_with_a_clear_error(
    open_writer: Callable[..., Writer], writable: Catalog
) -> None:
    writer, run = open_writer(), a_run(events=3)
    give(writer, run[:3])
    assert writer.flush(20)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    full = spooled(writer.folder)[0].size + 10
    resource.setrlimit(resource.RLIMIT_FSIZE, (full, limits[1]))
    try:
        with pytest.raises(SpoolError, match="Cannot write the spool"):
            writer(*run[3])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    # Later there is room again, but a gap must not be hidden.
    with pytest.raises(SpoolError):
        writer(*run[-1])
    assert writer.flush(20)
    assert_holds(writable, run[:3])


def test_what_a_loss_of_power_cut_is_left_out(
    open_writer: Callable[..., Writer], writable: Catalog
) -> None:
    from dbservice.spool import SpoolFile

    folder = open_writer().folder
    run = a_run()
    file = SpoolFile.create(folder, run[0][1]["uid"])
    for name, document in run[:4]:
        file.append(name, msgpack.packb([name, document]))
    with file.path.open("ab") as cut:
        cut.write(msgpack.packb(list(run[4]))[:20])
    file.release()
    assert open_writer().flush(20)
    assert_holds(writable, run[:4])
