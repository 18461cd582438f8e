"""External files are read exactly, within their roots, and never at the cost of the web worker."""

import math
import os
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import area_detector_handlers.handlers as adh
import h5py
import numpy as np
import pytest
import tifffile
from h5py import h5d, h5p, h5s, h5t
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from ophyd.sim import NumpySeqHandler

from events.arrays.formats import gather
from events.files import reader as reader_module
from events.files.assets import (
    AssetError,
    AssetMissing,
    AssetRefused,
    AssetTooLarge,
    AssetUnreadable,
    Datum,
    HandlerMissing,
    Layout,
    OutsideRoots,
    RaggedEvents,
    Resource,
    Roots,
    UnsupportedDtype,
    installed_handlers,
)
from events.files.reader import BLOCK_BYTES, ArrayReader, ReaderBusy, ReaderPool, plan
from events.files.slices import OverBudget, Selection, check_budget, parse, resolve, whole

Array = NDArray[Any]
EVERY_SPEC = frozenset({"*"})
DATASET = "/entry/data/data"


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReaderPool]:
    """Its readers may see the tests' folders, in which the roots of each test are."""
    pool = ReaderPool((str(tmp_path_factory.getbasetemp()),), processes=2)
    yield pool
    pool.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The one folder from which files may be served."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file that must never be opened: whoever opens this pipe waits for ever."""
    pipe = tmp_path / "secret.h5"
    os.mkfifo(pipe)
    return pipe


@pytest.fixture
def reader(pool: ReaderPool, data: Path) -> ArrayReader:
    return ArrayReader(Roots({"/facility": str(data)}, (str(data),)), EVERY_SPEC, pool)


def resource(spec: str, path: str, **kwargs: Any) -> Resource:
    return Resource("res-1", spec, "/facility", path, kwargs)


def points(resource: Resource, count: int, name: str = "point_number") -> list[Datum]:
    return [Datum(resource, {name: number}) for number in range(count)]


def read(reader: ArrayReader, datums: list[Datum], text: str = "") -> Array:
    """What the array route does: shape first, then the events, then their values."""
    layout = reader.describe(datums[:1])
    selection = resolve(parse(text), (len(datums), *layout.shape))
    events, inner = selection.axes[0], Selection(selection.axes[1:])
    if isinstance(events, int):
        values = gather(reader.read([datums[events]], inner, layout, stacked=False))
        if 0 < values.nbytes <= BLOCK_BYTES:  # then it comes with the shape, if it is asked for
            glanced, little = reader.glance(datums[events], parse(text), (len(datums),))
            assert glanced == layout
            assert little is not None
            np.testing.assert_array_equal(little.reshape(values.shape), values)
        return values
    return gather(reader.read([datums[number] for number in events], inner, layout))


def frames(count: int = 12, y: int = 6, x: int = 8, dtype: str = "<u2") -> Array:
    return np.arange(count * y * x).reshape(count, y, x).astype(dtype)


def write_h5(path: Path, values: Array, name: str = DATASET, **options: Any) -> None:
    with h5py.File(path, "a") as file:
        file.create_dataset(name, data=values, **options)


# --- what is read is what was recorded ---------------------------------------------------------


@pytest.mark.parametrize("per_point", [1, 3])
@pytest.mark.parametrize(
    "options",
    [{}, {"chunks": (1, 6, 8), "compression": "gzip"}, {"chunks": (5, 4, 3), "shuffle": True}],
    ids=["contiguous", "a chunk per frame", "odd chunks"],
)
def test_slices_of_frames_equal_numpys(
    reader: ArrayReader, data: Path, options: dict[str, Any], per_point: int
) -> None:
    recorded = frames()
    write_h5(data / "a.h5", recorded, **options)
    datums = points(
        resource("AD_HDF5", "a.h5", frame_per_point=per_point), len(recorded) // per_point
    )
    expected = recorded.reshape(-1, per_point, 6, 8)
    for text in (
        "", "0", "-1", "2", "::2", "::-1", "1:3,0", "...,3", "...,::2,::-3", ":,0,2:4,1:7:2",
        "::-2,-1,::-1,5", "0:0", "...,2:2,:", "1,::2", ":,:,-1:-4:-2",
    ):  # fmt: skip
        index: Any = eval(f"np.s_[{text or '...'}]")
        np.testing.assert_array_equal(read(reader, datums, text), expected[index], err_msg=text)


