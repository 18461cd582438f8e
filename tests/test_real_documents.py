"""Documents as other facilities recorded them, inserted as they are; see tests/cases."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from django.test import Client
from rest_framework.test import APIClient

from tests.conftest import Actor, People
from tests.documents import Recorder

CASES = Path(__file__).parent / "cases"
Url = Callable[[str], str]


@pytest.fixture
def case(request: pytest.FixtureRequest, recorder: Recorder) -> Url:
    """Inserts a case; addresses below its run."""
    documents = json.loads((CASES / f"{request.param}.json").read_text())
    for stored in documents:
        recorder.insert("csx", stored["collection"], stored["document"])
    uid = next(d["document"]["uid"] for d in documents if d["collection"] == "run_start")
    return lambda path: f"/api/v1/headers/{uid}/{path}"


@pytest.fixture
def dan(acting_as: Actor) -> APIClient:
    """A data admin: these runs have no proposal."""
    return acting_as("dan")


def table(dan: APIClient, url: str) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = json.loads(b"".join(dan.get(url)))
    return found


def arrays_file(folder: Path) -> None:
    with h5py.File(folder / "ad.h5", "w") as file:
        file["/entry/data/data"] = np.arange(24, dtype="<u2").reshape(3, 2, 4)


@pytest.mark.parametrize("case", ["unnamed2"], indirect=True)
def test_two_devices_in_one_unnamed_stream_lose_no_row(case: Url, dan: APIClient) -> None:
    response = dan.get(case("streams/primary/table/"))
    assert response.get("Warning") is None
    found = json.loads(b"".join(response))
    assert found["seq_num"] == [1, 1, 2, 2, 3, 3]
    assert found["m1"] == [0.0, None, 1.0, None, 2.0, None]
    assert found["d1"] == [None, 10.0, None, 11.0, None, 12.0]


@pytest.mark.parametrize("case", ["onemissing"], indirect=True)
def test_one_frame_that_its_file_lacks_is_left_out_and_named(
    case: Url, dan: APIClient, data_folder: Path
) -> None:
    """Four events, three frames."""
    arrays_file(data_folder)
    exported = dan.get(case("export/"))
    assert "img: Resource res-onemissing (AD_HDF5)" in exported["Warning"]
    with h5py.File(io.BytesIO(b"".join(exported))) as file:
        frames = file["entry/primary/img"]
        assert sorted(frames) == ["000000", "000001", "000002"]
        assert frames["000002"][()].tolist() == [[[16, 17, 18, 19], [20, 21, 22, 23]]]
        assert file["entry/primary/det"].shape == (4,)
    (descriptor,) = dan.get(case("")).json()["descriptors"]
    page = dan.get("/api/v1/events/", {"descriptor": descriptor["uid"], "fill": "true"})
    assert "img: Resource res-onemissing (AD_HDF5)" in page["Warning"]
    filled = [event["data"]["img"] for event in page.json()["results"]]
    assert filled[:2] == [[[[0, 1, 2, 3], [4, 5, 6, 7]]], [[[8, 9, 10, 11], [12, 13, 14, 15]]]]
    assert filled[3] == "res-onemissing/3"
    assert page.json()["results"][3]["filled"] == {"img": False}
    lines = b"".join(dan.get(case("documents/?fill=true"))).splitlines()
    events = [doc for name, doc in map(json.loads, lines) if name == "event"]
    assert [event["data"]["img"] for event in events] == filled


@pytest.mark.parametrize("case", ["nospec", "onemissing"], indirect=True)
@pytest.mark.parametrize("path", ["documents/?fill=true", "export/?format=h5"])
def test_fields_that_cannot_be_served_do_not_keep_the_others_from_it(
    path: str, case: Url, dan: APIClient
) -> None:
    response = dan.get(case(path))
    assert response.status_code == 200
    assert response["Warning"].startswith('199 - "left out: img: Resource res-')
    assert b"".join(response)


@pytest.mark.parametrize("case", ["only_stream_fields"], indirect=True)
def test_a_stream_of_nothing_but_data_recorded_elsewhere_has_its_table(
    case: Url, dan: APIClient, people: People
) -> None:
    assert table(dan, case("streams/primary/table/?fields="))["seq_num"] == []
    assert dan.get(case("streams/primary/data/det-key2/")).status_code == 501
    assert dan.get(case("documents/?fill=true")).status_code == 501
    assert dan.get(case("")).json()["streams"][0]["fields"]["det-key2"]["available"] is False
    browser = Client()
    browser.force_login(people.dan)
    page = browser.get(case("").replace("/api/v1/headers/", "/runs/"))
    assert page.status_code == 200
    assert "recorded outside this database" in page.content.decode()


@pytest.mark.parametrize("case", ["stream_prefix_with_datums"], indirect=True)
def test_a_prefix_says_nothing_where_datums_are_stored(case: Url, dan: APIClient) -> None:
    """The spec has no handler here: that is what is said, not that there are no references."""
    answer = dan.get(case("streams/primary/data/det-key2/"))
    assert answer.status_code == 501
    assert answer.json()["spec"] == "AD_HDF5_SWMR_STREAM"
    found = table(dan, case("streams/primary/table/"))
    assert found["det-key2"][:2] == ["det-key2-uid/0", "det-key2-uid/1"]


@pytest.mark.parametrize("case", ["strings"], indirect=True)
def test_texts_are_texts_in_every_format(case: Url, dan: APIClient) -> None:
    response = dan.get(case("streams/primary/table/?format=csv"))
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert "Ünï" in b"".join(response).decode()
    found = table(dan, case("streams/primary/table/"))
    assert found["names"] == [["a", "bb"], ["c", 'Ünï,"q"\n2']]
    assert found["one"] == [[5.0], [6.0]]
    assert dan.get(case("streams/primary/data/names/")).status_code == 406
    assert dan.get(case("streams/primary/data/one/"))["X-Array-Shape"] == "2,1"


@pytest.mark.parametrize("case", ["zero_size_arrays"], indirect=True)
@pytest.mark.parametrize("format", ["json", "npy", "msgpack", "octet-stream", "h5"])
def test_arrays_without_values_keep_their_shape(format: str, case: Url, dan: APIClient) -> None:
    response = dan.get(case(f"streams/primary/data/empty/?format={format}"))
    content = b"".join(response)
    assert response["X-Array-Shape"] == "3,0"
    if format == "json":
        assert json.loads(content) == [[], [], []]
    if format == "npy":
        assert np.load(io.BytesIO(content)).shape == (3, 0)
