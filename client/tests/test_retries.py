"""What is tried again, what is not, and what an error says."""

import re
import time
from collections.abc import Iterator
from email.utils import formatdate

import pytest
from servers import Answer, Asked, Server, plain, problem, serving

import dbservice
from dbservice import wire
from dbservice.runs import Database


class Script:
    """Answers in turn; the last one for ever."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []

    def __call__(self, asked: Asked) -> Answer:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


COUNT = plain({"count": 5})


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def server(script: Script) -> Iterator[Server]:
    with serving(script) as running:
        yield running


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited, without waiting."""
    waits: list[float] = []
    monkeypatch.setattr("dbservice.session.time.sleep", waits.append)
    return waits


@pytest.fixture
def db(server: Server) -> Iterator[Database]:
    with dbservice.connect(server.url, anonymous=True) as made:
        yield made


def test_the_time_that_a_busy_service_asks_for_is_waited(
    db: Database, script: Script, slept: list[float], server: Server
) -> None:
    busy = problem(429, "Slow down.")
    busy.headers["Retry-After"] = "3"
    away = problem(503, "No answer from the database.")
    away.headers["Retry-After"] = formatdate(time.time() + 30, usegmt=True)
    script.answers = [busy, away, COUNT]
    assert db.count() == 5
    assert slept[0] == 3
    assert 25 < slept[1] <= 30
    assert len(server.asked) == 3


def test_without_a_time_the_pauses_grow_and_vary(
    db: Database, script: Script, slept: list[float], server: Server
) -> None:
    script.answers = [problem(502, "Bad gateway.")]
    with pytest.raises(dbservice.BrokerError, match="Bad gateway"):
        db.count()
    assert len(server.asked) == 5
    for pause, longest in zip(slept, (0.5, 1, 2, 4), strict=True):
        assert longest / 2 <= pause <= longest


def test_nobody_waits_an_hour_without_being_told(
    db: Database, script: Script, slept: list[float], server: Server
) -> None:
    spent = problem(429, "The bytes that you may read in an hour are used up.")
    spent.headers["Retry-After"] = "3000"
    script.answers = [spent]
    with pytest.raises(dbservice.BrokerError, match="used up"):
        db.count()
    assert (len(server.asked), slept) == (1, [])


@pytest.mark.parametrize(
    ("status", "kind", "ordinary"),
    [
        (400, dbservice.BadRequest, ValueError),
        (404, dbservice.NotFound, KeyError),
        (409, dbservice.BadRequest, ValueError),
        (410, dbservice.FileMissing, FileNotFoundError),
        (413, dbservice.TooLarge, ValueError),
        (422, dbservice.BadRequest, ValueError),
        (500, dbservice.BrokerError, Exception),
        (501, dbservice.NotServed, NotImplementedError),
    ],
)
def test_what_will_not_change_is_told_at_once(
    db: Database,
    script: Script,
    slept: list[float],
    server: Server,
    status: int,
    kind: type[dbservice.BrokerError],
    ordinary: type[Exception],
) -> None:
    script.answers = [problem(status, "It is so.", slice="0:10")]
    with pytest.raises(kind, match=re.escape(f"It is so. [{status}, request r-17]")) as caught:
        db.count()
    assert isinstance(caught.value, ordinary)
    assert (caught.value.status, caught.value.request_id) == (status, "r-17")
    assert (len(server.asked), slept) == (1, [])
    if isinstance(caught.value, dbservice.TooLarge):
        assert caught.value.slice == "0:10"


def test_a_broken_connection_is_tried_again(
    db: Database, script: Script, slept: list[float], server: Server
) -> None:
    broken = Answer(200, b'{"count": 5}', {}, cut=4)
    script.answers = [broken, broken, COUNT]
    assert db.count() == 5
    assert len(slept) == 2


def test_no_connection_is_told_after_five_tries(slept: list[float]) -> None:
    with serving(lambda asked: COUNT) as server:
        pass
    with pytest.raises(dbservice.ConnectionLost, match="headers/count/"):
        dbservice.connect(server.url, anonymous=True).count()
    assert len(slept) == 4


def test_a_service_that_speaks_http_is_suggested(
    server: Server, script: Script, slept: list[float]
) -> None:
    script.answers = [COUNT]
    place = server.url.removeprefix("http://")
    with (
        dbservice.connect(place, anonymous=True) as db,
        pytest.raises(dbservice.ConnectionLost, match=f"http://{place}"),
    ):
        db.count()


