"""Simulated beamline devices that keep simulated time, for the demo recording.

They are ophyd devices driven by the real RunEngine, so that the documents have the structure of
real ones: an area detector that writes HDF5 and announces it as resource and datum, a
spectrometer with arrays inline, axes and counters.
"""
# bluesky, ophyd and suitcase are partly untyped.
# mypy: allow-subclassing-any

from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from event_model import compose_resource
from numpy.typing import NDArray
from ophyd import Component, Device, Signal
from ophyd.sim import NullStatus, SynAxis, SynSignal, new_uid

Frame = NDArray[np.uint16]


class Clock:
    """Simulated time in epoch seconds; it passes only when a device takes time."""

    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        # Whole microseconds, so that a sum of steps prints as people write times.
        self.now = round(self.now + seconds, 6)


class Axis(SynAxis):
    """A motor that needs ``distance / speed`` seconds, and ends a few encoder steps off."""

    def __init__(self, name: str, clock: Clock, *, speed: float, egu: str, value: float = 0.0):
        self._clock = clock
        self._speed = speed
        super().__init__(name=name, value=value, egu=egu, readback_func=lambda x: round(x, 4))

    def set(self, value: float) -> Any:
        self._clock.advance(0.05 + abs(value - self.position) / self._speed)
        return super().set(value)

    def describe(self) -> dict[str, Any]:
        keys: dict[str, Any] = super().describe()
        return {name: key | {"units": self.egu} for name, key in keys.items()}


class Counter(SynSignal):
    """A signal computed from the state of the beamline, after ``seconds`` of counting."""

    def __init__(
        self, name: str, clock: Clock, func: Callable[[], Any], *, seconds: float, units: str
    ):
        self._clock = clock
        self._seconds = seconds
        self._units = units
        super().__init__(func=func, name=name, kind="hinted")

    def trigger(self) -> Any:
        self._clock.advance(self._seconds)
        return super().trigger()

    def describe(self) -> dict[str, Any]:
        keys: dict[str, Any] = super().describe()
        return {name: key | {"units": self._units} for name, key in keys.items()}


class FrameDetector(Device):
    """An area detector whose frames go to HDF5 in the layout of EPICS's HDF5 plugin.

    ``draw(i)`` gives frame ``i`` (H, W) of a run; it is written to ``/entry/data/data``
    (frame, H, W), one file per stage, below ``files``/``folder()``. The data key has the shape
    that ``described_shape`` says, which in old recordings is not the shape of the frames.
    """

    total = Component(Signal, value=0, kind="hinted")
    acquire_time = Component(Signal, value=0.1, kind="config")
    acquire_period = Component(Signal, value=0.11, kind="config")

    def __init__(
        self,
        name: str,
        clock: Clock,
        draw: Callable[[int], Frame],
        *,
        files: Path,
        root: str,
        folder: Callable[[], str],
        described_shape: list[int],
        dtype_numpy: str | None,
    ):
        super().__init__(name=name)
        self._clock = clock
        self._draw = draw
        self._files = files
        self._root = root
        self._folder = folder
        self._key = f"{name}_image"
        self._data_key: dict[str, Any] = {
            "source": f"SIM:{name}",
            "dtype": "array",
            "shape": described_shape,
            "external": "FILESTORE:",
        }
        if dtype_numpy:
            self._data_key["dtype_numpy"] = dtype_numpy
        self._file: Any = None  # open while staged
        self._asset_docs: deque[tuple[str, Any]] = deque()

    def stage(self) -> list[Any]:
        path = f"{self._folder()}/{new_uid()[:18]}.h5"
        self._resource = compose_resource(
            spec="AD_HDF5",
            root=self._root,
            resource_path=path,
            resource_kwargs={"frame_per_point": 1},
        )
        # bluesky adds the run's uid itself when it collects the document.
        resource = {k: v for k, v in self._resource.resource_doc.items() if k != "run_start"}
        self._asset_docs.append(("resource", resource))
        (self._files / path).parent.mkdir(parents=True, exist_ok=True)
        self._file = h5py.File(self._files / path, "w")
        self._count = 0
        staged: list[Any] = super().stage()
        return staged

    def trigger(self) -> NullStatus:
        self._clock.advance(self.acquire_period.get())
        frame = self._draw(self._count)
        self._append(frame)
        datum = self._resource.compose_datum(datum_kwargs={"point_number": self._count})
        self._asset_docs.append(("datum", datum))
        self._datum_id = datum["datum_id"]
        self._count += 1
        self.total.put(int(frame.sum(dtype=np.uint64)))
        return NullStatus()

    def _append(self, frame: Frame) -> None:
        if self._count == 0:
            self._file.create_dataset(
                "/entry/data/data",
                shape=(0, *frame.shape),
                maxshape=(None, *frame.shape),
                chunks=(1, *frame.shape),
                dtype=frame.dtype,
                compression="gzip",
                compression_opts=9,
                shuffle=True,
            )
        data = self._file["/entry/data/data"]
        data.resize(self._count + 1, axis=0)
        data[self._count] = frame

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), self._key: dict(self._data_key)}

    def read(self) -> dict[str, Any]:
        image = {"value": self._datum_id, "timestamp": self._clock.time()}
        return {**super().read(), self._key: image}

    def collect_asset_docs(self) -> Iterator[tuple[str, Any]]:
        while self._asset_docs:
            yield self._asset_docs.popleft()

    def unstage(self) -> list[Any]:
        if self._file:
            self._file.close()
        unstaged: list[Any] = super().unstage()
        return unstaged


def to_counts(expected: NDArray[np.float64]) -> Frame:
    """Round to the square root's steps, which is what counting noise leaves of the precision.

    Detectors with on-board compression do the same; it makes the frames ten times smaller.
    """
    return np.square(np.rint(np.sqrt(np.clip(expected, 0, 65025)))).astype(np.uint16)


def speckle(rng: np.random.Generator, size: int, grain: float) -> NDArray[np.float64]:
    """A speckle field (size, size) with mean 1 and grains of about ``grain`` pixels."""
    field = rng.normal(size=(size, size)) + 1j * rng.normal(size=(size, size))
    frequency = np.fft.fftfreq(size)
    low_pass = np.exp(-((frequency[:, None] ** 2 + frequency**2) * (np.pi * grain) ** 2))
    intensity = np.abs(np.fft.ifft2(np.fft.fft2(field) * low_pass)) ** 2
    return np.asarray(intensity / intensity.mean())


def radius(size: int, row: float, column: float) -> NDArray[np.float64]:
    """Distance in pixels of every pixel of a (size, size) frame from a point."""
    y, x = np.mgrid[:size, :size]
    return np.asarray(np.hypot(y - row, x - column))