@given(
    hnp.array_shapes(min_dims=1, max_dims=4, max_side=6).flatmap(
        lambda shape: st.tuples(st.just(shape), hnp.basic_indices(shape, allow_newaxis=False))
    ),
    st.lists(st.integers(1, 4), min_size=3, max_size=3),
    st.integers(1, 64),
)
@settings(max_examples=200)
def test_blocks_follow_each_other_in_c_order(
    case: tuple[tuple[int, ...], Any], chunks: list[int], block_bytes: int
) -> None:
    shape, index = case
    array = np.arange(math.prod(shape), dtype="u2").reshape(shape)
    selection = resolve(index if isinstance(index, tuple) else (index,), shape)
    events = selection.axes[0]
    stack = array[[events] if isinstance(events, int) else list(events)]
    layout = Layout(shape[1:], array.dtype, tuple(chunks[: len(shape) - 1]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader_module, "BLOCK_BYTES", block_bytes)
        blocks = [
            stack[(part, *Selection(axes).index)]
            for part, axes in plan(len(stack), Selection(selection.axes[1:]), layout)
        ]
    assert b"".join(block.tobytes() for block in blocks) == array[selection.index].tobytes()


def test_blocks_are_small_but_never_split_a_chunk() -> None:
    def lengths(shape: tuple[int, ...], chunks: tuple[int, ...]) -> list[tuple[int, ...]]:
        layout = Layout(shape, np.dtype("<u4"), chunks)
        return [Selection(axes).shape for _, axes in plan(2, whole(shape), layout)]

    assert lengths((4300, 4100), (4300, 4100)) == [(4300, 4100)] * 2
    assert lengths((1, 4096, 4096), (1, 256, 4096))[:2] == [(256, 4096)] * 2
    assert lengths((1000, 8, 4096), (1, 8, 4096))[0] == (32, 8, 4096)


def test_one_frame_costs_its_own_chunks_only(reader: ArrayReader, data: Path) -> None:
    with h5py.File(data / "a.h5", "w") as file:
        dataset = file.create_dataset(
            DATASET, (10, 64, 64), "<u2", chunks=(1, 32, 64), compression="gzip"
        )
        for frame in range(10):
            for row in (0, 32):
                dataset.id.write_direct_chunk((frame, row, 0), b"broken")
        dataset[7, :32] = 7
    datums = points(resource("AD_HDF5", "a.h5"), 10)
    assert reader.describe(datums).shape == (1, 64, 64)
    assert (read(reader, datums, "7,0,:32") == 7).all()
    for broken in ("7,0,32", "6,0,0", ""):
        with pytest.raises(AssetUnreadable):
            read(reader, datums, broken)


def test_known_layouts_are_read_as_their_handlers_read_them(
    reader: ArrayReader, data: Path
) -> None:
    recorded = frames(6)
    write_h5(data / "a.h5", recorded)
    write_h5(data / "a.h5", recorded.astype(">i4"), "/entry/instrument/detector/data")
    write_h5(data / "a.h5", frames(1)[0, 0], "/entry/instrument/detector/NDAttributes/I0")
    for number, frame in enumerate(recorded):
        tifffile.imwrite(data / f"img_{number:06d}.tiff", frame)
        np.save(data / f"seq_{number}.npy", np.asfortranarray(frame))
    path = str(data / "a.h5")
    cases: list[tuple[str, str, Any, dict[str, Any], list[dict[str, Any]]]] = [
        ("AD_HDF5", "a.h5", adh.AreaDetectorHDF5Handler, {"frame_per_point": 2},
         [{"point_number": 0}, {"point_number": 2}]),
        ("TPX_HDF5", "a.h5", adh.TimepixHDF5Handler, {}, [{"point_number": 5}]),
        ("XSP3", "a.h5", adh.Xspress3HDF5Handler, {},
         [{"frame": frame, "channel": 2} for frame in (0, 1, 2, 5, 3)]),
        ("XSP3_FLY", "a.h5", adh.BulkXSPRESS, {}, [{"target": "data"}]),
        ("XSP3_FLY", "a.h5", adh.BulkXSPRESS, {}, [{"target": "I0"}]),
        ("AD_TIFF", "", adh.AreaDetectorTiffHandler,
         {"template": "%s%s_%6.6d.tiff", "filename": "img", "frame_per_point": 2},
         [{"point_number": 1}, {"point_number": 0}]),
        ("NPY_SEQ", "seq", NumpySeqHandler, {}, [{"index": 3}, {"index": 1}]),
    ]  # fmt: skip
    for spec, name, handler, kwargs, datums in cases:
        place = path if name == "a.h5" else str(data / name)
        expected = [np.asarray(handler(place, **kwargs)(**datum)) for datum in datums]
        found = read(reader, [Datum(resource(spec, name, **kwargs), datum) for datum in datums])
        np.testing.assert_array_equal(found, np.stack(expected), err_msg=spec)


def test_swmr_files_are_read_again_and_again_while_they_grow(
    reader: ArrayReader, data: Path
) -> None:
    datums = points(resource("AD_HDF5_SWMR", "a.h5"), 3)
    with h5py.File(data / "a.h5", "w", libver="latest") as file:
        dataset = file.create_dataset(DATASET, (2, 4, 4), "u2", maxshape=(None, 4, 4))
        file.swmr_mode = True
        assert [read(reader, [datum]).max() for datum in datums[:2]] == [0, 0]
        with pytest.raises(AssetUnreadable, match="beyond"):
            read(reader, datums[2:])
        dataset.resize(3, axis=0)
        dataset[2] = 5
        dataset.flush()
        assert read(reader, datums[2:]).tolist() == [[[[5] * 4] * 4]]


def test_other_specs_are_read_by_their_handlers(reader: ArrayReader, data: Path) -> None:
    recorded = frames(4)
    for number, frame in enumerate(recorded):
        write_h5(data / f"one_{number}.h5", frame)
    write_h5(data / "t.h5", np.arange(3) + 10, "/entry/instrument/NDAttributes/NDArrayEpicsTSSec")
    write_h5(data / "t.h5", np.full(3, 5), "/entry/instrument/NDAttributes/NDArrayEpicsTSnSec")
    single = resource("AD_HDF5_SINGLE", "", template="%s%s_%d.h5", filename="one")
    found = read(reader, points(single, 4), "1:,0,::2,3")
    np.testing.assert_array_equal(found, recorded[1:, ::2, 3])
    times = read(reader, points(resource("AD_HDF5_TS", "t.h5"), 3))
    np.testing.assert_allclose(times, np.arange(3) + 10 + 5e-9)


def test_virtual_datasets_and_links_inside_the_roots_are_followed(
    reader: ArrayReader, data: Path
) -> None:
    recorded = frames(4)
    (data / "raw").mkdir()
    write_h5(data / "raw" / "a.h5", recorded, "/x")
    layout = h5py.VirtualLayout(recorded.shape, recorded.dtype)
    layout[:] = h5py.VirtualSource("raw/a.h5", "/x", recorded.shape)
    with h5py.File(data / "virtual.h5", "w") as file:
        file.create_virtual_dataset(DATASET, layout)
    with h5py.File(data / "linked.h5", "w") as file:
        file["elsewhere"] = h5py.ExternalLink("raw/a.h5", "/x")
        file[DATASET] = h5py.SoftLink("/elsewhere")
    for name in ("virtual.h5", "linked.h5"):
        found = read(reader, points(resource("AD_HDF5", name), 4))
        np.testing.assert_array_equal(found[:, 0], recorded, err_msg=name)


# --- nothing outside the roots -----------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["../secret.h5", "a/../../secret.h5", "a/..", "/etc/passwd", "file:///etc/passwd",
     "http://localhost/x", "x\0.h5", "s3://bucket/key"],
)  # fmt: skip
def test_abuse_case_10_paths_that_leave_the_root_are_refused(
    reader: ArrayReader, outside: Path, path: str
) -> None:
    for spec in ("AD_HDF5", "NPY_SEQ", "AD_TIFF", "AD_HDF5_TS"):
        with pytest.raises(AssetRefused):
            reader.describe(points(resource(spec, path), 1))