def test_what_makes_something_is_never_sent_twice(
    db: Database, script: Script, slept: list[float], server: Server
) -> None:
    script.answers = [problem(503, "Away.")]
    with pytest.raises(dbservice.BrokerError, match="Away"):
        db._session.do(dbservice.reading.tiled_token())
    assert (len(server.asked), slept) == (1, [])


def test_long_parameters_go_into_the_body_and_are_reads(
    db: Database, script: Script, slept: list[float], server: Server
) -> None:
    script.answers = [problem(503, "Away."), COUNT]
    assert db.search(sample__name__in=["x" * 100] * 100).count() == 5
    first, second = server.asked
    assert (first.method, first.params) == ("POST", {})
    assert first.body == second.body
    assert len(first.body) > wire.LONGEST_LINE


def test_another_site_is_told_apart(db: Database, script: Script) -> None:
    script.answers = [Answer(200, b"<html>Sign in</html>", {"Content-Type": "text/html"})]
    with pytest.raises(dbservice.BrokerError, match="no Data Broker Service: it answers with text"):
        db.count()


def test_headers_of_ones_own_are_sent(server: Server, script: Script) -> None:
    script.answers = [COUNT]
    db = dbservice.connect(server.url, anonymous=True, headers={"X-Qos": "low"})
    db.count()
    db.headers["X-Qos"] = "acquisition"
    db.count()
    assert [asked.headers["X-Qos"] for asked in server.asked] == ["low", "acquisition"]
    assert server.asked[0].headers["User-Agent"] == f"dbservice/{dbservice.__version__}"


def test_a_token_goes_to_its_own_server_only(script: Script, server: Server) -> None:
    with serving(lambda asked: COUNT) as elsewhere:
        script.answers = [Answer(307, b"", {"Location": f"{elsewhere.url}/api/v1/headers/count/"})]
        dbservice.connect(server.url, token="dbk_secret").count()
    assert "Authorization" in server.asked[0].headers
    assert "Authorization" not in elsewhere.asked[0].headers


def test_links_to_other_servers_are_not_followed(script: Script, server: Server) -> None:
    first = {"results": [], "next": "https://evil.example.org/api/v1/headers/?cursor=C%2B1"}
    script.answers = [plain(first), plain({"results": [], "next": None})]
    runs = iter(dbservice.connect(server.url, token="dbk_secret").search("x"))
    assert next(runs, None) is None
    assert server.asked[1].params["cursor"] == "C+1"


def test_an_older_service_gives_whole_headers_for_a_table(
    db: Database, script: Script, server: Server
) -> None:
    header = {"uid": "u1", "catalog": "csx", "start": {"scan_id": 7, "time": 1.0}, "stop": None}
    page = plain({"results": [header], "next": None})
    unknown = problem(400, "fields: is unknown", errors={"fields": "is unknown"})
    script.answers = [unknown, page]
    assert db.records("scan_id", "stop.exit_status") == [{"scan_id": 7, "stop.exit_status": None}]
    assert server.asked[0].params["fields"] == "start.scan_id,stop.exit_status"
    assert "fields" not in server.asked[1].params


def test_a_projection_that_is_refused_is_told(db: Database, script: Script) -> None:
    wrong = {"fields": "start..name is no path"}
    script.answers = [problem(400, "fields: start..name is no path", errors=wrong)]
    with pytest.raises(ValueError, match="is no path"):
        db.records(".name")


def test_a_thousand_runs_are_one_request(db: Database, script: Script, server: Server) -> None:
    start = {"scan_id": 7, "time": 1.0}
    headers = [{"uid": str(n), "catalog": "csx", "start": start, "stop": None} for n in range(1000)]
    script.answers = [plain({"results": headers, "next": f"{server.url}/?cursor=more"})]
    assert len(db.table("scan_id", "time", "uid")) == 1000
    assert [asked.params["page_size"] for asked in server.asked] == ["1000"]


def test_short_pages_are_not_the_end(db: Database, script: Script, server: Server) -> None:
    def header(uid: str) -> dict[str, object]:
        return {"uid": uid, "catalog": "csx", "start": {"scan_id": 7}, "stop": None}

    pages = [[header("a")], [], [header("b"), header("c")]]
    script.answers = [plain({"results": page, "next": "/?cursor=x"}) for page in pages]
    assert [run.uid for run in db.last(3)] == ["a", "b", "c"]


def test_a_list_that_is_not_complete_yet_warns(db: Database, script: Script) -> None:
    gaps = {"csx": "2024-03-01T00:00:00Z"}
    script.answers = [plain({"results": [], "next": None, "incomplete": gaps})]
    with pytest.warns(dbservice.BrokerWarning, match="csx: 2024-03-01"):
        db.last(3)
