"""Readers open nothing outside of the catalogs' folders, nor another proposal's files.

ABUSE-CASES 10: also where a link is swapped after its path was looked at.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from django.conf import settings as django_settings
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from events.files.assets import AssetError, AssetRefused, Datum, Resource, Roots
from events.files.reader import ArrayReader, ReaderPool
from events.files.slices import whole
from headers.catalogs import CatalogsError, load_catalogs
from policies.models import Proposal
from policies.rule.access import Access
from policies.rule.proposal_paths import ProposalPath, ProposalPaths
from tests.conftest import Actor
from tests.documents import EPOCH, Recorder
from tests.policies.test_access_rule import IDS, accesses, catalogs_of_any_kind

DATASET = "/entry/data/data"
FRAMES = np.arange(24, dtype="<u2").reshape(2, 3, 4)


def write(path: Path, values: Any = FRAMES) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file[DATASET] = values
    return path


def confined(folder: Path, program: str) -> str:
    """What a program prints that may read below the folder only."""
    begin = f"from events.files.confinement import confine; assert confine([{str(folder)!r}])\n"
    done = subprocess.run(
        [sys.executable, "-c", begin + program], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


# -- the kernel --------------------------------------------------------------------------------


def test_a_confined_process_reads_its_folders_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_text("mine")
    (tmp_path / "secret").write_text("not mine")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "secret")
    program = """
import sys
for name in sys.argv[1:] or NAMES:
    try:
        print(open(name).read())
    except PermissionError:
        print("refused")
"""
    names = [str(tmp_path / name) for name in ("in/file", "secret", "in/link", "in/../secret")]
    told = confined(tmp_path / "in", f"NAMES = {names!r}\n{program}")
    assert told.split("\n") == ["mine", "refused", "refused", "refused"]


def test_a_confined_process_writes_nothing_and_connects_nowhere(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        program = f"""
import os, socket
def tried(action, *arguments):
    try:
        action(*arguments)
    except PermissionError:
        return "refused"
