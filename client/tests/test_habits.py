"""What people's fingers type, one test a habit: each row of the table of habits in the design."""

import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import BASELINE, FRAMES, OPEN, SPECTRA, People, Requests
from event_model import DocumentRouter

import dbservice
from dbservice.runs import Database

Watch = Callable[[Database], Requests]


# Newest run, nth newest


def test_the_newest_run_is_minus_one_in_one_request(dan: Database, requests_of: Watch) -> None:
    seen = requests_of(dan)
    assert dan[-1].uid == OPEN
    assert seen == ["GET headers/-1/"]


def test_slices_count_from_the_newest_run(dan: Database) -> None:
    five = dan[-5:]
    assert five == dan.last(5)
    assert five[0] == dan[-1]
    assert dan[-5:-2] == five[2:]
    assert [run.start["time"] for run in five] == sorted(
        (run.start["time"] for run in five), reverse=True
    )


def test_a_slice_of_scan_numbers_says_what_to_do(dan: Database) -> None:
    with pytest.raises(ValueError, match="scan_id__gte"):
        dan[148000:148100]
    numbers = [run.scan_id for run in dan.search(scan_id__gte=148240, scan_id__lt=148242)]
    assert sorted(numbers, key=int) == [148240, 148241]  # type: ignore[arg-type]


def test_the_oldest_run_is_first(dan: Database) -> None:
    assert dan.last() == dan[-1]
    assert dan.first(3)[0] == dan.first()
    with pytest.raises(KeyError):
        dan.search(plan_name="nosuch").last()
    assert dan.first() == list(dan)[-1]


# By scan number, uid, 8 characters


def test_a_run_by_scan_number_uid_and_eight_characters(dan: Database) -> None:
    assert dan[148229] == dan[FRAMES] == dan[FRAMES[:8]] == dan["148229"]


def test_of_runs_with_the_same_number_the_newest_is_given(people: People) -> None:
    dan = people("dan")
    number = dan[-1].scan_id
    assert dan[number].uid == dan.search(scan_id=number).last().uid  # type: ignore[index]


def test_a_prefix_that_is_too_short_is_refused_without_a_request(
    dan: Database, requests_of: Watch
) -> None:
    seen = requests_of(dan)
    with pytest.raises(ValueError, match="5 characters"):
        dan["9ac"]
    assert seen == []


def test_what_is_not_there_is_a_key_error(dan: Database) -> None:
    for key in ("0000000", 1, -5000):
        with pytest.raises(KeyError):
            dan[key]
    assert "0000000" not in dan
    assert FRAMES in dan


def test_a_hidden_run_is_not_there(people: People) -> None:
    with pytest.raises(dbservice.NotFound, match="nothing here that you may read"):
        people("bob")[FRAMES]
    with pytest.raises(KeyError):
        people("nobody")[FRAMES]


# Several at once


def test_several_runs_by_a_mix_of_number_uid_and_offset(dan: Database) -> None:
    assert dan[[148229, BASELINE[:8], -1]] == [dan[FRAMES], dan[BASELINE], dan[OPEN]]
    assert dan[148229, -1] == [dan[FRAMES], dan[OPEN]]


# Search by keywords


def test_search_by_keywords_and_text(dan: Database) -> None:
    scans = dan(plan_name="scan", since="2026-01", until="2026-07")
    assert len(scans) == len(list(scans)) > 0
    assert {run.start["plan_name"] for run in scans} == {"scan"}
    found = list(dan("FeGd-0412"))
    assert found
    assert all("FeGd-0412" in str(run.start["sample"]) for run in found)


def test_dates_are_those_of_the_beamline(dan: Database) -> None:
    """The newest run began at 20:53 of 18 November in New York, already the 19th in UTC."""
    assert OPEN in dan.search(since="2026-11-18", until="2026-11-19")
    assert OPEN not in dan.search(since="2026-11-19")


def test_a_mistyped_filter_finds_nothing_wrong_silently(dan: Database) -> None:
    with pytest.raises(ValueError, match="no time"):
        dan.search(since="yesterday")
    with pytest.raises(ValueError, match="success, abort, fail, open"):
        dan.search(exit_status="ok")


def test_by_exit_status_catalog_beamline_and_proposal(dan: Database) -> None:
    assert [run.uid for run in dan.search(exit_status="open")] == [OPEN]
    assert {run.catalog for run in dan.search(catalog="hxn")} == {"hxn"}
    assert {run.proposal for run in dan.search(proposal="310000")} == {"310000"}


# Mongo queries


