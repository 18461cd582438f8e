"""Runs that are followed while they are taken."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import pytest
from conftest import BASELINE, OPEN
from servers import Answer, Asked, plain, problem, serving

import dbservice
from dbservice import aio
from dbservice.runs import Database

EVENTS = {"descriptor": "d", "seq_num": [1, 2], "time": [1.0, 2.0], "uid": ["e1", "e2"]}
PAGE = EVENTS | {"data": {"x": [5, None]}, "timestamps": {"x": [0.1, 0.2]}, "filled": {}}


def message(name: str, content: Any, id: str) -> bytes:
    return f"id: {id}\nevent: {name}\ndata: {json.dumps(content)}\n\n".encode()


MESSAGES = [
    message("start", {"uid": "run-u"}, "1"),
    message("descriptor", {"uid": "d"}, "2"),
    message("event_page", PAGE, "3"),
    message("stop", {"run_start": "run-u"}, "4"),
    message("end", {"reason": "stop"}, "5"),
]
NAMES = ["start", "descriptor", "event", "event", "stop"]


def streamed(content: bytes, **options: Any) -> Answer:
    return Answer(200, content, {"Content-Type": "text/event-stream"}, **options)


def about(asked: Asked) -> Answer | None:
    if asked.path.endswith("/headers/run-u/"):
        nothing: dict[str, Any] = {"stop": None, "descriptors": [], "streams": []}
        return plain({"uid": "run-u", "start": {"uid": "run-u", "time": 1.0}, **nothing})
    return None


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from dbservice import following

    monkeypatch.setattr(following, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(following, "backoff", lambda attempt: 0.01)


def test_a_run_of_the_service_is_followed_to_its_end(dan: Database) -> None:
    run = dan[BASELINE]
    followed = list(run.follow())
    assert in_order(followed) == in_order(run.documents())
    assert followed[0][0] == "start"
    assert followed[-1][0] == "stop"


def in_order(documents: Iterable[Any]) -> list[str]:
    """NaN is null where documents are followed."""
    texts = (json.dumps(item, sort_keys=True).replace("NaN", "null") for item in documents)
    return sorted(texts)


def test_silence_ends_with_a_timeout(dan: Database) -> None:
    documents = dan[OPEN].follow(timeout=1.5)
    with pytest.raises(TimeoutError, match="nothing new"):
        list(documents)


@pytest.mark.parametrize("cut", range(1, len(b"".join(MESSAGES)), 23))
def test_a_connection_cut_anywhere_loses_and_repeats_nothing(cut: int) -> None:
    cuts = [cut]

    def answer(asked: Asked) -> Answer:
        if (known := about(asked)) is not None:
            return known
        last = int(asked.headers.get("Last-Event-ID", asked.headers.get("last-event-id", "0")))
        if last == len(MESSAGES):
            return Answer(204)
        return streamed(b"".join(MESSAGES[last:]), cut=cuts.pop() if cuts else None)

    with serving(answer) as server:
        db = dbservice.connect(server.url, anonymous=True)
        items = list(db["run-u"].follow())
    assert [name for name, _ in items] == NAMES
    assert items[2][1] == {
        "descriptor": "d",
        "seq_num": 1,
        "time": 1.0,
        "uid": "e1",
        "data": {"x": 5},
        "timestamps": {"x": 0.1},
        "filled": {},
    }


def test_without_the_process_for_streams_it_is_asked_again_and_again() -> None:
    given: list[str] = []

    def answer(asked: Asked) -> Answer:
        if (known := about(asked)) is not None:
            return known
        if "follow" in asked.params:
            return problem(503, "not here")
        given.append(asked.params.get("after", ""))
        last = int(given[-1] or 0)
        return streamed(b"retry: 2000\n\n" + b"".join(MESSAGES[last : last + 2]))

    with serving(answer) as server:
        db = dbservice.connect(server.url, anonymous=True)
        assert [name for name, _ in db["run-u"].follow()] == NAMES
    assert given == ["", "2", "4"]


def test_access_that_ends_is_an_error() -> None:
    def answer(asked: Asked) -> Answer:
        known = about(asked)
        return known or streamed(MESSAGES[0] + b"event: gone\ndata: {}\n\n")

    with serving(answer) as server:
        documents = dbservice.connect(server.url, anonymous=True)["run-u"].follow()
        assert next(documents)[0] == "start"
        with pytest.raises(dbservice.NotFound, match="any more"):
            next(documents)


def test_the_next_run_is_followed() -> None:
    old = {"uid": "o", "start": {"uid": "o"}, "stop": {"run_start": "o"}}
    new = {"uid": "run-u", "start": {"uid": "run-u"}, "stop": None}

    def answer(asked: Asked) -> Answer:
        if asked.path.endswith("/headers/live/"):
            assert asked.params["plan_name"] == "scan"
            return streamed(message("run", old, "1") + message("run", new, "2"))
        return about(asked) or streamed(b"".join(MESSAGES))

    with serving(answer) as server:
        db = dbservice.connect(server.url, anonymous=True)
        assert [name for name, _ in db.follow(plan_name="scan")] == NAMES
        assert db.search(plan_name="scan").next().uid == "run-u"


def test_the_same_for_asyncio() -> None:
    def answer(asked: Asked) -> Answer:
        if asked.path.endswith("/headers/live/"):
            return streamed(message("run", {"uid": "run-u", "start": {}, "stop": None}, "2"))
        return about(asked) or streamed(b"".join(MESSAGES))

    async def main(url: str) -> list[str]:
        async with aio.connect(url, anonymous=True) as db:
            run = await db["run-u"]
            names = [name async for name, _ in run.follow()]
            assert names == [name async for name, _ in db.follow()]
            return names

    with serving(answer) as server:
        assert asyncio.run(main(server.url)) == NAMES


def test_an_answer_that_is_no_use_is_raised() -> None:
    def answer(asked: Asked) -> Answer:
        return about(asked) or problem(400, "fields: the run has no x.")

    with serving(answer) as server:
        db = dbservice.connect(server.url, anonymous=True)
        with pytest.raises(dbservice.BadRequest):
            list(db["run-u"].follow(fields=["x"]))
