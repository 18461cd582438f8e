"""The two beamlines of the demo and what was measured there: visits, samples and scans."""
# bluesky, ophyd and suitcase are partly untyped.
# mypy: allow-untyped-calls

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import bluesky.plan_stubs as bps
import bluesky.plans as bp
import bluesky.preprocessors as bpp
import numpy as np
from numpy.typing import NDArray
from ophyd import Signal

from demo.devices import Axis, Clock, Counter, Frame, FrameDetector, radius, speckle, to_counts

TIMEZONE = ZoneInfo("America/New_York")
FILE_ROOT = "/facility/data"

Plan = Any  # a bluesky message generator
Ending = Literal["success", "fail", "abort", "open"]


@dataclass
class Shot:
    """One run to record: the plan, metadata of this run only, and how it ends.

    ``label`` names a run in the manifest that tests and the demo's people refer to.
    ``old_style``: store it as databroker 0.x did (no stream name, no ``filled``).
    """

    plan: Plan
    metadata: dict[str, Any] = field(default_factory=dict)
    ending: Ending = "success"
    label: str | None = None
    old_style: bool = False


@dataclass
class Visit:
    """A beam time: when it began, what every run of it carries, and its runs in order."""

    began: datetime
    metadata: dict[str, Any]
    shots: Iterator[Shot]

    def start_times(self) -> Iterator[float]:
        """Epoch seconds for the runs: somewhat irregular, a night's sleep after six."""
        rng = np.random.default_rng(int(self.began.timestamp()))
        moment = self.began
        for count in range(1, 1000):
            yield round(moment.timestamp() + float(rng.uniform(0, 60)), 6)
            pause = timedelta(hours=14) if count % 6 == 0 else timedelta(minutes=24)
            moment += pause + timedelta(seconds=float(rng.uniform(0, 1500)))


class ShutterError(RuntimeError):
    """A device of the beamline failed in the middle of a run."""


class Beamline:
    """Devices of one beamline; subclasses add the detectors and the visits.

    ``signal`` is the peak that the point detectors see: (axis, centre, width, height).
    """

    name: str

    def __init__(self, clock: Clock, files: Path):
        self.clock = clock
        self.files = files
        self.rng = np.random.default_rng(sum(self.name.encode()))
        self.peak: tuple[Axis, float, float, float]
        self.temperature = 295.0
        self.faults = 0  # how many more readings until the shutter fails; 0: never
        self.ring_current = Counter(
            "ring_current", clock, self._ring_current, seconds=0.01, units="mA"
        )
        self.sample_temperature = Counter(
            "sample_temperature", clock, self._temperature, seconds=0.01, units="K"
        )

    def _ring_current(self) -> float:
        return round(400.0 + float(self.rng.normal(0, 0.4)), 3)

    def _temperature(self) -> float:
        return round(self.temperature + float(self.rng.normal(0, 0.02)), 3)

    def _folder(self) -> str:
        when = datetime.fromtimestamp(self.clock.time(), TIMEZONE)
        return f"{self.name}/{when:%Y/%m/%d}"

    def _intensity(self) -> int:
        """Counts of the point detector on the peak, with counting noise."""
        self._wear_shutter()
        axis, centre, width, height = self.peak
        expected = 40 + height * np.exp(-((axis.position - centre) ** 2) / (2 * width**2))
        return int(self.rng.poisson(expected))

    def _wear_shutter(self) -> None:
        if self.faults:
            self.faults -= 1
            if not self.faults:
                raise ShutterError("photon shutter did not open within 10 s")

    def failing_after(self, readings: int, plan: Plan) -> Plan:
        """``plan``, during which the shutter fails after that many readings."""
        self.faults = readings + 1
        return (yield from plan)

    def visits(self) -> Iterator[Visit]:
        raise NotImplementedError


def interrupted(plan: Plan, at_message: int) -> Plan:
    """``plan``, paused at its n-th message as by the user's Ctrl-C."""

    def insert_pause(message: Any) -> tuple[Plan | None, None]:
        nonlocal at_message
        at_message -= 1
        return (bps.pause(), None) if at_message == 0 else (None, None)

    return bpp.plan_mutator(plan, insert_pause)