def test_abuse_case_10_an_absolute_path_is_refused_even_inside_the_roots(data: Path) -> None:
    roots = Roots({}, (str(data),))
    for root in ("", "/", str(data)):
        with pytest.raises(OutsideRoots):
            roots.locate(Resource("r", "AD_HDF5", root, str(data / "a.h5")))
    assert roots.locate(Resource("r", "AD_HDF5", "/", str(data / "a.h5")[1:])) == str(data / "a.h5")


def test_abuse_case_10_a_root_that_only_begins_like_an_allowed_one_is_refused(data: Path) -> None:
    with pytest.raises(OutsideRoots):
        Roots({}, (str(data),)).inside(f"{data}-2/a.h5")
    with pytest.raises(OutsideRoots):
        Roots({}, ()).inside(str(data))


def test_abuse_case_10_symlinks_out_are_refused(
    reader: ArrayReader, data: Path, outside: Path
) -> None:
    (data / "a.h5").symlink_to(outside)
    (data / "folder").symlink_to(outside.parent)
    (data / "n_0.npy").symlink_to(outside)
    (data / "t_0.tiff").symlink_to(outside)
    refused = [
        points(resource("AD_HDF5", "a.h5"), 1),
        points(resource("AD_HDF5", "folder/secret.h5"), 1),
        points(resource("AD_HDF5_TS", "a.h5"), 1),
        points(resource("NPY_SEQ", "n"), 1, "index"),
        points(resource("AD_TIFF", "", template="%s%s_%d.tiff", filename="t"), 1),
    ]
    for datums in refused:
        with pytest.raises(AssetRefused):
            reader.describe(datums)


