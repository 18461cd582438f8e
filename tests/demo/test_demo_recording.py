"""The demo's recording holds what the demo promises, and loads the same every time."""

import gzip
import json
import math
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import h5py
import numpy as np
import pytest
from area_detector_handlers.handlers import AreaDetectorHDF5Handler
from event_model import Filler
from pymongo import MongoClient

from demo import load as demo
from demo.embedded_mongo import embedded_mongo
from demo.layout import ASSETS, METADATA, RECORDING

Document = dict[str, Any]
METADATA_OF = {"csx": "csx-metadata", "hxn": "hxn-bluesky"}
ASSETS_OF = {"csx": "csx-assets", "hxn": "hxn-bluesky"}
POLICIES = json.loads((RECORDING.parent / "policies.json").read_text())
IMAGE_KEYS = {"fccd_image": (1, 512, 512), "merlin1_image": (1, 256, 256)}


def recorded(database: str, collection: str) -> list[Document]:
    packed = (RECORDING / database / f"{collection}.bson.gz").read_bytes()
    return bson.decode_all(gzip.decompress(packed))


def in_both(collection: str) -> list[Document]:
    return [doc for name in METADATA_OF.values() for doc in recorded(name, collection)]


def notable(label: str) -> tuple[Document, Document | None]:
    """Start and stop document of the run that the manifest gives this label."""
    [uid] = [runs[label] for runs in demo.manifest().values() if label in runs]
    [start] = [doc for doc in in_both("run_start") if doc["uid"] == uid]
    stops = [doc for doc in in_both("run_stop") if doc["run_start"] == uid]
    return start, stops[0] if stops else None


def proposal_of(start: Document) -> str | None:
    """What the demo's catalogs file says, read the simple way."""
    if session := re.fullmatch(r"pass-(\d+)", start.get("data_session", "")):
        return session[1]
    proposal = start.get("proposal", start.get("proposal_id"))
    found = proposal["proposal_id"] if isinstance(proposal, dict) else proposal
    return None if found is None else str(found)


def streams_of(run_uid: str) -> dict[str | None, Document]:
    found = in_both("event_descriptor")
    return {doc.get("name"): doc for doc in found if doc["run_start"] == run_uid}


@pytest.fixture(scope="module")
def mongo_uri() -> Iterator[str]:
    with embedded_mongo(None) as uri:
        yield uri


@pytest.fixture(scope="module")
def loaded(
    mongo_uri: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[MongoClient[Document], Path]]:
    """A client of a database that the demo was loaded into, and the folder of its files."""
    data_dir = tmp_path_factory.mktemp("demo") / "files"
    demo.load(mongo_uri, data_dir)
    with MongoClient[Document](mongo_uri) as client:
        yield client, data_dir


def everything_in(client: MongoClient[Document]) -> dict[tuple[str, str], Any]:
    """Every document as BSON and every index, by database and collection."""
    return {
        (name, collection): (
            [bson.encode(doc) for doc in client[name][collection].find().sort("_id")],
            client[name][collection].index_information(),
        )
        for name in {*METADATA_OF.values(), *ASSETS_OF.values()}
        for collection in client[name].list_collection_names()
    }


def test_there_are_sixty_runs_of_six_proposals_at_two_beamlines() -> None:
    starts = in_both("run_start")
    proposals = {proposal_of(start) for start in starts} - {None}
    assert len(starts) >= 60
    assert len(proposals) >= 6
    assert all(recorded(name, "run_start") for name in METADATA_OF.values())


def test_some_proposals_have_runs_at_both_beamlines() -> None:
    csx, hxn = (
        {proposal_of(start) for start in recorded(name, "run_start")}
        for name in METADATA_OF.values()
    )
    assert {"310000", "312000"} <= csx & hxn


def test_every_recorded_proposal_is_described_in_the_policies() -> None:
    described = {proposal["proposal_id"] for proposal in POLICIES["proposals"]}
    assert {proposal_of(start) for start in in_both("run_start")} - {None} == described


def test_the_policies_name_only_people_and_beamlines_that_they_define() -> None:
    people = {user["username"] for user in POLICIES["users"]}
    beamlines = {beamline["name"] for beamline in POLICIES["beamlines"]}
    assert {name for beamline in POLICIES["beamlines"] for name in beamline["staff"]} <= people
    for proposal in POLICIES["proposals"]:
        assert set(proposal["beamlines"]) <= beamlines
        assert {member["username"] for member in proposal["members"]} <= people


def test_every_kind_of_scan_is_there() -> None:
    plans = Counter(start["plan_name"] for start in in_both("run_start"))
    assert min(plans["count"], plans["scan"], plans["grid_scan"]) >= 5