def test_search_by_a_query(dan: Database) -> None:
    many = dan.search({"num_points": {"$gt": 50}})
    assert many.count() == dan.search(num_points__gt=50).count() > 0
    frames = dan.search({"descriptor.data_keys.fccd_image": {"$exists": True}})
    assert FRAMES in frames
    assert BASELINE not in frames
    assert dan.search({"$or": [{"uid": FRAMES}, {"uid": BASELINE}]}).count() == 2


def test_operators_as_keywords(dan: Database) -> None:
    assert dan.search(stop__exit_status__ne="success").count() > 0
    assert {r.start["plan_name"] for r in dan.search(plan_name__in=["count"])} == {"count"}
    assert dan.search(plan_name__nin=["scan", "count", "grid_scan"]).count() == 0
    assert dan.search(extents__exists=True).count() == dan.search(plan_name="grid_scan").count()
    assert FRAMES in dan.search(sample__name__regex="^FeGd")
    assert FRAMES in dan.search(sample__layers=80, project="stripes")


def test_a_query_that_the_service_refuses_is_a_value_error(dan: Database) -> None:
    with pytest.raises(ValueError, match="query"):
        dan.search({"plan_name": {"$where": "1"}}).count()


# Chained search


def test_chained_search_narrows(dan: Database) -> None:
    cycle = dan.search(cycle="2026-3")
    chained = cycle.search(proposal__pi_name__regex="Adams").search(plan_name="scan")
    assert 0 < len(chained) < len(cycle)
    assert all(run.start["proposal"]["pi_name"] == "A. Adams" for run in chained)


def test_a_run_is_found_among_those_searched_for(dan: Database) -> None:
    chosen = dan.search(uid=FRAMES[:6])
    assert chosen[FRAMES] == chosen[FRAMES[:7]] == chosen[148229]
    with pytest.raises(KeyError):
        chosen[BASELINE]
    with pytest.raises(KeyError):
        dan.search(scan_id=148229)[148242]


def test_a_catalog_of_its_own(site: str, people: People, requests_of: Watch) -> None:
    hxn = people("dan").search(catalog="hxn")
    assert {run.catalog for run in hxn} == {"hxn"}
    assert hxn[-1].catalog == "hxn"
    with pytest.raises(KeyError):
        hxn[FRAMES]


# Which values are there


def test_which_values_there_are_with_counts(dan: Database) -> None:
    proposals = dan.values("proposal")
    assert proposals["310000"] == dan.search(proposal="310000").count()
    both = dan.values("plan_name", "sample.name")
    assert sum(both["plan_name"].values()) == len(dan)


# A table of runs


def test_a_table_of_runs_in_one_request(dan: Database, requests_of: Watch) -> None:
    dan.table("scan_id", limit=1)
    seen = requests_of(dan)
    table = dan.table("scan_id", "time", "plan_name", "sample.name", "stop.exit_status", "uid")
    assert list(table["uid"]) == [run.uid for run in dan]
    assert table["scan_id"].iloc[0] == 148243
    assert isinstance(table["time"].dtype, pd.DatetimeTZDtype)
    assert table["stop.exit_status"].isna().sum() == 1
    lists = [request for request in seen if request == "GET headers/"]
    # An older service does not know the projection and is asked again, for whole headers.
    assert len(lists) - 1 <= 2


def test_a_table_of_runs_without_pandas(dan: Database) -> None:
    records = dan.search(plan_name="count").records("uid", "proposal", "time", limit=3)
    assert len(records) == 3
    assert set(records[0]) == {"uid", "proposal", "time"}


# Table of a stream


def test_the_table_of_a_stream(dan: Database) -> None:
    table = dan[BASELINE].table()
    assert table.index.name == "seq_num"
    assert list(table.index) == list(range(1, 32))
    assert list(table.columns) == ["time", "diode", "ring_current", "theta", "theta_setpoint"]
    assert isinstance(table["time"].dtype, pd.DatetimeTZDtype)
    assert table["time"].iloc[0].timestamp() == pytest.approx(1795050628.884619, abs=1e-5)


def test_the_table_of_another_stream_and_of_some_fields(dan: Database) -> None:
    run = dan[BASELINE]
    assert "exit_slit_gap" in run.table("baseline")
    assert list(run.table(fields=["theta"]).columns) == ["time", "theta"]
    with pytest.raises(KeyError, match="has no field thet;"):
        run.table(fields=["thet"])  # names, not patterns
    with pytest.raises(ValueError, match=r"\['theta'\]"):
        run.table(fields="theta")


