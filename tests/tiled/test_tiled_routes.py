"""The routes of Tiled's protocol as they stand on the wire: forms, bad input, bounds, narrowing."""

import io
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import h5py
import msgpack
import numpy as np
import pyarrow.csv
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest
from django.core.cache import caches
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient
from structlog.testing import capture_logs

from policies.models import AuditEvent
from policies.tokens import Limits, make_token
from tests.conftest import Actor, People
from tests.documents import Recorder

API = "/api/v1"
MSGPACK = "application/x-msgpack"
ARROW = "application/vnd.apache.arrow.file"


@pytest.fixture
def alice(acting_as: Actor) -> APIClient:
    return acting_as("alice")


@pytest.fixture
def uid(recorder: Recorder) -> str:
    return recorder.run("310000", events=5)


def body(response: Any) -> bytes:
    return b"".join(response) if response.streaming else bytes(response.content)


def condition(name: str, **fields: Any) -> str:
    return urlencode({f"filter[{name}][condition][{key}]": v for key, v in fields.items()})


# -- forms -----------------------------------------------------------------------------------------

FORMS = [
    "metadata/",
    "metadata/csx/raw",
    "metadata/csx/raw/{uid}",
    "metadata/csx/raw/{uid}/primary/data/det",
    "search/csx/raw",
    "search/csx/raw/{uid}",
    "distinct/csx/raw?metadata=plan_name&counts=true",
    "auth/whoami",
]


@pytest.mark.parametrize("path", FORMS)
def test_msgpack_says_what_json_says(path: str, alice: APIClient, uid: str) -> None:
    address = f"{API}/{path.format(uid=uid)}"
    plain = alice.get(address)
    packed = alice.get(address, headers={"accept": MSGPACK})
    assert plain["Content-Type"] == "application/json"
    assert packed["Content-Type"] == MSGPACK
    read = msgpack.unpackb(packed.content, timestamp=1)
    assert without_moments(read) == without_moments(plain.json())