def test_every_run_has_the_events_that_its_stop_document_counts() -> None:
    descriptors = {doc["uid"]: doc for doc in in_both("event_descriptor")}
    counted: Counter[tuple[str, str]] = Counter()
    for event in in_both("event"):
        descriptor = descriptors[event["descriptor"]]
        counted[descriptor["run_start"], descriptor.get("name", "primary")] += 1
    promised = {
        (stop["run_start"], stream): count
        for stop in in_both("run_stop")
        for stream, count in stop["num_events"].items()
    }
    open_run = demo.manifest()["csx"]["open"]
    assert {key: n for key, n in counted.items() if key[0] != open_run} == promised


def test_a_multi_stream_run_has_primary_and_baseline() -> None:
    assert set(streams_of(notable("public")[0]["uid"])) == {"primary", "baseline"}


def test_one_run_is_open_and_is_the_newest() -> None:
    start, stop = notable("open")
    assert stop is None
    assert len(in_both("run_start")) == len(in_both("run_stop")) + 1
    assert start["time"] == max(doc["time"] for doc in in_both("run_start"))
    [descriptor] = streams_of(start["uid"]).values()
    assert sum(event["descriptor"] == descriptor["uid"] for event in in_both("event")) > 100


@pytest.mark.parametrize("label", ["failed", "failed_at_once"])
def test_a_failed_run_says_why(label: str) -> None:
    _, stop = notable(label)
    assert stop is not None
    assert stop["exit_status"] == "fail"
    assert "shutter" in stop["reason"]


def test_one_run_was_aborted() -> None:
    _, stop = notable("aborted")
    assert stop is not None
    assert stop["exit_status"] == "abort"


def test_exactly_one_run_has_no_proposal() -> None:
    without = [doc["uid"] for doc in in_both("run_start") if proposal_of(doc) is None]
    assert without == [notable("without_proposal")[0]["uid"]]


def test_the_mistagged_run_names_a_proposal_of_another_group() -> None:
    start, _ = notable("mistagged")
    assert start["uid"] == demo.MISTAGGED_RUN_UID
    assert proposal_of(start) == "310001"
    assert start["proposal"]["proposal_id"] == demo.MISTAGGED_RIGHT_PROPOSAL
    members = {p["proposal_id"]: p["members"] for p in POLICIES["proposals"]}
    assert members["310001"] != members[demo.MISTAGGED_RIGHT_PROPOSAL]


def test_the_public_proposal_has_several_runs() -> None:
    [public] = [
        proposal["proposal_id"]
        for proposal in POLICIES["proposals"]
        if (proposal["public_from"] or "9999") < "2026-11-22" and not proposal["proprietary"]
    ]
    assert sum(proposal_of(start) == public for start in in_both("run_start")) >= 5
    assert proposal_of(notable("public")[0]) == public


def test_odd_metadata_is_kept_as_it_was_written() -> None:
    hostile, _ = notable("hostile")
    assert hostile["sample"] == {"name": "<script>alert(1)</script>", "formula": "=1+1"}
    assert "{{7*7}} \u202e" in hostile["purpose"]
    assert math.isnan(notable("not_a_number")[0]["magnet_T"])


def test_an_old_run_has_a_descriptor_without_name_and_events_without_filled() -> None:
    [descriptor] = streams_of(notable("old_style")[0]["uid"]).values()
    assert "name" not in descriptor
    events = [doc for doc in in_both("event") if doc["descriptor"] == descriptor["uid"]]
    assert events
    assert not any("filled" in event for event in events)


def test_spectra_are_stored_inline_with_their_shape() -> None:
    [descriptor] = streams_of(notable("spectra")[0]["uid"]).values()
    key = descriptor["data_keys"]["xs_channel1"]
    assert (key["dtype"], key["shape"], "external" in key) == ("array", [1024], False)
    events = [doc for doc in in_both("event") if doc["descriptor"] == descriptor["uid"]]
    assert np.shape([event["data"]["xs_channel1"] for event in events]) == (30, 1024)