@pytest.mark.parametrize(
    ("template", "filename"),
    [("%s%s_%d", "../secret"), ("%s../%s_%d", "secret"), ("/etc/%.0s%s%d", "passwd")],
)
def test_abuse_case_10_file_name_templates_stay_inside(
    reader: ArrayReader, outside: Path, template: str, filename: str
) -> None:
    for spec in ("AD_TIFF", "AD_HDF5_SINGLE"):
        datums = points(resource(spec, "", template=template, filename=filename), 1)
        with pytest.raises(AssetRefused) as refusal:
            reader.describe(datums)
        assert "passwd" not in str(refusal.value)


def link_out(file: h5py.File, outside: Path) -> None:
    file[DATASET] = h5py.ExternalLink(str(outside), "/x")


def link_up(file: h5py.File, outside: Path) -> None:
    file[DATASET] = h5py.ExternalLink(f"../{outside.name}", "/x")


def link_in_the_way(file: h5py.File, outside: Path) -> None:
    file["entry"] = h5py.ExternalLink(str(outside), "/")


def soft_link_to_link(file: h5py.File, outside: Path) -> None:
    file["out"] = h5py.ExternalLink(str(outside), "/x")
    file[DATASET] = h5py.SoftLink("/out")


def virtual_out(file: h5py.File, outside: Path) -> None:
    layout = h5py.VirtualLayout((3, 4, 4), "u2")
    layout[:] = h5py.VirtualSource(str(outside), "/x", (3, 4, 4))
    file.create_virtual_dataset(DATASET, layout)


def virtual_over_a_link(file: h5py.File, outside: Path) -> None:
    beside = Path(file.filename).with_name("beside.h5")
    with h5py.File(beside, "w") as other:
        other["x"] = h5py.ExternalLink(str(outside), "/x")
    layout = h5py.VirtualLayout((3, 4, 4), "u2")
    layout[:] = h5py.VirtualSource(beside.name, "/x", (3, 4, 4))
    file.create_virtual_dataset(DATASET, layout)


