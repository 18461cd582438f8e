"""Followed runs of detector streams, and runs of very many descriptors."""

import time
import uuid
from typing import Any

import pytest

from headers.catalogs import Catalog
from headers.mongo import database
from tests.documents import EPOCH, Doc, Recorder
from tests.live.conftest import LiveServer

Sent = list[tuple[str, Doc, str]]


class Detector:
    """An open run whose frames are in files, in one stream with events and one without."""

    def __init__(self, recorder: Recorder, catalog: Catalog) -> None:
        self.recorder = recorder
        assert catalog.assets is not None
        self.assets = database(catalog.assets)
        self.uid = recorder.run(events=0, exit_status=None)
        key: Doc = {"dtype": "array", "shape": [4, 5], "source": "c", "external": "STREAM:"}
        keys: Doc = {"cam": key, "det": {"dtype": "number", "shape": [], "source": "x"}}
        self.scan = recorder.descriptor(self.uid, name="scan", time=EPOCH, data_keys=keys)
        self.fly = recorder.descriptor(self.uid, name="fly", time=EPOCH, data_keys={"fast": key})
        self.resources = {self.scan: self.resource("cam"), self.fly: self.resource("fast")}

    def resource(self, field: str) -> str:
        uid = str(uuid.uuid4())
        document: Doc = {"uid": uid, "run_start": self.uid, "data_key": field}
        document |= {"mimetype": "application/x-hdf5", "uri": "file:///x.h5", "parameters": {}}
        self.assets.stream_resource.insert_one(document)
        return uid

    def rows(self, descriptor: str, start: int, stop: int) -> None:
        resource = self.resources[descriptor]
        document: Doc = {"uid": f"{resource}/{start}", "stream_resource": resource}
        document |= {"descriptor": descriptor, "seq_nums": {"start": start, "stop": stop}}
        document["indices"] = {"start": start - 1, "stop": stop - 1}
        self.assets.stream_datum.insert_one(document)

    def event(self, n: int) -> None:
        self.rows(self.scan, n, n + 1)
        document: Doc = {"uid": f"{self.uid}-{n}", "descriptor": self.scan, "seq_num": n}
        document |= {"time": EPOCH + n, "data": {"det": 1.0}, "timestamps": {"det": 1.0}}
        self.recorder.insert("csx", "event", document)


@pytest.fixture
def detector(recorder: Recorder, catalogs: dict[str, Catalog]) -> Detector:
    return Detector(recorder, catalogs["csx"])


def named(sent: Sent, *without: str) -> list[str]:
    return [name for name, _, _ in sent if name not in without]


def test_stream_documents_come_before_the_events_that_they_are_about(
    live: LiveServer, detector: Detector
) -> None:
    for n in (1, 2, 3):
        detector.event(n)
    documents = live.follow(detector.uid).documents()
    sent = [next(documents) for _ in range(12)]
    assert named(sent, "start", "descriptor") == [
        *["stream_resource", "stream_datum", "event"],
        *["stream_datum", "event"] * 2,
        "stream_resource",
    ]
    assert all("_id" not in document for _, document, _ in sent)
    detector.rows(detector.fly, 1, 4)
    name, datum, _ = next(documents)
    assert (name, datum["seq_nums"]) == ("stream_datum", {"start": 1, "stop": 4})
    detector.event(4)
    assert [next(documents)[0] for _ in range(2)] == ["stream_datum", "event"]


def test_a_stream_without_events_lacks_none_at_the_end(
    live: LiveServer, detector: Detector
) -> None:
    detector.event(1)
    detector.rows(detector.fly, 1, 11)
    counts = {"scan": 1, "fly": 10, "primary": 0}
    detector.recorder.stop(detector.uid, time=time.time(), num_events=counts)
    sent = list(live.follow(detector.uid).documents())
    assert named(sent)[-2:] == ["stop", "end"]
    assert sent[-1][1] == {"reason": "stop"}
    assert named(sent).count("stream_datum") == 2


def test_every_id_of_a_detector_stream_goes_on_just_behind_it(
    live: LiveServer, detector: Detector
) -> None:
    for n in (1, 2):
        detector.event(n)
        detector.rows(detector.fly, 5 * n, 5 * n + 5)
    detector.recorder.stop(detector.uid, time=EPOCH)
    whole = list(live.follow(detector.uid).documents())
    for at, (name, _, id) in enumerate(whole[:-1]):
        rest = live.follow(detector.uid, Last_Event_ID=id).documents()
        assert [d[:2] for d in rest] == [d[:2] for d in whole[at + 1 :]], name


def test_who_begins_now_gets_no_old_stream_datums(live: LiveServer, detector: Detector) -> None:
    for n in range(1, 20):
        detector.rows(detector.fly, n, n + 1)
    answer = live.follow(detector.uid, "&from=now")
    documents = answer.documents()
    first = [next(documents)[0] for _ in range(6)]
    assert sorted(first) == ["descriptor"] * 3 + ["start"] + ["stream_resource"] * 2
    detector.rows(detector.fly, 20, 21)
    name, datum, _ = next(documents)
    assert (name, datum["seq_nums"]["start"]) == ("stream_datum", 20)


def test_streams_are_chosen_of_stream_datums_too(live: LiveServer, detector: Detector) -> None:
    detector.event(1)
    detector.rows(detector.fly, 1, 11)
    detector.recorder.stop(detector.uid, time=EPOCH)
    sent = list(live.follow(detector.uid, "&streams=fly").documents())
    datums = [document for name, document, _ in sent if name == "stream_datum"]
    assert [datum["descriptor"] for datum in datums] == [detector.fly]


# -- Very many descriptors ---------------------------------------------------------------------


@pytest.mark.parametrize("count", [90, 200])
def test_runs_of_very_many_descriptors_are_followed(
    live: LiveServer, recorder: Recorder, count: int
) -> None:
    uid = recorder.run(events=0, exit_status=None)
    for n in range(count):
        recorder.descriptor(uid, name=f"monitor {n}", time=EPOCH + n / 10)
    uids = [
        document["uid"]
        for document in database(recorder.catalogs["csx"].metadata).event_descriptor.find(
            {"run_start": uid, "name": {"$ne": "primary"}}
        )
    ]

    def event(n: int) -> None:
        document: Doc = {"uid": f"{uid}-{n}", "descriptor": uids[n % count], "seq_num": n}
        document |= {"time": EPOCH + 100 + n / 20, "data": {"det": 1.0}, "timestamps": {"det": 1.0}}
        recorder.insert("csx", "event", document)

    for n in range(2 * count):
        event(n)
    seen, id = list[Any](), ""
    while len(seen) < 3 * count + 2:  # by connections that break and are gone on with
        documents = live.follow(uid, Last_Event_ID=id).documents()
        for _ in range(min(150, 3 * count + 2 - len(seen))):
            name, document, id = next(documents)
            seen.append((name, document["uid"]))
            assert len(id) <= 7500
    for n in range(2 * count, 2 * count + 5):
        event(n)
    recorder.stop(uid, time=time.time(), num_events={})
    rest = list(live.follow(uid, Last_Event_ID=id).documents())
    seen += [(name, document["uid"]) for name, document, _ in rest[:-1]]
    assert len(seen) == len(set(seen))
    assert sum(name == "event" for name, _ in seen) == 2 * count + 5
    assert sum(name == "descriptor" for name, _ in seen) == count + 1
    assert [name for name, _, _ in rest][-2:] == ["stop", "end"]