def test_the_recording_is_small_enough_to_load_in_seconds() -> None:
    files = [path for path in RECORDING.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 3_000_000
    assert len(in_both("event")) < 6_000


def test_loading_gives_what_was_recorded(loaded: tuple[MongoClient[Document], Path]) -> None:
    client, data_dir = loaded
    for name, collections in (
        *((name, METADATA) for name in METADATA_OF.values()),
        *((name, ASSETS) for name in ASSETS_OF.values()),
    ):
        for collection in collections:
            stored = client[name][collection].find().sort("_id")
            assert list(map(bson.encode, stored)) == list(
                map(bson.encode, recorded(name, collection))
            )
    originals = {p.relative_to(RECORDING / "files") for p in RECORDING.rglob("*.h5")}
    assert {path.relative_to(data_dir) for path in data_dir.rglob("*.*")} == originals


def test_loading_again_changes_nothing(
    mongo_uri: str, loaded: tuple[MongoClient[Document], Path]
) -> None:
    client, data_dir = loaded
    before = everything_in(client)
    assert before["csx-metadata", "run_start"][1].keys() > {"_id_", "uid_1", "data_session_1"}
    demo.load(mongo_uri, data_dir)
    assert everything_in(client) == before


def test_loading_repairs_what_an_interrupted_load_left(
    mongo_uri: str, loaded: tuple[MongoClient[Document], Path]
) -> None:
    client, data_dir = loaded
    before = everything_in(client)
    client["csx-assets"][demo.MARKER].update_one({}, {"$set": {"loaded": None}})
    client["csx-assets"]["datum"].delete_many({})
    next(data_dir.rglob("*.h5")).write_bytes(b"half a fi")
    demo.load(mongo_uri, data_dir)
    assert everything_in(client) == before
    for path in data_dir.rglob("*.h5"):
        assert path.read_bytes() == (RECORDING / "files" / path.relative_to(data_dir)).read_bytes()


def test_loading_refuses_a_database_that_holds_other_runs(tmp_path: Path) -> None:
    with embedded_mongo(None) as uri, MongoClient[Document](uri) as client:
        client["hxn-bluesky"]["run_start"].insert_one({"uid": "somebody else's"})
        with pytest.raises(RuntimeError, match="hxn-bluesky"):
            demo.load(uri, tmp_path)
        assert client["csx-metadata"].list_collection_names() == []
        assert client["hxn-bluesky"]["run_start"].count_documents({}) == 1


@pytest.mark.parametrize("catalog", ["csx", "hxn"])
def test_every_frame_reads_back_through_the_area_detector_handler(
    catalog: str, loaded: tuple[MongoClient[Document], Path]
) -> None:
    client, data_dir = loaded
    metadata, assets = client[METADATA_OF[catalog]], client[ASSETS_OF[catalog]]
    runs = assets["resource"].distinct("run_start")
    assert len(runs) >= 3
    totals: list[int] = []
    for run in runs:
        for event in filled_events(metadata, assets, run, data_dir):
            [(key, frame)] = [item for item in event["data"].items() if item[0] in IMAGE_KEYS]
            assert np.shape(frame) == IMAGE_KEYS[key]
            total = int(np.sum(np.asarray(frame), dtype=np.uint64))
            assert total == event["data"][key.replace("image", "total")]
            totals.append(total)
    assert len(totals) == assets["datum"].count_documents({})
    assert len(set(totals)) > len(runs)


def filled_events(metadata: Any, assets: Any, run: str, data_dir: Path) -> Iterator[Document]:
    """The run's events with their external data in place, as databroker fills them."""
    without_id = {"_id": False}
    with Filler(
        {"AD_HDF5": AreaDetectorHDF5Handler},
        root_map={"/facility/data": str(data_dir)},
        inplace=True,
        retry_intervals=[],
    ) as fill:
        fill("start", metadata["run_start"].find_one({"uid": run}, without_id))
        resources = list(assets["resource"].find({"run_start": run}, without_id))
        for resource in resources:
            fill("resource", resource)
        uids = [resource["uid"] for resource in resources]
        for datum in assets["datum"].find({"resource": {"$in": uids}}, without_id):
            fill("datum", datum)
        descriptor = metadata["event_descriptor"].find_one({"run_start": run}, without_id)
        fill("descriptor", descriptor)
        for event in metadata["event"].find({"descriptor": descriptor["uid"]}, without_id):
            yield fill("event", event)[1]


def test_frames_are_stored_in_the_area_detector_layout() -> None:
    paths = sorted(RECORDING.rglob("*.h5"))
    shapes = []
    for path in paths:
        with h5py.File(path) as file:
            data = file["/entry/data/data"]
            assert (data.dtype, data.compression, data.shuffle) == (np.uint16, "gzip", True)
            assert data.chunks == (1, *data.shape[1:])
            shapes.append(data.shape)
    assert {(20, 512, 512), (12, 256, 256)} == set(shapes)


def test_the_catalogs_file_names_the_databases_and_only_the_data_folder(tmp_path: Path) -> None:
    text = demo.catalogs_toml("mongodb://127.0.0.1:27099/", tmp_path / 'a "b"')
    catalogs = tomllib.loads(text)["catalogs"]
    assert catalogs["csx"]["metadata"] == "mongodb://127.0.0.1:27099/csx-metadata"
    assert catalogs["csx"]["assets"] == "mongodb://127.0.0.1:27099/csx-assets"
    assert catalogs["hxn"]["metadata"] == catalogs["hxn"]["assets"]
    assert catalogs["csx"]["proposal"][0]["pattern"] == r"^pass-(\d+)$"
    for catalog in catalogs.values():
        assert catalog["allowed_roots"] == [str(tmp_path.resolve() / 'a "b"')]
        assert catalog["root_map"] == {"/facility/data": catalog["allowed_roots"][0]}
