"""Slices of arrays: the same as numpy's, in pieces, and again where a connection breaks."""

import gzip
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import FRAMES, password_of
from servers import Answer, Asked, array_answer, passing_on, serving

import dbservice
from dbservice import arrays, wire
from dbservice.remote import Array, _array_again
from dbservice.runs import Database
from dbservice.session import Options, Session

SMALL = np.arange(7 * 5 * 4, dtype="<u2").reshape(7, 5, 4)
INDICES: list[Any] = [
    (),
    3,
    -1,
    slice(None),
    slice(2, 6, 2),
    slice(None, None, -1),
    slice(5, 1, -3),
    slice(0, 0),
    slice(100, 200),
    np.int64(2),
    Ellipsis,
    (3, slice(None), slice(None, None, 4)),
    (Ellipsis, 1),
    (slice(1, 3), Ellipsis, slice(None, None, -2)),
    (0, 1, 2),
    (slice(None), -1, slice(1, 2)),
]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "backoff", lambda attempt: 0.01)


def _array(url: str) -> Array:
    session = Session(Options(url, anonymous=True, progress=False))
    return _array_again(session, "headers/x/streams/primary/data/image/", "image", None)


@pytest.mark.parametrize("piece", [1, 50, 2**20], ids=["row by row", "some rows", "at once"])
def test_every_slice_is_numpys(monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
    monkeypatch.setattr(arrays, "PIECE", piece)
    with serving(lambda asked: array_answer(SMALL, asked)) as server:
        array = _array(server.url)
        for index in INDICES:
            np.testing.assert_array_equal(array[index], SMALL[index])
        np.testing.assert_array_equal(np.asarray(array), SMALL)
        np.testing.assert_array_equal(np.asarray(list(array)), SMALL)
        np.testing.assert_array_equal(array[SMALL[:, 0, 0] > 50], SMALL[SMALL[:, 0, 0] > 50])


@pytest.mark.parametrize("dtype", ["<u2", ">i4", "<f8", "|b1", "<c8", "<M8[ns]", "<U3"])
@pytest.mark.parametrize("encoded", [False, True], ids=["as it is", "gzip"])
def test_every_kind_of_value_arrives_encoded_or_not(dtype: str, encoded: bool) -> None:
    kind = np.dtype(dtype)
    values = np.frombuffer(np.arange(6 * kind.itemsize, dtype="u1") % 2, kind).reshape(3, 2)

    def answer(asked: Asked) -> Answer:
        given = array_answer(values, asked)
        if not encoded or asked.method == "HEAD":
            return given
        headers = given.headers | {"Content-Encoding": "gzip"}
        return Answer(given.status, gzip.compress(given.content), headers)

    with serving(answer) as server:
        read = _array(server.url)[...]
    assert (read.dtype, read.tobytes()) == (kind, values.tobytes())


def test_an_event_that_is_large_by_itself_is_cut_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "PIECE", 1000)
    monkeypatch.setattr(arrays, "CHUNK", 1000)
    stack = np.arange(2 * 30 * 20 * 10, dtype="<u2").reshape(2, 30, 20, 10)
    with serving(lambda asked: array_answer(stack, asked)) as server:
        array = _array(server.url)
        for index in ((), 1, (slice(None), slice(3, 20, 2), -1), (0, ..., slice(None, None, -3))):
            np.testing.assert_array_equal(array[index], stack[index])
        sizes = [int(asked.params["slice"].count(":")) for asked in server.asked[1:]]
        assert len(sizes) > 50
        assert arrays.chunks(stack.shape, 2) == (1, 2, 20, 10)
        np.testing.assert_array_equal(array.dask().compute(), stack)


def test_a_wrong_index_is_an_index_error_without_a_request() -> None:
    with serving(lambda asked: array_answer(SMALL, asked)) as server:
        array = _array(server.url)
        assert array.shape == (7, 5, 4)
        before = len(server.asked)
        for wrong in (7, -8, (0, 0, 0, 0), (Ellipsis, Ellipsis)):
            with pytest.raises(IndexError):
                array[wrong]
        assert len(server.asked) == before


def test_105_mb_of_frames_survive_cut_connections() -> None:
    """Only what broke is fetched again, at most four at a time, and none twice that came whole."""
    frames = np.random.default_rng(3).integers(0, 2**16, (200, 512, 512), "<u2")  # 104.9 MB
    lock, cuts, at_once, most = threading.Lock(), [0], [0], [0]

    def answer(asked: Asked) -> Answer:
        given = array_answer(frames, asked)
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
            if asked.method == "GET" and cuts[0] < 3:
                cuts[0] += 1
                given.cut = len(given.content) // 2
        at_once[0] -= 1
        return given

    with serving(answer) as server:
        np.testing.assert_array_equal(_array(server.url)[...], frames)
        slices = [asked.params["slice"] for asked in server.asked if asked.method == "GET"]
    assert cuts[0] == 3
    assert len(slices) == len(set(slices)) + 3
    sizes = [int(text.split(",")[0].split(":")[1]) - int(text.split(":")[0]) for text in slices]
    assert all(8 * 2**20 <= n * 512 * 512 * 2 <= 32 * 2**20 for n in sorted(sizes)[1:])
    assert most[0] <= 4


def test_an_array_that_grows_is_not_mixed_up() -> None:
    def answer(asked: Asked) -> Answer:
        return array_answer(SMALL if asked.method == "HEAD" else SMALL.astype("<u4"), asked)

    with serving(answer) as server, pytest.raises(dbservice.BrokerError, match="Read it again"):
        _array(server.url)[...]