def without_moments(value: Any) -> Any:
    if isinstance(value, dict):
        times = ("datetime", "latest_login")
        return {key: without_moments(v) for key, v in value.items() if key not in times}
    return [without_moments(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "path",
    [
        *FORMS[:-1],
        "array/full/csx/raw/{uid}/primary/data/det",
        "array/block/csx/raw/{uid}/primary/data/det?block=0",
        "container/full/csx/raw/{uid}/primary/data?format=arrow",
    ],
)
def test_what_a_client_has_already_is_not_sent_again(
    path: str, alice: APIClient, uid: str, recorder: Recorder
) -> None:
    """Without a validator the clients' cache would keep it for ever."""
    address = f"{API}/{path.format(uid=uid)}"
    first = alice.get(address)
    assert first.status_code == 200
    body(first)
    same = alice.get(address, headers={"if-none-match": first["ETag"]})
    assert (same.status_code, body(same)) == (304, b"")
    assert same["ETag"] == first["ETag"]
    assert {"Accept", "Authorization"} <= {name.strip() for name in same["Vary"].split(",")}
    other = alice.get(address, headers={"if-none-match": '"another"'})
    assert other.status_code == 200
    body(other)


def test_of_an_open_run_new_events_are_seen(alice: APIClient, recorder: Recorder) -> None:
    uid = recorder.run("310000", exit_status=None, events=2)
    node = f"{API}/metadata/csx/raw/{uid}"
    first = alice.get(node)
    assert first.json()["data"]["attributes"]["structure"]["contents"] is None
    assert first.json()["data"]["attributes"]["metadata"]["stop"] is None
    shape = f"{node}/primary/data/det"
    assert alice.get(shape).json()["data"]["attributes"]["structure"]["shape"] == [2]
    recorder.stop(uid)
    assert alice.get(node, headers={"if-none-match": first["ETag"]}).status_code == 200


def growing_run(recorder: Recorder) -> tuple[str, Callable[[int], None]]:
    """An open run with a number, a text and a list an event, and what adds an event."""
    spectrum = {"dtype": "array", "shape": [2], "source": "SIM:x"}
    keys = {"det": {"dtype": "number"}, "name": {"dtype": "string"}, "spectrum": spectrum}
    uid = recorder.run("310000", exit_status=None, events=0)
    descriptor = recorder.descriptor(uid, name="growing", data_keys=keys)

    def add(number: int) -> None:
        data = {"det": 0.5 * number, "name": "x" * number, "spectrum": [number, number]}
        event = {"uid": f"{uid}-{number}", "descriptor": descriptor, "time": float(number)}
        event |= {"seq_num": number, "timestamps": dict.fromkeys(data, float(number))}
        recorder.insert("csx", "event", event | {"data": data})

    return uid, add


def test_what_is_read_of_an_open_run_fits_what_was_told_of_it(
    alice: APIClient, recorder: Recorder
) -> None:
    """The clients put a dataset together from several requests, while events come."""
    uid, add = growing_run(recorder)
    add(1), add(2)
    stream = alice.get(f"{API}/metadata/csx/raw/{uid}/growing").json()["data"]
    assert stream["attributes"]["structure"]["contents"] is None
    data = alice.get(f"{stream['links']['self']}/data").json()["data"]
    add(3)
    children = {c["id"]: c for c in alice.get(data["links"]["search"]).json()["data"]}
    add(4)
    shapes = {name: c["attributes"]["structure"]["shape"] for name, c in children.items()}
    assert shapes == {"time": [2], "det": [2], "name": [2], "spectrum": [2, 2]}
    file = body(alice.get(data["links"]["full"], {"format": ARROW}))
    assert pyarrow.ipc.open_file(file).read_all()["det"].to_pylist() == [0.5, 1.0]
    for name, child in children.items():
        expected = {"expected_shape": ",".join(map(str, shapes[name]))}
        for link in (child["links"]["full"], child["links"]["block"].format(0, 0)):
            response = alice.get(link + ("&" if "?" in link else "?") + urlencode(expected))
            assert response.status_code == 200, (link, body(response))
            size = child["attributes"]["structure"]["data_type"]["itemsize"]
            assert len(body(response)) == np.prod(shapes[name]) * size
    again = alice.get(stream["links"]["self"] + "/data/det").json()["data"]
    assert again["attributes"]["structure"]["shape"] == [4]
    assert (again["id"], again["attributes"]["ancestors"][-2:]) == ("det", ["growing", "data"])


def test_the_same_holds_in_the_other_layout(alice: APIClient, recorder: Recorder) -> None:
    uid, add = growing_run(recorder)
    add(1), add(2)
    stream = alice.get(f"{API}/metadata/csx/v3/{uid}/growing").json()["data"]
    add(3)
    itself = stream["links"]["self"]
    spectrum, table = (
        alice.get(f"{itself}/{name}").json()["data"] for name in ("spectrum", "internal")
    )
    assert spectrum["attributes"]["structure"]["shape"] == [2, 2]
    add(4)
    values = body(alice.get(spectrum["links"]["full"] + "?expected_shape=2,2"))
    assert np.frombuffer(values, "<f8").tolist() == [1, 1, 2, 2]
    file = body(alice.get(table["links"]["partition"].format(index=0)))
    assert pyarrow.ipc.open_file(file).read_all()["name"].to_pylist() == ["x", "xx"]
    fresh = alice.get(f"{API}/metadata/csx/v3/{uid}/growing/spectrum").json()["data"]
    assert fresh["attributes"]["structure"]["shape"] == [4, 2]


def test_of_no_rows_there_are_none(alice: APIClient, recorder: Recorder) -> None:
    uid, add = growing_run(recorder)
    add(1)
    for rows, count in (("0", 0), ("7", 1), ("999999999", 1)):
        response = alice.get(f"{API}/metadata/csx/raw/{uid}/growing;rows={rows}/data/det")
        assert response.json()["data"]["attributes"]["structure"]["shape"] == [count]
    for rows in ("-1", "x", "", "9" * 30):
        assert alice.get(f"{API}/metadata/csx/raw/{uid}/growing;rows={rows}").status_code == 404


# -- bad input -------------------------------------------------------------------------------------

OPERATOR = '{"$gt": 1}'
DET, DATA = "csx/raw/{uid}/primary/data/det", "csx/raw/{uid}/primary/data"
REFUSED: dict[str, int] = {
    f"array/full/{DET}?slice=nonsense": 400,
    f"array/full/{DET}?slice=0:1:0": 400,
    f"array/full/{DET}?slice=0,0,0,0": 400,
    f"array/full/{DET}?slice=99": 400,
    f"array/full/{DET}?slice={'9' * 5000}": 400,
    f"array/full/{DET}?slice={'0:1,' * 500}0": 400,
    f"array/full/{DET}?slice=0:3&expected_shape=4": 422,
    f"array/full/{DET}?expected_shape=scalar": 422,
    f"array/full/{DET}?expected_shape={'x' * 3000}": 422,
    f"array/full/{DET}?format=nonsense": 406,
    f"array/full/{DATA}": 400,
    "array/full/csx/raw": 400,
    f"array/block/{DET}": 400,
    f"array/block/{DET}?block=1": 400,
    f"array/block/{DET}?block=-1": 400,
    f"array/block/{DET}?block=0,0": 400,
    f"array/block/{DET}?block=zero": 400,
    f"array/block/{DET}?block={'9' * 5000}": 400,
    f"array/block/{DET}?block=0&slice=7": 400,
    f"container/full/{DATA}?format=nonsense": 406,
    f"container/full/{DATA}?format=arrow&field=nonsense": 404,
    f"container/full/{DET}?format=arrow": 406,
    "container/full/csx/raw?format=arrow": 406,
    f"documents/{DATA}": 400,
    "metadata/nonsense": 404,
    "metadata/csx": 200,
    "metadata/csx/raw/{uid}/nonsense": 404,
    "metadata/csx/raw/{uid}/primary/nonsense": 404,
    "metadata/csx/raw/{uid}/primary/data/nonsense": 404,
    "metadata/csx/raw/{uid}/primary/data/det/deeper": 404,
    "metadata/csx/raw/{uid}/primary/config/nonsense": 404,
    "metadata/csx/raw/-1": 404,
    "metadata/csx/nonsense": 404,
    "metadata/" + "a/" * 500: 404,
    "search/csx/raw?page[offset]=-1": 400,
    "search/csx/raw?page[limit]=many": 400,
    "search/csx/raw?page[offset]=1000000": 400,
    "search/csx/raw?page[cursor]=forged": 400,
    "search/csx/raw?sort=nonsense": 400,
    "search/csx/raw?page[size]=5&root_path=x&unknown=1": 200,
    "search/csx/raw?page[limit]=100000": 200,
    f"search/csx/raw?{condition('nonsense', key='a')}": 400,
    f"search/csx/raw?{condition('eq', key='plan_name')}": 400,
    f"search/csx/raw?{condition('eq', key='plan_name', value='no json')}": 400,
    f"search/csx/raw?{condition('eq', key='$where', value='1')}": 400,
    f"search/csx/raw?{condition('eq', key='a', value=OPERATOR)}": 400,
    f"search/csx/raw?{condition('eq', key='a', value='[' * 100000)}": 400,
    f"search/csx/raw?{condition('comparison', key='a', operator='xx', value='1')}": 400,
    f"search/csx/raw?{condition('in', key='a', value='7')}": 400,
    f"search/csx/raw?{condition('in', key='a', value=json.dumps(list(range(10000))))}": 400,
    f"search/csx/raw?{condition('regex', key='a', pattern='(a+)+')}": 400,
    f"search/csx/raw?{condition('regex', key='a', pattern='(')}": 400,
    f"search/csx/raw?{condition('like', key='a', pattern='no json')}": 400,
    f"search/csx/raw?{condition('partial_uid', partial_uids='abc')}": 400,
    f"search/csx/raw?{condition('scan_id', scan_ids='x', duplicates='latest')}": 400,
    f"search/csx/raw?{condition('scan_id_range', start_id='0', end_id='9' * 40)}": 400,
    f"search/csx/raw?{condition('time_range', since='soon', until='null', timezone='UTC')}": 400,
    f"search/csx/raw?{condition('time_range', since='1e400', until='null', timezone='UTC')}": 400,
    f"search/csx/raw?{condition('specs', include='7')}": 400,
    f"search/csx/raw?{condition('access_tags_filter', tags='[]')}": 400,
    "search/csx/raw?filter[eq]=1": 400,
    "search/csx/raw/{uid}?" + condition("eq", key="a", value="1"): 400,
    "distinct/csx/raw?metadata=$where": 400,
    "distinct/csx/raw?metadata=" + "a." * 300 + "a": 400,
    f"distinct/csx/raw?metadata=a&{condition('regex', key='a', pattern='(')}": 400,
}


@pytest.mark.parametrize("path", REFUSED, ids=lambda path: path[:70])
def test_bad_input_gets_the_status_that_the_clients_understand(
    path: str, alice: APIClient, uid: str
) -> None:
    """Never 5xx, which they repeat for 45 seconds; the detail is what they show."""
    response = alice.get(f"{API}/{path.format_map({'uid': uid})}", headers={"accept": MSGPACK})
    assert response.status_code == REFUSED[path], body(response)[:300]
    if response.status_code >= 400:
        assert response["Content-Type"] == "application/json"
        assert response.json()["detail"]


@pytest.mark.parametrize(
    "path",
    ["revisions/csx/raw/{uid}", "awkward/full/csx/raw/{uid}", "array/full/", "auth/principal"],
)
def test_what_is_not_served_of_the_protocol_is_not_found(
    path: str, alice: APIClient, uid: str
) -> None:
    assert alice.get(f"{API}/{path.format(uid=uid)}").status_code == 404


LIKE = {"%an%": 2, "%ed%an%": 1, "an%": 0, "scan": 1, "%scan": 2, "s_an%": 1, "%": 2, "r%n": 1}


@pytest.mark.parametrize("pattern", LIKE)
def test_like_takes_its_signs_anywhere(pattern: str, alice: APIClient, recorder: Recorder) -> None:
    for plan in ("scan", "related_scan"):
        recorder.run("310000", plan_name=plan)
    found = condition("like", key="plan_name", pattern=json.dumps(pattern))
    page = alice.get(f"{API}/search/csx/raw?fields=count&{found}")
    assert (page.status_code, page.json()["meta"]["count"]) == (200, LIKE[pattern])


def test_lists_may_be_long(alice: APIClient, recorder: Recorder) -> None:
    uids = [recorder.run("310000", scan_id=number) for number in (7, 250)]
    numbers = json.dumps(list(range(250)))
    for filters, expected in (
        (condition("in", key="scan_id", value=numbers), 1),
        (condition("notin", key="scan_id", value=numbers), 1),
        (condition("keys_filter", keys=json.dumps([uids[0], *map(str, range(150)), uids[1]])), 2),
    ):
        page = alice.get(f"{API}/search/csx/raw?fields=count&{filters}")
        assert (page.status_code, page.json()["meta"]["count"]) == (200, expected)


@pytest.fixture
def many_samples(recorder: Recorder) -> int:
    """150 runs, each of a sample of its own, and of a title that the index does not hold."""
    for number in range(150):
        uid = f"sample-{number}"
        sample = {"name": f"sample {number}"}
        start = {"uid": uid, "time": float(number), "data_session": "pass-310000"}
        recorder.insert("csx", "run_start", start | {"sample": sample, "title": uid})
    return 150


@pytest.mark.parametrize("key", ["sample.name", "start.title", "uid"])
@pytest.mark.parametrize("filtered", [False, True])
def test_distinct_gives_all_values(
    key: str, filtered: bool, alice: APIClient, many_samples: int
) -> None:
    filters = condition("comparison", operator="ge", key="start.time", value="50")
    found = alice.get(f"{API}/distinct/csx/raw?metadata={key}&{filters if filtered else ''}").json()
    (values,) = found["metadata"].values()
    assert len({item["value"] for item in values}) == len(values) == 150 - 50 * filtered


def test_more_distinct_values_than_are_served_are_refused(
    alice: APIClient, many_samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tiled.views.MAX_DISTINCT", 149)
    refused = alice.get(f"{API}/distinct/csx/raw?metadata=title")
    assert refused.status_code == 413
    assert "title has more than 149 values; search for fewer" in refused.json()["detail"]


def test_a_field_may_be_asked_for_twice_and_in_any_order(alice: APIClient, uid: str) -> None:
    address = f"{API}/container/full/csx/raw/{uid}/primary/data?format={ARROW}"
    response = alice.get(f"{address}&field=motor&field=time&field=motor")
    table = pyarrow.ipc.open_file(body(response)).read_all()
    assert table.column_names == ["motor", "time"]
    posted = alice.generic("POST", address, json.dumps(["motor", "time"]), content_type="")
    assert pyarrow.ipc.open_file(body(posted)).read_all() == table
    for bad in ("{}", "[1]", "no json", "[" * 100_000):
        refused = alice.generic("POST", address, bad, content_type="")
        assert refused.status_code == 400, bad[:20]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [0, 1, 2, 3, 4]),
        ("?slice=1:4:2", [1, 3]),
        ("?slice=::-1", [4, 3, 2, 1, 0]),
        ("?slice=2&expected_shape=scalar", 2),
        ("?slice=5:&expected_shape=0", []),
    ],
)
def test_part_of_an_array_is_what_numpy_takes(
    query: str, expected: Any, alice: APIClient, uid: str
) -> None:
    node = f"csx/raw/{uid}/primary/data/det"
    whole = np.frombuffer(body(alice.get(f"{API}/array/full/{node}")), "<f8")
    chosen = np.atleast_1d(whole[np.array(expected, int)]).tolist()
    block = f"{API}/array/block/{node}?block=0{query.replace('?', '&')}"
    for address in (f"{API}/array/full/{node}{query}", block):
        assert np.frombuffer(body(alice.get(address)), "<f8").tolist() == chosen, address