def virtual_pattern(file: h5py.File, outside: Path) -> None:
    """Blocks from part_0.h5, part_1.h5, ... as many as there are; h5py has only low-level calls."""
    space = h5s.create_simple((3, 4, 4), (h5s.UNLIMITED, 4, 4))
    every = space.copy()
    every.select_hyperslab((0, 0, 0), (h5s.UNLIMITED, 1, 1), (1, 4, 4), (1, 4, 4))
    layout = h5p.create(h5p.DATASET_CREATE)
    layout.set_virtual(every, b"part_%b.h5", b"/x", h5s.create_simple((1, 4, 4)))
    group = file.create_group("entry/data")
    h5d.create(group.id, b"data", h5t.NATIVE_UINT16, space, layout)


def raw_storage(file: h5py.File, outside: Path) -> None:
    file.create_dataset(DATASET, (3, 4, 4), "u2", external=[(str(outside), 0, 96)])


def endless_links(file: h5py.File, outside: Path) -> None:
    file[DATASET] = h5py.SoftLink(DATASET)


@pytest.mark.parametrize(
    "escape",
    [link_out, link_up, link_in_the_way, soft_link_to_link, virtual_out, virtual_over_a_link,
     virtual_pattern, raw_storage, endless_links],
)  # fmt: skip
def test_abuse_case_10_hdf5_files_that_lead_out_are_refused(
    reader: ArrayReader,
    data: Path,
    outside: Path,
    escape: Callable[[h5py.File, Path], None],
) -> None:
    with h5py.File(data / "a.h5", "w") as file:
        escape(file, outside)
    with pytest.raises(AssetRefused):
        reader.describe(points(resource("AD_HDF5", "a.h5"), 1))
    if escape is not endless_links:  # h5py itself refuses that one
        with pytest.raises(AssetRefused):
            reader.describe(points(resource("AD_HDF5_TS", "a.h5"), 1))


# --- files that are missing, broken, or not what they should be --------------------------------


def test_a_missing_file_is_named_by_its_resource_never_by_its_path(
    reader: ArrayReader, data: Path
) -> None:
    np.save(data / "n_0.npy", np.zeros(3))
    np.save(data / "n_2.npy", np.zeros(3))
    for datums in (
        points(resource("AD_HDF5", "nowhere.h5"), 1),
        points(resource("AD_HDF5_TS", "nowhere.h5"), 1),
        points(resource("NPY_SEQ", "n"), 3, "index"),
        points(resource("AD_TIFF", "", template="%s%s_%d.tiff", filename="n"), 2),
    ):
        with pytest.raises(AssetMissing) as missing:
            reader.describe(datums)
        assert "res-1" in str(missing.value)
        assert datums[0].resource.spec in str(missing.value)
        assert str(data) not in str(missing.value)
        assert missing.value.status == 410


