"""Small files that claim to hold much, and long streams: what they may cost.

ABUSE-CASES 11.
"""

import io
import resource as limits
import socket
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from django.contrib.auth.models import AnonymousUser
from django.test import RequestFactory
from rest_framework.request import Request

from broker_site.connection import ClientLeft, require_client
from events import views
from headers.repositories import Run, Runs
from policies.requests import guarded
from policies.rule.access import Access
from policies.throttling import ByteBudget
from tests.conftest import Actor, People
from tests.documents import EPOCH, Recorder

SIDE = 60_000
IMAGE = {"dtype": "array", "shape": [4, 6], "external": "FILESTORE:", "source": "x"}


def bomb(path: Path) -> None:
    """A few kilobytes that decode to 3.6 GB of zeros."""
    with h5py.File(path, "w") as file:
        shape = (1, SIDE, SIDE)
        file.create_dataset("/entry/data/data", shape, "u1", chunks=(1, 512, 512), compression=9)


def small(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["/entry/data/data"] = np.ones((1, 4, 6), "u1")


def record(recorder: Recorder, *files: str) -> tuple[str, str]:
    """A run of one event for each file, and its descriptor."""
    run = recorder.run(events=0)
    number = {"dtype": "number", "shape": [], "source": "x"}
    descriptor = recorder.descriptor(run, name="frames", data_keys={"img": IMAGE, "det": number})
    for n, name in enumerate(files):
        place = {"root": "/facility/data", "resource_path": name, "spec": "AD_HDF5"}
        named = {"uid": f"{run}-r{n}", "run_start": run, "resource_kwargs": {}}
        recorder.insert("csx", "resource", place | named)
        datum = {"datum_id": f"{run}/{n}", "resource": named["uid"]}
        recorder.insert("csx", "datum", datum | {"datum_kwargs": {"point_number": 0}})
        event = {"uid": f"{run}-{n}", "descriptor": descriptor, "seq_num": n + 1}
        data = {"img": datum["datum_id"], "det": 1.0}
        values = {"data": data, "timestamps": dict.fromkeys(data, EPOCH), "filled": {"img": False}}
        recorder.insert("csx", "event", event | values | {"time": EPOCH + n})
    return run, descriptor


def peak() -> int:
    """Bytes that this process has held at most."""
    return limits.getrusage(limits.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("order", [["bomb.h5"], ["small.h5", "bomb.h5"]])
@pytest.mark.parametrize(
    "path",
    [
        "headers/{run}/export/?format=h5",
        "events/?descriptor={descriptor}&fill=true",
        "headers/{run}/streams/frames/data/img/?format=npy&slice={last}",
        "headers/{run}/streams/frames/data/img/?format=json&slice={last}",
        "headers/{run}/streams/frames/data/img/?format=h5&slice={last}",
        "headers/{run}/streams/frames/data/img/?format=png&slice={last},0",
        "headers/{run}/streams/frames/data/img/?format=tiff&slice={last},0",
        "events/{run}-{last}/data/img/?format=png&slice=0",
        "events/{run}-{last}/data/img/?format=octet-stream",
    ],
)
def test_a_small_file_of_gigabytes_is_refused_before_it_is_read(
    path: str, order: list[str], acting_as: Actor, recorder: Recorder, data_folder: Path
) -> None:
    """By its true shape: its data key says that it is small."""
    bomb(data_folder / "bomb.h5")
    small(data_folder / "small.h5")
    assert (data_folder / "bomb.h5").stat().st_size < 10_000
    run, descriptor = record(recorder, *order)
    before = peak()
    address = path.format(run=run, descriptor=descriptor, last=len(order) - 1)
    response = acting_as("alice").get(f"/api/v1/{address}")
    assert response.status_code in (406, 413), response
    assert peak() - before < 64 * 2**20


def test_documents_break_off_before_they_read_too_much(
    acting_as: Actor, recorder: Recorder, data_folder: Path
) -> None:
    bomb(data_folder / "bomb.h5")
    small(data_folder / "small.h5")
    alice, before = acting_as("alice"), peak()
    run, _ = record(recorder, "bomb.h5")
    refused = alice.get(f"/api/v1/headers/{run}/documents/?fill=true")
    assert (refused.status_code, refused.json()["limit"]) == (413, 512 * 2**20)
    run, _ = record(recorder, "small.h5", "bomb.h5")
    assert alice.get(f"/api/v1/headers/{run}/documents/?fill=true").status_code == 413
    assert peak() - before < 64 * 2**20


def test_only_so_many_exports_are_written_at_once(
    acting_as: Actor, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "EXPORT_WAIT_SECONDS", 0.01)
    url, alice = f"/api/v1/headers/{recorder.run()}/export/", acting_as("alice")
    with views._exports, views._exports:
        busy = alice.get(url)
        assert (busy.status_code, busy["Retry-After"]) == (503, "5")
    with h5py.File(io.BytesIO(b"".join(alice.get(url)))) as file:
        assert "entry" in file


def test_work_ends_when_its_client_has_left(
    acting_as: Actor, recorder: Recorder, rf: RequestFactory
) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        request = rf.get("/")
        request.META["gunicorn.socket"] = ours
        require_client(request)
        theirs.close()
        with pytest.raises(ClientLeft):
            require_client(request)
        for path in ("export/", "streams/primary/table/"):
            url = f"/api/v1/headers/{recorder.run()}/{path}"
            with pytest.raises(ClientLeft):
                acting_as("alice").get(url, **{"gunicorn.socket": ours})  # type: ignore[arg-type]


# -- the budget of streamed bytes ------------------------------------------------------------------


def run_of(recorder: Recorder) -> Run:
    run = Runs(recorder.catalogs["csx"], Access(data_admin=True)).get(recorder.run("312000"))
    assert run is not None
    return run


def test_a_long_stream_is_charged_while_it_goes_on_and_every_byte_once(
    recorder: Recorder, people: People, rf: RequestFactory
) -> None:
    """Else whoever never reads to the end would never pay, or whoever does pay twice."""
    request = Request(rf.get("/"))
    request.user = AnonymousUser()

    def chunks() -> Iterator[bytes]:
        for _ in range(5):
            yield b"x" * 100

    stream = guarded(request, run_of(recorder), chunks(), every=0.0)
    counted = []
    for chunk in stream:
        assert len(chunk) == 100
        counted.append(ByteBudget(request).spend(0))
    assert counted == [0, 100, 200, 300, 400]  # each is charged before the next one is made
    stream.close()
    stream.close()
    assert ByteBudget(request).spend(0) == 500