# -- narrowing and bounds --------------------------------------------------------------------------

Narrow = Callable[..., APIClient]


@pytest.fixture
def narrowed(people: People) -> Narrow:
    def client(**limits: Any) -> APIClient:
        given = {"scopes": ["read:metadata", "read:data"]} | limits
        _, text = make_token(people.alice, "narrow", Limits(**given), timedelta(hours=1))
        return APIClient(HTTP_AUTHORIZATION=f"Apikey {text}")

    return client


def seen(client: APIClient, uid: str) -> tuple[int, int, int]:
    """How a client fares with a run's node, its values, and how many runs it counts."""
    node = client.get(f"{API}/metadata/all/{uid}").status_code
    values = client.get(f"{API}/array/full/all/{uid}/primary/data/det").status_code
    count = client.get(f"{API}/search/all?fields=count")
    return node, values, count.json()["meta"]["count"] if count.status_code == 200 else -1


def test_a_key_reads_no_more_than_it_was_made_for(
    narrowed: Narrow, recorder: Recorder, uid: str
) -> None:
    recorder.run("312000", "hxn")
    assert seen(narrowed(), uid) == (200, 200, 2)
    assert seen(narrowed(catalogs=["hxn"]), uid) == (404, 404, 1)
    assert seen(narrowed(proposals=["312000"]), uid) == (404, 404, 1)
    assert seen(narrowed(proposals=["310000"]), uid) == (200, 200, 1)
    assert seen(narrowed(scopes=["read:metadata"]), uid) == (200, 403, 2)
    assert seen(narrowed(scopes=["read:data"]), uid) == (403, 200, -1)
    assert seen(narrowed(allowed_ips=["10.0.0.0/8"]), uid) == (401, 401, -1)
    assert seen(narrowed(allowed_ips=["127.0.0.0/8"]), uid) == (200, 200, 2)