def test_broken_files_are_unreadable(reader: ArrayReader, data: Path) -> None:
    write_h5(data / "whole.h5", frames(100))
    content = (data / "whole.h5").read_bytes()
    (data / "truncated.h5").write_bytes(content[: len(content) // 2])
    (data / "text.h5").write_text("not HDF5")
    write_h5(data / "empty.h5", frames(), "/other")
    np.save(data / "n_0.npy", frames(100))
    (data / "n_0.npy").write_bytes((data / "n_0.npy").read_bytes()[:1000])
    (data / "t_0.tiff").write_bytes(b"II*\0garbage")
    for datums in (
        points(resource("AD_HDF5", "truncated.h5"), 1),
        points(resource("AD_HDF5", "text.h5"), 1),
        points(resource("AD_HDF5", "empty.h5"), 1),
        points(resource("AD_HDF5", "whole.h5", frame_per_point="many"), 1),
        points(resource("AD_HDF5", "whole.h5"), 1, "odd_keyword"),
        points(resource("AD_HDF5_TS", "text.h5"), 1),
        points(resource("NPY_SEQ", "n"), 1, "index"),
        points(resource("AD_TIFF", "", template="%s%s_%d.tiff", filename="t"), 1),
        points(resource("AD_TIFF", "", template="%d%d%d%d", filename="t"), 1),
    ):
        with pytest.raises(AssetUnreadable) as broken:
            read(reader, datums)
        assert broken.value.status == 410
        assert str(data) not in str(broken.value)


def test_abuse_case_12_pickles_and_strings_are_no_arrays(reader: ArrayReader, data: Path) -> None:
    np.save(data / "n_0.npy", np.array([{"a": 1}]), allow_pickle=True)
    write_h5(data / "a.h5", np.array([b"text", b"more"], dtype="S4"))
    for datums in (
        points(resource("NPY_SEQ", "n"), 1, "index"),
        points(resource("AD_HDF5", "a.h5"), 1),
    ):
        with pytest.raises(UnsupportedDtype) as refusal:
            reader.describe(datums)
        assert refusal.value.status == 406


def test_specs_without_a_handler_or_not_enabled_are_named(
    reader: ArrayReader, pool: ReaderPool, data: Path
) -> None:
    narrow = ArrayReader(reader.roots, frozenset({"AD_HDF5"}), pool)
    for asked, spec in ((reader, "NO_SUCH_SPEC"), (narrow, "NPY_SEQ"), (narrow, "AD_SPE")):
        with pytest.raises(HandlerMissing, match=spec) as missing:
            asked.describe(points(resource(spec, "x"), 1))
        assert missing.value.status == 501
    assert {"AD_HDF5", "NPY_SEQ"} <= installed_handlers()


def test_a_short_last_point_is_never_padded(reader: ArrayReader, data: Path) -> None:
    recorded = frames(5)
    write_h5(data / "a.h5", recorded)
    datums = points(resource("AD_HDF5", "a.h5", frame_per_point=2), 4)
    with pytest.raises(RaggedEvents, match=r"\[1, 6, 8\]"):
        read(reader, datums[:3])
    np.testing.assert_array_equal(read(reader, datums[:3], ":2").reshape(4, 6, 8), recorded[:4])
    np.testing.assert_array_equal(read(reader, datums[2:3]), recorded[None, 4:])
    with pytest.raises(AssetUnreadable, match="beyond the file's 5 frames"):
        read(reader, datums[3:])


def test_events_of_other_shape_or_type_are_refused_wherever_they_stand(
    reader: ArrayReader, data: Path
) -> None:
    for number, values in enumerate((np.zeros((2, 3)), np.zeros((3, 2)), np.zeros((2, 3)))):
        np.save(data / f"shape_{number}.npy", values)
        np.save(data / f"type_{number}.npy", np.zeros(3, "u4" if number == 1 else "u2"))
    for name in ("shape", "type"):
        datums = points(resource("NPY_SEQ", name), 3, "index")
        with pytest.raises(RaggedEvents) as ragged:
            read(reader, datums)
        assert ragged.value.status == 409
        assert read(reader, datums, "::2").shape[0] == 2


def test_old_resources_are_known_by_their_id() -> None:
    old = Resource.from_document({"_id": 17, "spec": "NPY_SEQ", "root": None})
    assert (old.uid, old.root, old.path, old.kwargs) == ("17", "", "", {})


# --- files and handlers that would take the worker down ----------------------------------------

HOSTILE = """
import ctypes, os, time
import h5py, numpy as np

class Base:
    def __init__(self, path, **kwargs):
        self.path = path

class Hang(Base):
    def __call__(self):
        while True: time.sleep(1)

class HangInC(Base):
    def __call__(self):
        ctypes.pythonapi.pause()

class Exit(Base):
    def __call__(self):
        os._exit(0)

class Segfault(Base):
    def __call__(self):
        ctypes.string_at(0)

class Greedy(Base):
    def __call__(self):
        return np.ones(2**29)

class Peek(Base):
    def __call__(self):
        open(os.path.join(self.path, "..", "secret.h5")).read()

class Leak(Base):
    def __call__(self):
        global leaked
        leaked = h5py.File(os.path.join(self.path, "leak.h5"))
        return leaked["x"][()]

class Environment(Base):
    def __call__(self):
        return np.frombuffer(repr(dict(os.environ)).encode(), "u1")
"""


@pytest.fixture
def hostile(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ArrayReader]:
    """A reader for which badly behaved handlers are installed, with short limits."""
    package = tmp_path / "hostile"
    information = package / "hostile-1.dist-info"
    information.mkdir(parents=True)
    (package / "hostile_handlers.py").write_text(HOSTILE)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: hostile\nVersion: 1\n")
    names = ("Hang", "HangInC", "Exit", "Segfault", "Greedy", "Peek", "Leak", "Environment")
    lines = [f"{name} = hostile_handlers:{name}" for name in names]
    (information / "entry_points.txt").write_text("\n".join(["[databroker.handlers]", *lines]))
    monkeypatch.syspath_prepend(str(package))
    monkeypatch.setenv("BROKER_SECRET_KEY", "do-not-tell")
    pool = ReaderPool((str(data),), processes=2, seconds=1.0, wait_seconds=0.2)
    yield ArrayReader(Roots({"/facility": str(data)}, (str(data),)), EVERY_SPEC, pool)
    pool.close()


def one(spec: str) -> list[Datum]:
    return [Datum(resource(spec, ""))]


@pytest.mark.parametrize(
    ("spec", "error", "told"),
    [
        ("Hang", AssetUnreadable, "too long"),
        ("HangInC", AssetUnreadable, "too long"),
        ("Exit", AssetUnreadable, "brought its reader down"),
        ("Segfault", AssetUnreadable, "brought its reader down"),
        ("Greedy", AssetTooLarge, "memory"),
        ("Peek", AssetRefused, "not served"),
    ],
)
def test_abuse_case_11_a_handler_that_fails_badly_is_an_answer_and_the_next_request_works(
    hostile: ArrayReader,
    data: Path,
    outside: Path,
    spec: str,
    error: type[AssetError],
    told: str,
) -> None:
    write_h5(data / "good.h5", frames(2))
    for _ in range(2):
        with pytest.raises(error, match=told):
            hostile.describe(one(spec))
    assert read(hostile, points(resource("AD_HDF5", "good.h5"), 2)).shape == (2, 1, 6, 8)


def test_abuse_case_11_fifty_at_once_are_bounded(hostile: ArrayReader, data: Path) -> None:
    def ask(number: int) -> type[Exception]:
        with pytest.raises((AssetUnreadable, ReaderBusy)) as failure:
            hostile.describe(one("Hang"))
        return failure.type

    before = threading.active_count()
    with ThreadPoolExecutor(50) as threads:
        answers = threads.map(ask, range(50))
        running = threading.active_count()
        failures = list(answers)
    assert ReaderBusy in failures
    assert running <= before + 50 + 2
    assert len(children("events.files.worker")) <= 2 + 2  # ours, and the other tests' pool
    write_h5(data / "good.h5", frames(2))
    assert read(hostile, points(resource("AD_HDF5", "good.h5"), 2)).shape == (2, 1, 6, 8)


def children(module: str) -> list[int]:
    """Running processes of ours that execute a module."""
    mine = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    numbers = {int(number) for file in mine for number in file.read_text().split()}
    return [
        number
        for number in numbers
        if module in Path(f"/proc/{number}/cmdline").read_bytes().decode()
    ]


def test_files_are_closed_even_if_a_handler_leaves_them_open(
    hostile: ArrayReader, data: Path
) -> None:
    write_h5(data / "leak.h5", frames(2), "/x")
    write_h5(data / "a.h5", frames(2))
    read(hostile, one("Leak"))
    read(hostile, points(resource("AD_HDF5", "a.h5"), 2))

    def still_open() -> list[str]:
        links = [
            os.readlink(link)
            for number in children("events.files.worker")
            for link in Path(f"/proc/{number}/fd").iterdir()
            if link.is_symlink()
        ]
        return [link for link in links if link.startswith(str(data))]

    deadline = time.monotonic() + 30
    while still_open() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert still_open() == []


def test_reader_processes_know_no_secrets(hostile: ArrayReader) -> None:
    environment = read(hostile, one("Environment")).tobytes().decode()
    assert "PATH" in environment
    assert "do-not-tell" not in environment


def test_abuse_case_11_a_decompression_bomb_is_refused_from_its_shape(
    reader: ArrayReader, data: Path
) -> None:
    side = 2**13
    bomb = zlib.compress(bytes(side * side), 9)
    with h5py.File(data / "bomb.h5", "w") as file:
        dataset = file.create_dataset(
            DATASET, (20, side, side), "u1", chunks=(1, side, side), compression="gzip"
        )
        for number in range(20):
            dataset.id.write_direct_chunk((number, 0, 0), bomb)
        file.create_dataset(
            "/entry/instrument/detector/data", (1, 2**16, 2**15), "u1", chunks=(1, 2**16, 2**15)
        )
    assert (data / "bomb.h5").stat().st_size < 2 * 2**20
    datums = points(resource("AD_HDF5", "bomb.h5"), 20)
    layout = reader.describe(datums)
    with pytest.raises(OverBudget) as refusal:
        check_budget(whole((20, *layout.shape)), layout.dtype.itemsize, 512 * 2**20)
    assert refusal.value.nbytes > 10**9
    assert refusal.value.suggestion == f"0:8,0:1,0:{side},0:{side}"
    assert read(reader, datums, "3,0,5,:9").tolist() == [0] * 9
    with pytest.raises(AssetTooLarge, match="one chunk"):
        reader.describe(points(resource("TPX_HDF5", "bomb.h5"), 1))


def test_a_glance_brings_values_only_if_they_are_few(reader: ArrayReader, data: Path) -> None:
    write_h5(data / "a.h5", frames(1, 2048, 2048, "<u4"))
    (datum,) = points(resource("AD_HDF5", "a.h5"), 1)
    layout, values = reader.glance(datum, parse("0,:,:1024"), ())
    assert (layout.shape, values) == ((1, 2048, 2048), None)
    assert reader.glance(datum, parse("5"), ()) == (layout, None)  # beyond: who asks must say so
    # What is stepped over is read, too, and so counts.
    assert reader.glance(datum, parse("0,:,::512"), ()) == (layout, None)
    _, values = reader.glance(datum, parse("0,:,:512"), ())
    np.testing.assert_array_equal(values, frames(1, 2048, 2048, "<u4")[0, :, :512])


def test_an_abandoned_download_frees_its_reader(reader: ArrayReader, data: Path) -> None:
    write_h5(data / "a.h5", frames(40, 512, 512))
    datums = points(resource("AD_HDF5", "a.h5"), 40)
    layout = reader.describe(datums[:1])
    abandoned = [iter(reader.read(datums, whole(layout.shape), layout).blocks) for _ in range(10)]
    for blocks in abandoned:
        next(blocks)
        blocks.close()  # type: ignore[attr-defined]
    assert read(reader, datums, "39,0,0,:2").tolist() == frames(40, 512, 512)[39, 0, :2].tolist()


def test_downloads_that_pause_hold_no_reader(reader: ArrayReader, data: Path) -> None:
    write_h5(data / "a.h5", frames(40, 512, 512))
    datums = points(resource("AD_HDF5", "a.h5"), 40)
    layout = reader.describe(datums[:1])
    paused = [reader.read(datums, whole(layout.shape), layout) for _ in range(10)]
    for download in reversed(paused):
        np.testing.assert_array_equal(gather(download)[:, 0], frames(40, 512, 512))


def test_reading_a_large_stack_takes_the_memory_of_a_few_blocks(data: Path) -> None:
    write_h5(data / "a.h5", frames(200, 512, 512), chunks=(1, 512, 512))
    script = """
import resource as limits, sys
from events.arrays.formats import FORMATS
from events.files.assets import Datum, Resource, Roots
from events.files.reader import ArrayReader, pool_for
from events.files.slices import whole
reader = ArrayReader(Roots({}, (sys.argv[1],)), frozenset({"AD_HDF5"}), pool_for((sys.argv[1],)))
file = Resource("r", "AD_HDF5", sys.argv[1], "a.h5")
datums = [Datum(file, {"point_number": number}) for number in range(200)]
def memory(): return limits.getrusage(limits.RUSAGE_SELF).ru_maxrss / 1024
def download(datums):
    layout = reader.describe(datums[:1])
    data = reader.read(datums, whole(layout.shape), layout)
    return sum(map(len, FORMATS["octet-stream"].encode(data)))
download(datums[:2])
before = memory()
assert download(datums) == 200 * 512 * 512 * 2
print(memory() - before)
pool_for((sys.argv[1],)).close()
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(data)], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 48  # of 105 MB