print(tried(open, {str(tmp_path / "new")!r}, "w"))
print(tried(os.mkdir, {str(tmp_path / "folder")!r}))
print(tried(socket.create_connection, ("127.0.0.1", {server.getsockname()[1]})))
"""
        assert confined(tmp_path, program) == "refused\nrefused\nrefused"


# -- readers -----------------------------------------------------------------------------------


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[ReaderPool]:
    """One reader, which may see `data` only."""
    (tmp_path / "data").mkdir()
    pool = ReaderPool((str(tmp_path / "data"),), processes=1)
    yield pool
    pool.close()


def reader(pool: ReaderPool, folder: Path, *admitted: str) -> ArrayReader:
    roots = Roots({"/facility": str(folder)}, (str(folder),), r"/pass-(\d+)/")
    return ArrayReader(roots, frozenset({"*"}), pool, lambda proposal: proposal in admitted)


def datum(path: str) -> Datum:
    return Datum(Resource("res", "AD_HDF5", "/facility", path), {"point_number": 0})


def values(reader: ArrayReader, path: str) -> Any:
    layout = reader.describe([datum(path)])
    return np.concatenate(list(reader.read([datum(path)], whole(layout.shape), layout).blocks))


def test_a_file_of_a_proposal_is_read_for_whom_it_is_admitted(
    pool: ReaderPool, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    write(data / "pass-1" / "a.h5")
    write(data / "common.h5")
    assert values(reader(pool, data), "common.h5").any()
    for _ in range(2):  # in whatever order: what is open for one is not served to the other
        assert (values(reader(pool, data, "1"), "pass-1/a.h5") == FRAMES[:1]).all()
        with pytest.raises(AssetRefused) as refusal:
            values(reader(pool, data, "2"), "pass-1/a.h5")
        assert "pass" not in str(refusal.value)


@pytest.mark.parametrize("way", ["symbolic link", "external link", "virtual dataset"])
def test_no_way_leads_to_another_proposals_file(way: str, pool: ReaderPool, tmp_path: Path) -> None:
    data = tmp_path / "data"
    source = write(data / "pass-2" / "theirs.h5")
    own = data / "pass-1" / "own.h5"
    own.parent.mkdir()
    if way == "symbolic link":
        own.symlink_to(source)
    elif way == "external link":
        with h5py.File(own, "w") as file:
            file[DATASET] = h5py.ExternalLink("../pass-2/theirs.h5", DATASET)
    else:
        layout = h5py.VirtualLayout(FRAMES.shape, FRAMES.dtype)
        layout[:] = h5py.VirtualSource("../pass-2/theirs.h5", DATASET, FRAMES.shape)
        with h5py.File(own, "w") as file:
            file.create_virtual_dataset(DATASET, layout)
    with pytest.raises(AssetRefused):
        values(reader(pool, data, "1"), "pass-1/own.h5")
    assert (values(reader(pool, data, "1", "2"), "pass-1/own.h5") == FRAMES[:1]).all()
    with pytest.raises(AssetRefused):
        values(reader(pool, data, "1"), "pass-1/own.h5")


def test_what_is_open_for_one_caller_is_closed_before_another_is_answered(
    pool: ReaderPool, tmp_path: Path
) -> None:
    """HDF5 shares an open file with any link to it, which the look at new files would miss."""
    data = tmp_path / "data"
    theirs = write(data / "pass-2" / "theirs.h5")
    write(data / "common.h5")
    values(reader(pool, data, "2"), "pass-2/theirs.h5")
    values(reader(pool, data, "1"), "common.h5")
    numbers = Path(f"/proc/{pool._idle[0].process.pid}/fd").iterdir()
    opened = {number.readlink() for number in numbers}
    assert theirs not in opened


def test_a_source_that_is_swapped_while_its_dataset_is_known_is_not_served(
    pool: ReaderPool, tmp_path: Path
) -> None:
    """HDF5 opens the sources of a virtual dataset by itself, when it reads them."""
    data = tmp_path / "data"
    outside = write(tmp_path / "secret.h5", FRAMES + 1000)
    write(data / "source-0.h5")
    source = data / "source.h5"
    source.symlink_to(data / "source-0.h5")
    layout = h5py.VirtualLayout(FRAMES.shape, FRAMES.dtype)
    layout[:] = h5py.VirtualSource("source.h5", DATASET, FRAMES.shape)
    with h5py.File(data / "virtual.h5", "w") as file:
        file.create_virtual_dataset(DATASET, layout)
    reads = reader(pool, data)
    known = reads.describe([datum("virtual.h5")])
    source.unlink()
    source.symlink_to(outside)
    with pytest.raises(AssetError):
        list(reads.read([datum("virtual.h5")], whole(known.shape), known).blocks)


def test_a_reader_that_is_killed_from_outside_is_replaced_without_a_word(
    pool: ReaderPool, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    write(data / "a.h5")
    reads = reader(pool, data)
    for _ in range(3):
        assert (values(reads, "a.h5") == FRAMES[:1]).all()
        os.kill(pool._idle[0].process.pid, signal.SIGKILL)


# -- who is admitted -----------------------------------------------------------------------------


@given(access=accesses, catalog=catalogs_of_any_kind, proposal=st.sampled_from(IDS))
def test_a_proposals_files_are_for_whom_its_runs_are_for(
    access: Access, catalog: Any, proposal: str
) -> None:
    plain = replace(catalog, proposal=ProposalPaths((ProposalPath("proposal"),)))
    run = {"uid": "no override has this", "proposal": proposal}
    assert access.allows_proposal(plain, proposal) == access.allows(plain, run)


def test_a_run_gives_its_readers_no_file_of_a_proposal_that_they_may_not_read(
    acting_as: Actor, recorder: Recorder, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """alice's run names a file in the folder of bob's proposal; and one of her own."""
    Proposal.objects.filter(proposal_id="312000").update(public_from=timezone.now())
    csx = next(catalog for catalog in django_settings.CATALOGS if catalog.name == "csx")
    monkeypatch.setitem(csx.__dict__, "file_proposal", r"/pass-(\d+)/")
    image = {"dtype": "array", "shape": [3, 4], "source": "x", "external": "FILESTORE:"}
    answers = {}
    for proposal in ("310000", "310001", "312000", "319999"):
        write(data_folder / f"pass-{proposal}" / "a.h5")
        run = recorder.run("310000", events=0)
        descriptor = recorder.descriptor(run, data_keys={"image": image})
        place = {"root": "/facility/data", "resource_path": f"pass-{proposal}/a.h5"}
        named = {"uid": f"r{proposal}", "spec": "AD_HDF5", "run_start": run, "resource_kwargs": {}}
        recorder.insert("csx", "resource", place | named)
        at = {"datum_id": f"d{proposal}", "datum_kwargs": {"point_number": 0}}
        recorder.insert("csx", "datum", at | {"resource": named["uid"]})
        event = {"uid": f"e{proposal}", "descriptor": descriptor, "seq_num": 1, "time": EPOCH}
        data = {"data": {"image": at["datum_id"]}, "timestamps": {"image": EPOCH}, "filled": {}}
        recorder.insert("csx", "event", event | data)
        url = f"/api/v1/headers/{run}/streams/primary/data/image/"
        answers[proposal] = {
            actor: acting_as(actor).get(url).status_code for actor in ("alice", "sue", "dan")
        }
    assert answers == {
        "310000": {"alice": 200, "sue": 200, "dan": 200},
        "310001": {"alice": 410, "sue": 200, "dan": 200},
        "312000": {"alice": 200, "sue": 200, "dan": 200},
        "319999": {"alice": 410, "sue": 200, "dan": 200},
    }


@pytest.mark.parametrize("pattern", ["(", "pass", "(a)(b)", 5, ["(a)"]])
def test_a_pattern_without_its_one_group_is_refused_at_the_start(
    pattern: Any, tmp_path: Path
) -> None:
    uri = "mongodb://127.0.0.1/x"
    text = f"""
[catalogs.csx]
title = "CSX"
beamline = "csx"
metadata = "{uri}"
assets = "{uri}"
timezone = "UTC"
file_proposal = {json.dumps(pattern)}
"""
    (tmp_path / "catalogs.toml").write_text(text)
    with pytest.raises(CatalogsError, match="file_proposal"):
        load_catalogs(tmp_path / "catalogs.toml")


@pytest.mark.parametrize(
    ("root_map", "root", "found"),
    [
        ({"/facility/data": "/mnt"}, "/facility/data/", "/mnt/a"),
        ({"/facility/data/": "/mnt/"}, "/facility/data", "/mnt/a"),
        ({"/facility": "/mnt"}, "/facility/data", "/mnt/data/a"),
        ({"/facility": "/wrong", "/facility/data": "/mnt"}, "/facility/data/x", "/mnt/x/a"),
        ({"/facility/dat": "/wrong"}, "/facility/data", "/facility/data/a"),
        ({"/": "/mnt"}, "/facility/data", "/mnt/facility/data/a"),
    ],
)
def test_a_mapped_root_is_one_or_lies_above(
    root_map: dict[str, str], root: str, found: str
) -> None:
    roots = Roots(root_map, ("/",))
    assert roots.locate(Resource("res", "X", root, "a")) == found