def test_a_spent_byte_budget_ends_reading_values(
    alice: APIClient, uid: str, settings: Settings
) -> None:
    caches["counters"].clear()
    settings.STREAM_BYTES_USER = 100
    addresses = [
        f"{API}/array/full/csx/raw/{uid}/primary/data/det",
        f"{API}/container/full/csx/raw/{uid}/primary/data?format=arrow",
        f"{API}/documents/csx/raw/{uid}",
    ]
    first = alice.get(addresses[1])
    assert body(first)
    for address in addresses:
        refused = alice.get(address)
        assert refused.status_code == 429, address
        assert int(refused["Retry-After"]) > 0
    assert alice.get(f"{API}/metadata/csx/raw/{uid}").status_code == 200


def test_too_much_at_once_is_refused_with_what_to_do(
    alice: APIClient, uid: str, settings: Settings
) -> None:
    settings.RESPONSE_BYTES = 30
    address = f"{API}/array/full/csx/raw/{uid}/primary/data/det"
    refused = alice.get(address)
    assert refused.status_code == 413
    assert "30" in refused.json()["detail"]
    assert alice.get(f"{address}?slice=:3").status_code == 200


def test_a_table_goes_out_batch_by_batch_whatever_its_size(
    alice: APIClient, uid: str, settings: Settings
) -> None:
    settings.RESPONSE_BYTES = 30
    response = alice.get(f"{API}/container/full/csx/raw/{uid}/primary/data?format=arrow")
    assert response.streaming
    assert pyarrow.ipc.open_file(body(response)).read_all().num_rows == 5