def test_a_table_with_the_times_of_each_value(dan: Database) -> None:
    table = dan[BASELINE].table(times=True, timezone="America/New_York")
    assert isinstance(table["ts_theta"].dtype, pd.DatetimeTZDtype)
    assert str(table["time"].dt.tz) == "America/New_York"
    assert str(table["time"].iloc[0])[:10] == "2026-11-18"


@pytest.mark.parametrize(
    ("zone", "offset"), [("America/New_York", -5.0), ("UTC0", 0.0), ("XYZ-3", 3.0)]
)
def test_times_are_those_of_this_computer(
    dan: Database, monkeypatch: pytest.MonkeyPatch, zone: str, offset: float
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        here = dbservice.connect(dan._session.options.server)
        here._session.auth = dan._session.auth
        first = here[BASELINE].table()["time"].iloc[0]
    finally:
        monkeypatch.undo()
        time.tzset()
    assert first.utcoffset().total_seconds() / 3600 == offset
    assert first.timestamp() == pytest.approx(1795050628.884619, abs=1e-5)


# Table with images


def test_images_are_in_a_table_only_if_they_are_wanted(dan: Database) -> None:
    run = dan[FRAMES]
    assert list(run.table().columns) == ["time", "fccd_total"]
    filled = run.table(fill=True)
    assert filled["fccd_image"].iloc[3].shape == (1, 512, 512)
    assert int(filled["fccd_image"].iloc[3].sum()) == filled["fccd_total"].iloc[3]
    assert list(run.table(fields=["fccd_image"]).columns) == ["time", "fccd_image"]


# DataFrame


def test_a_dataset_to_a_frame_has_a_row_an_event(dan: Database) -> None:
    assert len(dan[BASELINE].primary.read().to_dataframe()) == 31


# One field


def test_one_field_event_by_event(dan: Database, requests_of: Watch) -> None:
    run = dan[BASELINE]
    seen = requests_of(dan)
    values = list(run.data("diode"))
    assert values == list(run.table()["diode"])
    assert len([request for request in seen if "data/diode" in request]) == 2  # shape, values


def test_of_frames_only_the_slice_is_fetched(dan: Database) -> None:
    image = dan[FRAMES].data("fccd_image")
    assert (image.shape, str(image.dtype), len(image)) == ((20, 1, 512, 512), "uint16", 20)
    assert image[3, :, ::4].shape == (1, 128, 512)
    assert image[-1, 0, 5, 7] == np.asarray(image)[-1, 0, 5, 7]
    assert dan[FRAMES].primary["fccd_image"][0].shape == (1, 512, 512)


def test_a_mask_works_on_a_column(dan: Database) -> None:
    diode = dan[BASELINE].data("diode")
    high = np.asarray(diode) > 1000
    np.testing.assert_array_equal(diode[high], np.asarray(diode)[high])


# Names


def test_names_of_fields_devices_and_streams(dan: Database) -> None:
    run = dan[BASELINE]
    assert set(run.stream_names) == {"primary", "baseline"}
    assert run.fields("primary") == ["diode", "ring_current", "theta", "theta_setpoint"]
    assert {"exit_slit_gap", "theta"} <= set(run.fields())
    assert {"diode", "theta"} <= set(run.devices())


# Value, whatever stream


def test_a_value_whatever_its_stream(dan: Database) -> None:
    assert np.mean(dan[BASELINE].data("exit_slit_gap")) == 20.0
    with pytest.raises(KeyError, match="No stream has a field nosuch"):
        dan[BASELINE].data("nosuch")


# Configuration


def test_the_configuration_of_a_device(dan: Database) -> None:
    run = dan[FRAMES]
    assert run.config("fccd")["fccd_acquire_time"] == 0.1
    assert run.primary.config("fccd") == run.config_data("fccd")["primary"][0]
    with pytest.raises(KeyError):
        run.config("nosuch")


# Documents


def test_documents_feed_callbacks(dan: Database) -> None:
    class Counts(DocumentRouter):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[str] = []

        def __call__(self, name: str, doc: Any, validate: bool = False) -> Any:
            self.seen.append(name)
            return super().__call__(name, doc, validate)

    counts = Counts()
    for item in dan[BASELINE].documents():
        counts(*item)
    assert (counts.seen[0], counts.seen[-1]) == ("start", "stop")
    assert counts.seen.count("event") == 33


def test_filled_documents_hold_arrays(dan: Database) -> None:
    events = [doc for name, doc in dan[FRAMES].documents(fill=True) if name == "event"]
    assert events[2]["data"]["fccd_image"].sum() == events[2]["data"]["fccd_total"]


def test_documents_keep_what_json_cannot_say(dan: Database) -> None:
    start = next(doc for name, doc in dan[BASELINE].documents() if name == "start")
    assert np.isnan(start["magnet_T"])


def test_events_of_a_stream(dan: Database) -> None:
    events = list(dan[BASELINE].events("baseline"))
    assert [event["seq_num"] for event in events] == [1, 2]
    assert "_links" not in events[0]


# xarray


def test_a_dataset_has_motors_as_coordinates(dan: Database) -> None:
    data = dan[BASELINE].read()
    assert "theta" in data.coords
    assert data["theta"].attrs["units"] == "deg"
    nearest = data.sel(theta=21.31, method="nearest")
    table = dan[BASELINE].table()
    best = (table["theta"] - 21.31).abs().idxmin()
    assert int(nearest["diode"]) == table["diode"][best]


def test_both_motors_of_a_grid_are_coordinates(dan: Database) -> None:
    data = dan[OPEN].xarray()
    assert {"sx", "sy"} <= set(data.coords)
    assert data["diode_map"].groupby("sy").mean().sizes["sy"] > 3


def test_spectra_have_a_second_dimension(dan: Database) -> None:
    data = dan[SPECTRA].read()
    assert data["xs_channel1"].dims == ("time", "xs_channel1_dim_0")
    assert data["xs_channel1"].shape == (30, 1024)
    assert data.attrs["uid"] == SPECTRA


def test_all_is_equal_to_the_documents(dan: Database) -> None:
    events = [doc for name, doc in dan[SPECTRA].documents() if name == "event"]
    data = dan[SPECTRA].read()
    for field in ("xs_channel1", "mono_energy"):
        np.testing.assert_array_equal(data[field], [event["data"][field] for event in events])


# Stack runs


def test_runs_are_stacked_along_their_metadata(dan: Database) -> None:
    runs = dan.search(plan_name="scan", project="stripes", motors="theta").last(3)
    stacked = dbservice.stack(runs, "sample.name", fields=["diode"])
    assert stacked["diode"].dims == ("sample_name", "seq_num")
    assert list(stacked["sample_name"].values) == [r.start["sample"]["name"] for r in runs]
    for place, run in enumerate(runs):
        column = stacked["diode"][place].dropna("seq_num")
        assert list(column) == list(run.table()["diode"])


# Lazy frames


def test_frames_in_a_dataset_are_lazy(dan: Database, requests_of: Watch) -> None:
    seen = requests_of(dan)
    data = dan[FRAMES].read()
    assert not [request for request in seen if request.startswith("GET") and "/data/" in request]
    one = data["fccd_image"].isel(time=4).sum().compute()
    assert int(one) == int(data["fccd_total"][4])


def test_workers_of_a_proposal_share_a_token(alice: Database) -> None:
    frames = [alice[FRAMES].data("fccd_image")._for_workers() for _ in range(2)]
    tokens = {array._session.auth.token() for array in frames}
    assert len(tokens) == 1
    assert tokens != {alice._session.auth.token()}


def test_chunks_hold_several_frames(dan: Database) -> None:
    lazy = dan[FRAMES].data("fccd_image").dask()
    assert lazy.chunks[0] == (20,)  # 10 MB: all of them
    assert dan[FRAMES].data("fccd_image").dask(chunks=(5, 1, 512, 512)).npartitions == 4


def test_workers_get_a_narrow_token_of_their_own(
    dan: Database, alice: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    lazy = alice[FRAMES].data("fccd_image").dask(workers=True)
    pickled = pickle.dumps(lazy)
    assert b"dbk_" in pickled
    again = pickle.loads(pickled)
    token = next(
        word for word in pickled.decode("latin-1").replace("\x94", " ").split() if "dbk_" in word
    )
    assert int(again[0].sum().compute()) == int(alice[FRAMES].table()["fccd_total"].iloc[0])
    narrow = dbservice.connect(
        alice._session.options.server, token=token[token.index("dbk_") :].rstrip("\x8c")
    )
    limits = narrow.whoami()["token"]
    assert limits["scopes"] == ["read:data"]
    assert (limits["proposals"], limits["catalogs"]) == (["310000"], ["csx"])


# Attribute access, Tab


def test_streams_are_attributes_without_a_request(dan: Database, requests_of: Watch) -> None:
    run = dan[BASELINE]
    seen = requests_of(dan)
    assert run.primary is run["primary"]
    assert {"primary", "baseline"} <= set(dir(run))
    assert run._ipython_key_completions_() == ["baseline", "primary"] or seen == []
    for name in ("_ipython_canary_method_should_not_exist_", "_repr_mimebundle_", "__wrapped__"):
        assert not hasattr(run, name)
    assert not hasattr(run, "secondary")
    assert "diode" in run.primary._ipython_key_completions_()
    assert seen == []


def test_a_run_of_a_list_asks_nothing_for_tab_and_repr(dan: Database, requests_of: Watch) -> None:
    run = dan.search(uid=BASELINE).last()
    seen = requests_of(dan)
    dir(run)
    repr(run)
    run._repr_html_()
    assert seen == []
    assert run.primary.event_count == 31
    assert seen == [f"GET headers/{BASELINE}/"]


def test_a_missing_stream_says_what_there_is(dan: Database) -> None:
    with pytest.raises(KeyError, match="there are baseline, primary"):
        dan[BASELINE]["dark"]
    with pytest.raises(AttributeError, match="still open"):
        _ = dan[OPEN].dark


# Cache


def test_a_run_is_not_sent_twice(dan: Database) -> None:
    first = dan[FRAMES]
    kept = dan._session._caches["memory"]
    assert kept is not None
    request = dbservice.wire.Request("GET", f"headers/{FRAMES}/", kept="memory")
    assert dan._session.recalled(request) is not None
    assert dan[FRAMES].start == first.start


def test_open_runs_are_never_kept(dan: Database) -> None:
    dan[OPEN].reload()
    request = dbservice.wire.Request("GET", f"headers/{OPEN}/", kept="memory")
    assert dan._session.recalled(request) is None


# Who am I, headers of one's own


def test_who_am_i(alice: Database) -> None:
    who = alice.whoami()
    assert who["user"]["username"] == "alice"
    assert [p["proposal_id"] for p in who["proposals"]] == ["310000", "310002"]


def test_nobody_in_particular_sees_public_runs(people: People) -> None:
    assert {run.proposal for run in people("nobody")} == {"312000"}
    assert people("nobody").whoami()["user"] is None


# Raw files: by policy, paths are not for clients; the data are


def test_the_whole_run_as_a_file(dan: Database, tmp_path: Path) -> None:
    path = dan[FRAMES].export(tmp_path / "run.h5")
    assert path.read_bytes()[:8] == b"\x89HDF\r\n\x1a\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.h5"]
    lines = dan[BASELINE].export(tmp_path / "run.ndjson").read_text().splitlines()
    assert len(lines) == 33 + 4
    with pytest.raises(ValueError, match=r"\.h5"):
        dan[FRAMES].export(tmp_path / "run.doc")


def test_the_table_as_a_file(dan: Database, tmp_path: Path) -> None:
    table = dan[BASELINE].table()
    parquet = pd.read_parquet(dan[BASELINE].primary.export(tmp_path / "t.parquet"))
    assert list(parquet["diode"]) == list(table["diode"])
    text = pd.read_csv(dan[BASELINE].primary.export(tmp_path / "t.csv"))
    assert list(text["diode"]) == list(table["diode"])


# Pickles


def test_a_run_goes_to_another_process_without_secrets(site: str, alice: Database) -> None:
    run = alice[FRAMES]
    pickled = pickle.dumps(run)
    access = alice._session.auth.token()
    assert access
    assert access.encode() not in pickled
    again = pickle.loads(pickled)
    assert again == run
    assert again._known == {"uid": FRAMES}
    assert pickle.loads(pickle.dumps(alice[FRAMES].data("fccd_image")[...])).shape[0] == 20


def test_whoever_has_a_token_can_use_a_pickled_run(
    site: str, alice: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = alice._session.do(
        dbservice.reading.api_token("job", ["read:metadata", "read:data"], 900)
    )
    monkeypatch.setenv("DBSERVICE_TOKEN", token)
    job = dbservice.connect(site)
    pickled = pickle.dumps(job[BASELINE].primary["diode"])
    assert token.encode() not in pickled
    dbservice.session._opened.clear()
    assert pickle.loads(pickled)[...].shape == (31,)


# Frames


def test_a_picture_of_a_frame(dan: Database) -> None:
    picture = dan[FRAMES].data("fccd_image").show(3, cmap="viridis", log=True)
    assert picture._repr_png_().startswith(b"\x89PNG")


# Old and odd runs: everything that the demo has can be read


@pytest.mark.filterwarnings("ignore:an event has shape")
def test_every_run_can_be_read_whole(dan: Database) -> None:
    kinds: set[str] = set()
    for run in dan:
        for name, stream in run.streams.items():
            data = run.read(name)
            assert isinstance(data, xr.Dataset)
            assert len(run.table(name)) == data.sizes["time"]
            kinds.update(map(str, (data[f].dtype for f in data.data_vars)))
            assert set(stream.inline()) <= set(data.variables)
    assert {"int64", "float64", "uint16"} <= kinds