def test_frames_of_a_real_run_through_a_bad_connection(
    site: str, alice: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "PIECE", 2**21)
    cut: list[str] = []

    def change(asked: Asked, given: Answer) -> Answer:
        if asked.method == "GET" and "slice" in asked.params and len(cut) < 2:
            cut.append(asked.params["slice"])
            given.cut = 1000
        return given

    whole = alice[FRAMES].data("fccd_image")[...]
    with serving(passing_on(site, change)) as between:
        db = dbservice.connect(between.url)
        db.login("alice", password_of("alice"), remember=False)
        np.testing.assert_array_equal(db[FRAMES].data("fccd_image")[...], whole)
    assert len(cut) == 2


def test_documents_go_on_where_they_broke(site: str, alice: Database) -> None:
    cut: list[str] = []

    def change(asked: Asked, given: Answer) -> Answer:
        if asked.path.endswith("/documents/") and len(cut) < 2:
            cut.append(asked.path)
            given.cut = len(given.content) * len(cut) // 3
        return given

    with serving(passing_on(site, change)) as between:
        db = dbservice.connect(between.url)
        db.login("alice", password_of("alice"), remember=False)
        assert list(db[FRAMES].documents()) == list(alice[FRAMES].documents())
    assert len(cut) == 2


def test_an_export_goes_on_where_it_broke(tmp_path: Path) -> None:
    """By Range and If-Range where the service has them, else from the beginning."""
    content = np.random.default_rng(1).bytes(3_000_000)
    ranges: list[str] = []

    def answer(asked: Asked) -> Answer:
        wanted = asked.headers.get("Range", "")
        ranges.append(wanted)
        begin = int(wanted[6:-1]) if wanted and asked.headers["If-Range"] == '"7"' else 0
        headers = {"ETag": '"7"'}
        if begin:
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        cut = 1_000_000 if len(ranges) < 3 else None
        return Answer(206 if begin else 200, content[begin:], headers, cut)

    with serving(answer) as server:
        run = dbservice.Run(Session(Options(server.url, anonymous=True)), None, "9c1f3a2b")
        assert run.export(tmp_path / "run.h5").read_bytes() == content
    assert ranges[0] == ""
    assert all(text.startswith("bytes=") for text in ranges[1:])
    assert [path.name for path in tmp_path.iterdir()] == ["run.h5"]


def test_slices_are_kept_on_disk_and_asked_about(
    site: str, alice: Database, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = alice._session.do(
        dbservice.reading.api_token("cache", ["read:metadata", "read:data"], 900)
    )
    statuses: list[int] = []

    def change(asked: Asked, given: Answer) -> Answer:
        if asked.method == "GET" and "slice" in asked.params:
            statuses.append(given.status)
        return given

    with serving(passing_on(site, change)) as between:
        first = dbservice.connect(between.url, token=token, cache="50MB")[FRAMES]
        second = dbservice.connect(between.url, token=token, cache="50MB")[FRAMES]
        image = first.data("fccd_image")[2:4]
        np.testing.assert_array_equal(second.data("fccd_image")[2:4], image)
    assert statuses == [200, 304]
    kept = list((home / "cache" / "dbservice").glob("*.kept"))
    assert kept
    assert all(path.stat().st_mode & 0o077 == 0 for path in kept)
    assert not any(token.encode() in path.read_bytes() for path in kept)


def test_the_cache_stays_below_its_size(home: Path) -> None:
    cache = dbservice.cache.DiskCache(100_000)
    for number in range(30):
        cache.put(str(number), '"1"', wire.Response(200, {}, bytes(10_000)))
    files = list((home / "cache" / "dbservice").glob("*.kept"))
    assert sum(path.stat().st_size for path in files) <= 100_000
    assert cache.get("29") is not None
    with pytest.raises(ValueError, match="is no size"):
        dbservice.cache.size_of("much")
    assert dbservice.cache.size_of("1GB") == 10**9


def test_what_is_left_out_is_warned_of() -> None:
    def answer(asked: Asked) -> Answer:
        given = array_answer(SMALL, asked)
        given.headers["Warning"] = '199 - "two events have no frame"'
        return given

    with serving(answer) as server, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _array(server.url)[0]
    told = {str(w.message) for w in caught if w.category is dbservice.BrokerWarning}
    assert told == {"two events have no frame (headers/x/streams/primary/data/image/)"}


def test_a_part_that_cannot_go_on_is_begun_anew(tmp_path: Path) -> None:
    """As when the last try was ended between the last byte and the new name."""
    (tmp_path / "run.h5.part").write_bytes(b"whole")
    (tmp_path / "run.h5.part.etag").write_text('"7"')

    def answer(asked: Asked) -> Answer:
        if "Range" in asked.headers:
            return Answer(416, b"", {"Content-Range": "bytes */5"})
        return Answer(200, b"whole", {"ETag": '"7"'})

    with serving(answer) as server:
        run = dbservice.Run(Session(Options(server.url, anonymous=True)), None, "9c1f3a2b")
        assert run.export(tmp_path / "run.h5").read_bytes() == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["run.h5"]


def test_a_missing_folder_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    with serving(lambda asked: Answer(500, b"", {})) as server:
        run = dbservice.Run(Session(Options(server.url, anonymous=True)), None, "9c1f3a2b")
        with pytest.raises(FileNotFoundError, match=r"no such folder.*nowhere"):
            run.export(tmp_path / "nowhere" / "run.h5")