TABLES: dict[str, Callable[[bytes], Any]] = {
    "arrow": lambda content: pyarrow.ipc.open_file(content).read_all().to_pydict(),
    "feather": lambda content: pyarrow.ipc.open_file(content).read_all().to_pydict(),
    ARROW: lambda content: pyarrow.ipc.open_file(content).read_all().to_pydict(),
    "parquet": lambda content: pq.read_table(io.BytesIO(content)).to_pydict(),
    "application/x-parquet": lambda content: pq.read_table(io.BytesIO(content)).to_pydict(),
    "csv": lambda content: pyarrow.csv.read_csv(io.BytesIO(content)).to_pydict(),
    "json": json.loads,
    "h5": lambda content: {n: v[:].tolist() for n, v in h5py.File(io.BytesIO(content)).items()},
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_table_is_the_same_in_every_format(kind: str, alice: APIClient, uid: str) -> None:
    for part, first in (("data", [1.0, 4.0, 9.0, 16.0, 25.0]), ("timestamps", None)):
        node = f"csx/raw/{uid}/primary/{part}"
        response = alice.get(f"{API}/container/full/{node}", {"format": kind})
        assert response.status_code == 200, body(response)
        table = TABLES[kind](body(response))
        assert set(table) == {"time", "det", "motor"}
        assert first in (None, table["det"])
        assert len(table["motor"]) == len(set(table["time"])) == 5


def test_an_hdf5_file_has_texts_and_no_array_is_missing_from_it(
    alice: APIClient, recorder: Recorder
) -> None:
    """Whoever exports one file expects all in it; of arrays it says where they are."""
    keys = {"name": {"dtype": "string"}, "spectrum": {"dtype": "array", "shape": [2]}}
    uid = recorder.run("310000", events=0)
    descriptor = recorder.descriptor(uid, name="other", data_keys=keys)
    for number, name in enumerate(("LaB6 μ", "a\0b", "")):
        event = {"uid": f"event-{number}", "seq_num": number + 1, "time": float(number)}
        event |= {"descriptor": descriptor, "timestamps": {}}
        recorder.insert("csx", "event", event | {"data": {"name": name, "spectrum": [1.0, 2.0]}})
    node = f"{API}/container/full/csx/raw/{uid}/other/data"
    refused = alice.get(node, {"format": "h5"})
    assert refused.status_code == 406
    assert "spectrum" in refused.json()["detail"]
    with h5py.File(io.BytesIO(body(alice.get(node, {"format": "h5", "field": "name"})))) as file:
        assert file["name"].asstr()[:].tolist() == ["LaB6 μ", "a\ufffdb", ""]


@pytest.mark.parametrize("kind", ["xlsx", "nc", "html"])
@pytest.mark.parametrize("part", ["", "/primary", "/primary/data", "/primary/data/det"])
def test_of_a_format_that_is_not_served_the_others_are_named(
    part: str, kind: str, alice: APIClient, uid: str
) -> None:
    route = "array" if part.endswith("det") else "container"
    refused = alice.get(f"{API}/{route}/full/csx/raw/{uid}{part}", {"format": kind})
    assert refused.status_code == 406
    assert "h5" in refused.json()["detail"]


ARRAYS: dict[str, Callable[[bytes], Any]] = {
    "npy": lambda content: np.load(io.BytesIO(content), allow_pickle=False).tolist(),
    "json": json.loads,
    "csv": lambda content: np.loadtxt(io.BytesIO(content)).tolist(),
    "txt": lambda content: np.loadtxt(io.BytesIO(content)).tolist(),
    "h5": lambda content: h5py.File(io.BytesIO(content))["data"][:].tolist(),
    "application/octet-stream": lambda content: np.frombuffer(content, "<f8").tolist(),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_an_array_is_the_same_in_every_format(kind: str, alice: APIClient, uid: str) -> None:
    address = f"{API}/array/full/csx/raw/{uid}/primary/data/det"
    response = alice.get(address, {"format": kind, "slice": "1:4"})
    assert response.status_code == 200
    assert ARRAYS[kind](body(response)) == [4.0, 9.0, 16.0]


def test_a_run_is_exported_by_the_services_own_route(alice: APIClient, uid: str) -> None:
    response = alice.get(f"{API}/container/full/csx/raw/{uid}?format=h5", follow=True)
    with h5py.File(io.BytesIO(body(response))) as file:
        assert list(file)
    assert alice.get(f"{API}/container/full/csx/raw/{uid}?format=xlsx").status_code == 406


def test_a_secret_in_an_address_is_in_no_log(
    people: People, caplog: pytest.LogCaptureFixture
) -> None:
    """The clients put it there once, before they move it to a header."""
    secret = "dbk_0123456789abcdef_" + "S" * 43
    with capture_logs() as lines:
        for address in ("/", f"{API}/", f"{API}/metadata/", f"{API}/metadata/nothing"):
            APIClient().get(f"{address}?api_key={secret}")
    assert len(lines) >= 4
    assert secret not in repr([*AuditEvent.objects.values(), *lines]) + caplog.text


def test_values_that_are_missing_have_the_type_that_is_announced(
    alice: APIClient, recorder: Recorder
) -> None:
    """The clients reshape bytes as the structure says."""
    uid = recorder.run("310000", events=0)
    keys = {name: {"dtype": "number", "shape": [], "source": "x"} for name in VALUES}
    descriptor = recorder.descriptor(uid, name="mixed", data_keys=keys)
    for number in range(3):
        data = {name: values[number] for name, values in VALUES.items()}
        event = {"uid": f"{uid}-{number}", "descriptor": descriptor, "seq_num": number + 1}
        event |= {"time": float(number), "data": data, "timestamps": dict.fromkeys(data, 1.0)}
        recorder.insert("csx", "event", event | {"filled": {}})
    node = f"csx/raw/{uid}/mixed/data"
    response = alice.get(f"{API}/container/full/{node}?format=arrow")
    table = pyarrow.ipc.open_file(body(response)).read_all()
    for name, (kind, expected) in READ.items():
        about = alice.get(f"{API}/metadata/{node}/{name}").json()["data"]["attributes"]["structure"]
        told = about["data_type"]
        size = told["itemsize"] // (4 if told["kind"] == "U" else 1)
        assert f"{told['kind']}{size}" == kind, name
        content = body(alice.get(f"{API}/array/full/{node}/{name}"))
        array = np.frombuffer(content, kind)
        assert array.shape == tuple(about["shape"]) == (3,), name
        np.testing.assert_array_equal(array, np.array(expected, kind), name)
        np.testing.assert_array_equal(table[name].to_numpy(), np.array(expected), name)
        part = np.frombuffer(body(alice.get(f"{API}/array/full/{node}/{name}?slice=2:0:-1")), kind)
        np.testing.assert_array_equal(part, np.array(expected, kind)[2:0:-1], name)
        one = np.frombuffer(body(alice.get(f"{API}/array/full/{node}/{name}?slice=1")), kind)
        np.testing.assert_array_equal(one, np.array(expected, kind)[1:2], name)


NAN = float("nan")
VALUES: dict[str, list[Any]] = {
    "numbers": [1, None, 3],
    "floats": [1.5, None, NAN],
    "flags": [True, None, False],
    "texts": ["a", None, "längst"],
    "nothing": [None, None, None],
    "whole": [1, 2, 3],
    "switches": [True, False, True],
}
READ: dict[str, tuple[str, list[Any]]] = {
    "numbers": ("f8", [1.0, NAN, 3.0]),
    "floats": ("f8", [1.5, NAN, NAN]),
    "flags": ("f8", [1.0, NAN, 0.0]),
    "texts": ("U6", ["a", "", "längst"]),
    "nothing": ("f8", [NAN, NAN, NAN]),
    "whole": ("i8", [1, 2, 3]),
    "switches": ("b1", [True, False, True]),
}


def test_a_stream_without_events_has_empty_columns(alice: APIClient, recorder: Recorder) -> None:
    uid = recorder.run("310000", events=0)
    node = f"csx/raw/{uid}/primary/data"
    response = alice.get(f"{API}/container/full/{node}?format=arrow")
    assert pyarrow.ipc.open_file(body(response)).read_all().num_rows == 0
    structure = alice.get(f"{API}/metadata/{node}/det").json()["data"]["attributes"]["structure"]
    assert (structure["shape"], structure["chunks"]) == ([0], [[0]])