class Csx(Beamline):
    """Soft X-ray scattering: magnetic speckle on a CCD, rocking curves on a diode."""

    name = "csx"

    def __init__(self, clock: Clock, files: Path):
        super().__init__(clock, files)
        self.theta = Axis("theta", clock, speed=0.5, egu="deg", value=20.0)
        self.delta = Axis("delta", clock, speed=0.5, egu="deg", value=40.0)
        self.sx = Axis("sx", clock, speed=0.8, egu="mm")
        self.sy = Axis("sy", clock, speed=0.8, egu="mm")
        self.energy = Axis("pgm_energy", clock, speed=20.0, egu="eV", value=707.0)
        self.peak = (self.theta, 21.3, 0.35, 9000.0)
        self.diode = Counter("diode", clock, self._intensity, seconds=0.5, units="counts")
        self.tey = Counter("tey", clock, self._tey, seconds=0.2, units="V")
        self.map = Counter("diode_map", clock, self._map, seconds=0.1, units="counts")
        self.fccd = FrameDetector(
            "fccd",
            clock,
            self._frame,
            files=files,
            root=FILE_ROOT,
            folder=self._folder,
            described_shape=[1, 512, 512],
            dtype_numpy="<u2",
        )
        self.exit_slit = Signal(name="exit_slit_gap", value=20.0)

    def _tey(self) -> float:
        """Total electron yield over the Fe L3 and L2 edges; the amplifier saturates to NaN."""
        energy = self.energy.position
        edges = np.exp(-(((energy - 707.5) / 1.6) ** 2)) + 0.5 * np.exp(
            -(((energy - 720.6) / 2.1) ** 2)
        )
        value = 0.2 + 1.9 * edges + self.rng.normal(0, 0.01)
        return float("nan") if value > 2.1 else round(float(value), 5)

    def _map(self) -> int:
        """Stripes of a patterned film under a round beam spot."""
        x, y = self.sx.position, self.sy.position
        stripes = 0.5 + 0.5 * np.cos(9 * x + 2.5 * y)
        return int(self.rng.poisson(60 + 2400 * stripes * np.exp(-(x**2 + y**2) / 1.2)))

    def _frame(self, index: int) -> Frame:
        """Magnetic scattering ring, its radius growing as the sample warms up, and a beam stop."""
        if index == 0:
            self._speckle = speckle(self.rng, 512, 14)
        r = radius(512, 250.0, 262.0)
        ring = 600 * np.exp(-(((r - 108 - 1.6 * index) / 14) ** 2)) * (0.6 + 0.4 * self._speckle)
        direct = 900 * np.exp(-((r / 40) ** 2)) + 4 * np.exp(-r / 200)
        return to_counts((ring + direct) * (r > 16))

    def rocking(self, points: int = 41) -> Plan:
        return bp.scan([self.diode, self.ring_current], self.theta, 20.0, 22.6, points)

    def two_theta(self) -> Plan:
        return bp.scan([self.diode], self.theta, 20.0, 22.6, self.delta, 40.0, 45.2, 31)

    def absorption(self) -> Plan:
        return bp.scan([self.tey], self.energy, 700.0, 728.0, 57)

    def grid(self, rows: int = 15, columns: int = 21) -> Plan:
        return bp.grid_scan(
            [self.map], self.sy, -0.8, 0.8, rows, self.sx, -1.2, 1.2, columns, snake_axes=True
        )

    def images(self, frames: int = 20) -> Plan:
        return bp.count([self.fccd], frames)

    def dark(self) -> Plan:
        return bp.count([self.diode, self.tey], 10)

    def with_baseline(self, plan: Plan) -> Plan:
        devices = [self.sample_temperature, self.ring_current, self.sx, self.sy, self.exit_slit]
        return bpp.baseline_wrapper(plan, devices)

    def _routine(self, *, images: bool, grid: bool = True) -> Iterator[Shot]:
        yield Shot(self.dark(), {"purpose": "dark", "sample": "none"})
        yield Shot(self.rocking(), {"purpose": "alignment"})
        yield Shot(self.two_theta(), {"purpose": "alignment"})
        if grid:
            yield Shot(self.grid(), {"purpose": "find the patterned area"})
        yield Shot(self.with_baseline(self.absorption()), {"purpose": "Fe L edge"})
        if images:
            yield Shot(self.images(), {"purpose": "speckle while warming up"})

    def visits(self) -> Iterator[Visit]:
        standards = _gup("312000", "Commissioning standards", "B. Staff", "2025-2", "xf23id1")
        yield Visit(
            datetime(2025, 6, 10, 9, 12, tzinfo=TIMEZONE),
            standards | {"sample": "Si grating", "operator": "sue", "project": "commissioning"},
            self._routine(images=False, grid=False),
        )
        yield Visit(
            datetime(2025, 11, 4, 10, 40, tzinfo=TIMEZONE),
            _gup("309417", "Orbital order in nickelate films", "C. Ray", "2025-3", "cray")
            | {"sample": {"name": "NNO-17", "substrate": "LSAT"}, "project": "nickelates"},
            self._routine(images=True),
        )
        yield Visit(
            datetime(2026, 2, 17, 14, 5, tzinfo=TIMEZONE),
            standards | {"cycle": "2026-1", "sample": "Fe/Gd reference", "operator": "sue"},
            self._public(),
        )
        yield Visit(
            datetime(2026, 7, 8, 8, 55, tzinfo=TIMEZONE),
            _gup("310002", "Skyrmion lattices under strain", "A. Adams", "2026-2", "alice")
            | {"sample": {"name": "FeGe-3", "thickness_nm": 80}, "project": "skyrmions"},
            self._routine(images=False),
        )
        yield Visit(
            datetime(2026, 9, 22, 9, 31, tzinfo=TIMEZONE),
            _gup(
                "310000",
                "Magnetic stripe domains in Fe/Gd multilayers",
                "A. Adams",
                "2026-3",
                "alice",
            )
            | {"sample": {"name": "FeGd-0412", "layers": 80}, "project": "stripes"},
            self._alice(),
        )
        yield Visit(
            datetime(2026, 10, 27, 16, 20, tzinfo=TIMEZONE),
            _gup("310001", "Charge-density waves in cuprates", "B. Brown", "2026-3", "bob")
            | {"sample": {"name": "LBCO-125", "Tc_K": 4.0}, "project": "CDW"},
            self._bob(),
        )
        yield Visit(
            datetime(2026, 11, 18, 19, 45, tzinfo=TIMEZONE),
            _gup(
                "310000",
                "Magnetic stripe domains in Fe/Gd multilayers",
                "A. Adams",
                "2026-3",
                "alice",
            )
            | {"sample": {"name": "FeGd-0413", "layers": 120}, "project": "stripes"},
            self._latest(),
        )

    def _public(self) -> Iterator[Shot]:
        yield from self._routine(images=True)
        yield Shot(
            self.with_baseline(self.rocking(61)),
            {"purpose": "published rocking curve"},
            label="public",
        )

    def _alice(self) -> Iterator[Shot]:
        yield from self._routine(images=True)
        yield Shot(
            self.failing_after(17, self.rocking()),
            {"purpose": "field dependence"},
            ending="fail",
            label="failed",
        )
        yield Shot(
            self.rocking(),
            {"data_session": "pass-310001", "purpose": "rocking curve after the magnet swap"},
            label="mistagged",
        )
        yield Shot(
            bp.count([self.diode], 5),
            {
                "sample": {"name": "<script>alert(1)</script>", "formula": "=1+1"},
                "purpose": "{{7*7}} \u202egpj.elpmas",
                "notes": ["javascript:alert(1)", "a\r\nb"],
            },
            label="hostile",
        )

    def _bob(self) -> Iterator[Shot]:
        self.temperature = 54.0
        yield from self._routine(images=True)
        yield Shot(
            interrupted(self.grid(), 900), {"purpose": "map of the film"}, "abort", "aborted"
        )
        no_session: dict[str, Any] = {"data_session": None, "proposal": None, "cycle": None}
        yield Shot(
            bp.count([self.ring_current], 12),
            no_session | {"username": "xf23id1", "purpose": "beam stability", "sample": "none"},
            label="without_proposal",
        )

    def _latest(self) -> Iterator[Shot]:
        yield Shot(self.rocking(), {"purpose": "alignment"})
        yield Shot(
            self.with_baseline(self.rocking(31)),
            {"purpose": "field dependence", "magnet_T": float("nan")},
            label="not_a_number",
        )
        yield Shot(self.grid(21, 21), {"purpose": "overnight map"}, ending="open", label="open")


