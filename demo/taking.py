"""The demo's beamline at work: `python -m demo.taking MONGO_URI FOLDER` takes run after run.

Real documents, by the real RunEngine through suitcase-mongo, in real time: a rocking curve with
frames of a public proposal and a map of alice's in turns, each of some minutes. There are at most
RUNS of them in the databases, so that a demo that runs for weeks does not fill the disk.
"""
# bluesky, ophyd and suitcase are partly untyped.
# mypy: allow-subclassing-any, allow-untyped-calls

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from types import FrameType
from typing import Any

import bluesky.plans as bp
import numpy as np
import tifffile
from bluesky import RunEngine
from event_model import compose_resource
from ophyd.sim import new_uid
from pymongo import MongoClient
from pymongo.database import Database
from suitcase.mongo_normalized import Serializer

from demo.beamlines import FILE_ROOT, Csx, Plan
from demo.devices import Clock, Frame, FrameDetector, radius, speckle, to_counts
from demo.layout import DATABASES

RUNS = 150
PAUSE_SECONDS = 20.0
PURPOSE = "live demonstration"
SIZE = 128
NAMES = {"template": "%s%s_%06d.tiff", "filename": "frame", "frame_per_point": 1}
SAMPLES: tuple[dict[str, Any], ...] = (
    {"data_session": "pass-312000", "sample": "Fe/Gd reference", "username": "xf23id1"},
    {"data_session": "pass-310000", "sample": {"name": "FeGd-0414"}, "username": "alice"},
)


class Ending(Exception):
    """The demo stops; the run at hand ends as one whose plan failed."""


class RealTime(Clock):
    """Time as it is: what takes time is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.ending = False

    def time(self) -> float:
        return time.time()

    def advance(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if self.ending:
                raise Ending("the demo was stopped")
            time.sleep(min(left, 0.1))


class TiffDetector(FrameDetector):
    """One file a frame, so that each can be read while the next ones are still to come."""

    def stage(self) -> list[Any]:
        path = f"{self._folder()}/{new_uid()[:18]}"
        self._resource = compose_resource(
            spec="AD_TIFF",
            root=self._root,
            resource_path=path,
            resource_kwargs={
                "template": "%s%s_%06d.tiff",
                "filename": "frame",
                "frame_per_point": 1,
            },
        )
        resource = {k: v for k, v in self._resource.resource_doc.items() if k != "run_start"}
        self._asset_docs.append(("resource", resource))
        self._target = self._files / path
        self._target.mkdir(parents=True, exist_ok=True)
        self._count = 0
        return [self]

    def _append(self, frame: Frame) -> None:
        name = self._target / f"frame_{self._count:06d}.tiff"
        tifffile.imwrite(name, frame, compression="zlib")

    def unstage(self) -> list[Any]:
        return [self]


class LiveCsx(Csx):
    """The same beamline, with a camera whose frames show the diffraction peak rock by."""

    clock: RealTime

    def __init__(self, clock: RealTime, files: Path) -> None:
        super().__init__(clock, files)
        self.diode._seconds = 1.0
        self.map._seconds = 0.7
        self.camera = TiffDetector(
            "cam",
            clock,
            self._camera_frame,
            files=files,
            root=FILE_ROOT,
            folder=self._folder,
            described_shape=[1, SIZE, SIZE],
            dtype_numpy="<u2",
        )

    def _camera_frame(self, index: int) -> Frame:
        if index == 0:
            self._grains = speckle(self.rng, SIZE, 6)
        offset = (self.theta.position - 21.3) / 1.3 * SIZE / 2
        spot = 4000 * np.exp(-((radius(SIZE, 64.0, 64.0 + offset) / 9) ** 2))
        return to_counts(spot * (0.4 + 0.6 * self._grains) + 6)

    def plans(self) -> Iterator[Plan]:
        while True:
            yield bp.scan([self.diode, self.ring_current, self.camera], self.theta, 20.0, 22.6, 91)
            yield self.grid(11, 15)


def take(metadata: Database[Any], assets: Database[Any], files: Path, clock: RealTime) -> None:
    """Takes runs until there are RUNS, or the clock is ending."""
    newest = metadata.run_start.find_one({}, {"scan_id": 1}, sort=[("time", -1)]) or {}
    state = {"scan_id": newest.get("scan_id", 0), "beamline_id": "CSX"}
    engine = RunEngine(state, context_managers=[])
    engine.subscribe(Serializer(metadata, assets))
    for plan, sample in zip(LiveCsx(clock, files).plans(), cycle(SAMPLES), strict=False):
        if metadata.run_start.count_documents({"purpose": PURPOSE}) >= RUNS:
            print(f"There are {RUNS} runs of the beamline's own: it rests.", flush=True)
            return
        engine(plan, purpose=PURPOSE, project="live", **sample)
        clock.advance(PAUSE_SECONDS)


def main() -> None:
    uri, files = sys.argv[1], Path(sys.argv[2])
    clock = RealTime()

    def end(number: int, frame: FrameType | None) -> None:
        clock.ending = True

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    names = DATABASES["csx"]
    with MongoClient[Any](uri) as client, suppress(Ending):
        take(client[names.metadata], client[names.assets], files, clock)


if __name__ == "__main__":
    main()
