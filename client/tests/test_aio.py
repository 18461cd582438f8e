"""The same for asyncio."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import BASELINE, FRAMES, OPEN, password_of
from servers import Answer, Asked, array_answer, passing_on, plain, problem, serving

import dbservice
from dbservice import aio, arrays, wire
from dbservice.runs import Database

Story = Callable[[aio.Database], Awaitable[None]]
Tell = Callable[[Story], None]


@pytest.fixture
def tell(site: str) -> Tell:
    """Runs a story with the async client of dan."""

    def run(story: Story) -> None:
        async def main() -> None:
            async with aio.connect(site, timezone="UTC") as db:
                await db.login("dan", password_of("dan"), remember=False)
                await story(db)

        asyncio.run(main())

    return run


def test_runs_by_all_their_names(tell: Tell, dan: Database) -> None:
    async def story(db: aio.Database) -> None:
        assert (await db[-1]).uid == OPEN
        assert await db[148229] == await db[FRAMES[:8]]
        assert [run.uid for run in await db[[148229, -1]]] == [FRAMES, OPEN]
        assert [run.uid for run in await db[-3:]] == [run.uid for run in dan[-3:]]
        assert (await db.first()).uid == dan.first().uid
        with pytest.raises(KeyError):
            await db["0000000"]

    tell(story)


def test_search_and_tables_of_runs(tell: Tell, dan: Database) -> None:
    async def story(db: aio.Database) -> None:
        scans = db.search(plan_name="scan", num_points__gt=40)
        uids = [run.uid async for run in scans]
        assert uids == [run.uid for run in dan.search(plan_name="scan", num_points__gt=40)]
        assert await scans.count() == len(uids)
        table = await scans.table("uid", "time")
        assert list(table["uid"]) == uids
        assert (await db.values("plan_name")) == dan.values("plan_name")
        assert (await db.whoami())["user"]["username"] == "dan"

    tell(story)


def test_data_of_a_run(tell: Tell, dan: Database, tmp_path: Path) -> None:
    async def story(db: aio.Database) -> None:
        run = await db[BASELINE]
        assert (await run.table()).equals(dan[BASELINE].table())
        assert (await run.read()).identical(dan[BASELINE].read())
        assert [e["seq_num"] async for e in run.events("baseline")] == [1, 2]
        frames = await db[FRAMES]
        image = await frames.data("fccd_image")
        whole = dan[FRAMES].data("fccd_image")[...]
        np.testing.assert_array_equal(await image[3:9, 0, ::4], whole[3:9, 0, ::4])
        assert await image[3, 0, 5, 7] == whole[3, 0, 5, 7]
        assert (await frames.read())["fccd_image"].shape == image.shape
        names = [name async for name, _ in frames.documents()]
        assert names == [name for name, _ in dan[FRAMES].documents()]
        assert (await run.export(tmp_path / "run.h5")).stat().st_size > 1000
        assert (await frames["primary"].show("fccd_image", 2)).png.startswith(b"\x89PNG")

    tell(story)


def test_a_run_of_a_list_is_loaded_when_asked(tell: Tell) -> None:
    async def story(db: aio.Database) -> None:
        async for run in db.search(uid=BASELINE):
            with pytest.raises(RuntimeError, match=r"await run\.load"):
                _ = run.streams
            assert set((await run.load()).streams) == {"primary", "baseline"}

    tell(story)


def test_many_questions_at_once(tell: Tell) -> None:
    async def story(db: aio.Database) -> None:
        tables = await asyncio.gather(*[run.table() for run in await db.last(8)])
        assert all(len(table) > 0 for table in tables)

    tell(story)


def test_broken_connections_and_busy_services(
    site: str, dan: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "backoff", lambda attempt: 0.01)
    monkeypatch.setattr(arrays, "PIECE", 2**21)
    broken: list[str] = []

    def change(asked: Asked, given: Answer) -> Answer:
        if asked.path not in broken and "/auth/" not in asked.path and asked.method == "GET":
            broken.append(asked.path)
            if "documents" in asked.path or "data" in asked.path:
                given.cut = len(given.content) // 2
            else:
                busy = problem(503, "Away.")
                busy.headers["Retry-After"] = "0"
                return busy
        return given

    async def main(url: str) -> None:
        async with aio.connect(url) as db:
            await db.login("dan", password_of("dan"), remember=False)
            run = await db[FRAMES]
            image = await (await run.data("fccd_image"))[...]
            np.testing.assert_array_equal(image, dan[FRAMES].data("fccd_image")[...])
            documents = [item async for item in run.documents()]
            assert documents == list(dan[FRAMES].documents())

    with serving(passing_on(site, change)) as between:
        asyncio.run(main(between.url))
    assert len(broken) == 3


def test_at_most_four_pieces_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "PIECE", 40)
    whole = np.arange(200, dtype="<i8").reshape(40, 5)
    now, most = [0], [0]

    def answer(asked: Asked) -> Answer:
        now[0] += 1
        most[0] = max(most[0], now[0])
        given = array_answer(whole, asked)
        now[0] -= 1
        return given

    async def main(url: str) -> Any:
        db = aio.connect(url, anonymous=True)
        extent = arrays.Extent((40, 5), "<i8")
        return await aio.Array(db._session, "headers/x/data/", "x", extent)[...]

    with serving(answer) as server:
        np.testing.assert_array_equal(asyncio.run(main(server.url)), whole)
        assert len(server.asked) == 40
    assert most[0] <= 4


def test_errors_are_the_same() -> None:
    async def main(url: str) -> None:
        async with aio.connect(url, anonymous=True) as db:
            await db.count()

    with (
        serving(lambda asked: problem(501, "No handler for AD_X.")) as server,
        pytest.raises(dbservice.NotServed, match="AD_X"),
    ):
        asyncio.run(main(server.url))
    with serving(lambda asked: plain({"count": 2})) as server:
        asyncio.run(main(server.url))