class Hxn(Beamline):
    """Nanoprobe: fluorescence maps and far-field frames; its metadata is in older styles."""

    name = "hxn"

    def __init__(self, clock: Clock, files: Path):
        super().__init__(clock, files)
        self.zpssx = Axis("zpssx", clock, speed=3.0, egu="um")
        self.zpssy = Axis("zpssy", clock, speed=3.0, egu="um")
        self.energy = Axis("mono_energy", clock, speed=0.05, egu="keV", value=9.0)
        self.peak = (self.zpssx, 0.4, 0.7, 21000.0)
        self.ion_chamber = Counter(
            "sclr1_ch4", clock, self._intensity, seconds=0.05, units="counts"
        )
        self.copper = Counter("Det1_Cu", clock, self._copper, seconds=0.05, units="counts")
        self.zinc = Counter("Det1_Zn", clock, self._zinc, seconds=0.0, units="counts")
        self.spectrum = Counter("xs_channel1", clock, self._spectrum, seconds=1.0, units="counts")
        self.merlin = FrameDetector(
            "merlin1",
            clock,
            self._frame,
            files=files,
            root=FILE_ROOT,
            folder=self._folder,
            described_shape=[256, 256, 0],  # as old area-detector code described single frames
            dtype_numpy=None,
        )

    def _cells(self, offset: float) -> float:
        x, y = self.zpssx.position - offset, self.zpssy.position
        return float(
            np.exp(-((np.hypot(x, y) - 1.4) ** 2) / 0.15)
            + 0.8 * np.exp(-((x - 0.5) ** 2 + (y + 0.3) ** 2) / 0.08)
        )

    def _copper(self) -> int:
        self._wear_shutter()
        return int(self.rng.poisson(8 + 700 * self._cells(0.0)))

    def _zinc(self) -> int:
        return int(self.rng.poisson(15 + 240 * self._cells(0.35)))

    def _spectrum(self) -> NDArray[np.int64]:
        """A fluorescence spectrum (1024,), 10 eV a channel; the Cu line grows past its edge."""
        energy = np.arange(1024) * 0.01
        above_edge = 1 / (1 + np.exp(-(self.energy.position - 8.979) / 0.002))
        lines = [(6.40, 90), (8.05, 700 * above_edge), (8.90, 120 * above_edge), (9.57, 0.0)]
        expected = 1.5 + sum(h * np.exp(-(((energy - e) / 0.07) ** 2)) for e, h in lines)
        scatter = 160 * np.exp(-(((energy - self.energy.position) / 0.09) ** 2))
        return np.asarray(self.rng.poisson(expected + scatter))

    def _frame(self, index: int) -> Frame:
        """The zone plate's far field: a bright annulus textured by the sample."""
        if index == 0:
            self._speckle = speckle(self.rng, 256, 9)
        r = radius(256, 128 + np.sin(index), 128 + 3 * np.cos(index))
        annulus = (1 - 1 / (1 + np.exp((r - 22) / 2))) / (1 + np.exp((r - 60) / 2))
        return to_counts(900 * (0.5 + 0.5 * self._speckle) * annulus + 2)

    def knife_edge(self) -> Plan:
        return bp.scan([self.ion_chamber], self.zpssx, -2.0, 2.0, 51)

    def fluorescence_map(self, rows: int = 15, columns: int = 19) -> Plan:
        detectors = [self.copper, self.zinc, self.ion_chamber]
        axes = (self.zpssy, -2.0, 2.0, rows, self.zpssx, -2.4, 2.4, columns)
        return bp.grid_scan(detectors, *axes, snake_axes=False)

    def edge_spectra(self) -> Plan:
        return bp.scan([self.spectrum, self.ion_chamber], self.energy, 8.95, 9.01, 30)

    def far_field(self) -> Plan:
        return bp.scan([self.merlin, self.ion_chamber], self.zpssx, -1.0, 1.0, 12)

    def stability(self) -> Plan:
        return bp.count([self.ion_chamber, self.ring_current], 15)

    def _routine(self, *, images: bool, maps: int = 1) -> Iterator[Shot]:
        yield Shot(self.stability(), {"purpose": "stability", "sample": "none"})
        yield Shot(self.knife_edge(), {"purpose": "focus"})
        for number in range(maps):
            yield Shot(self.fluorescence_map(), {"purpose": "overview", "region": number})
        if images:
            yield Shot(self.far_field(), {"purpose": "far field"})
        yield Shot(self.knife_edge(), {"purpose": "drift check"})

    def visits(self) -> Iterator[Visit]:
        yield Visit(
            datetime(2025, 5, 20, 11, 2, tzinfo=TIMEZONE),
            {"proposal": "312000", "PI": "B. Staff", "sample": "Siemens star", "owner": "hank"},
            self._oldest(),
        )
        yield Visit(
            datetime(2025, 7, 29, 13, 15, tzinfo=TIMEZONE),
            {
                "proposal": {"proposal_id": 308500, "PI": "D. Corp"},
                "owner": "xf03id1",
                "sample": "catalyst pellet C7",
                "project": "exhaust catalysts",
            },
            self._routine(images=True),
        )
        yield Visit(
            datetime(2025, 12, 9, 9, 48, tzinfo=TIMEZONE),
            {
                "proposal_id": 308777,
                "PI": "A. Adams",
                "owner": "xf03id1",
                "sample": "cell 12",
                "project": "battery ageing",
            },
            self._routine(images=False),
        )
        yield Visit(
            datetime(2026, 4, 14, 15, 33, tzinfo=TIMEZONE),
            {
                "proposal": {"proposal_id": "311200", "PI": "B. Brown"},
                "owner": "bob",
                "sample": {"name": "root section", "species": "Oryza sativa"},
                "group": "plants",
            },
            self._roots(),
        )
        yield Visit(
            datetime(2026, 9, 29, 10, 26, tzinfo=TIMEZONE),
            {
                "proposal": {"proposal_id": 310000, "PI": "A. Adams"},
                "owner": "alice",
                "sample": "FeGd-0412",
                "group": "magnetism",
            },
            self._routine(images=True),
        )

    def _oldest(self) -> Iterator[Shot]:
        yield Shot(self.stability(), old_style=True, label="old_style")
        yield from self._routine(images=True)

    def _roots(self) -> Iterator[Shot]:
        yield Shot(
            self.failing_after(0, self.knife_edge()),
            {"purpose": "focus"},
            ending="fail",
            label="failed_at_once",
        )
        yield from self._routine(images=False, maps=2)
        yield Shot(self.edge_spectra(), {"purpose": "Cu K edge"}, label="spectra")


def _gup(proposal: str, title: str, pi_name: str, cycle: str, username: str) -> dict[str, Any]:
    """Metadata as data-session-aware beamlines write it now."""
    return {
        "data_session": f"pass-{proposal}",
        "cycle": cycle,
        "username": username,
        "proposal": {"proposal_id": proposal, "title": title, "type": "GU", "pi_name": pi_name},
        "group": "csx",
        "owner": username,
    }


BEAMLINES: tuple[type[Beamline], ...] = (Csx, Hxn)
