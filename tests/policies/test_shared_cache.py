"""What all workers share: a one-time code is used once, whichever of them is given it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from allauth.mfa.totp.internal.auth import TOTP
from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.redis import RedisCache
from django.db import connection
from django.test import Client
from pytest_django.fixtures import Settings
from redis.exceptions import RedisError

from policies.shared_cache import SQLCache, count
from policies.throttling import admit_anonymous
from tests.conftest import Actor, People
from tests.programs import free_port
from tests.redis import Redis

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def redis_options(tmp_path: Path, settings: Settings) -> Iterator[dict[str, Any]]:
    """The settings of a cache in a Redis of the test's own."""
    with Redis(tmp_path) as server:
        yield {**settings.REDIS, "LOCATION": server.url}


def redis(options: dict[str, Any]) -> RedisCache:
    return RedisCache(options["LOCATION"], {**options, "OPTIONS": dict(options["OPTIONS"])})


@pytest.fixture(params=["sql", "redis"])
def shared(request: pytest.FixtureRequest, db: None) -> BaseCache:
    if request.param == "sql":
        return SQLCache("", {})
    return redis(request.getfixturevalue("redis_options"))


def test_of_many_who_add_one_key_one_succeeds(shared: BaseCache) -> None:
    """ABUSE-CASES 19: as of many who use one code at once."""

    def add(number: int) -> bool:
        try:
            return bool(shared.add("code", number, timeout=30))
        finally:
            connection.close()

    with ThreadPoolExecutor(12) as threads:
        added = list(threads.map(add, range(12)))
    assert added.count(True) == 1
    assert shared.get("code") == added.index(True)


def test_values_are_counted_changed_forgotten_and_run_out(shared: BaseCache) -> None:
    assert shared.get("n", "none") == "none"
    with pytest.raises(ValueError, match="n"):
        shared.incr("n")
    assert shared.add("n", 1, timeout=30)
    assert shared.incr("n", 4) == 5
    shared.set("n", {"a": [1, None, "x"]}, timeout=30)
    assert shared.get("n") == {"a": [1, None, "x"]}
    assert shared.delete("n")
    shared.set("n", 1, timeout=-1)
    assert shared.get("n") is None
    assert shared.add("n", 2, timeout=30)
    shared.clear()
    assert shared.get("n") is None


@pytest.mark.parametrize("expires_before", [{2}, {1, 2}, {1, 2, 3, 4}])
def test_a_counter_that_runs_out_in_between_is_begun_anew(
    expires_before: set[int], shared: BaseCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    incr, calls = shared.incr, []

    def late(key: str, *args: Any) -> int:
        calls.append(key)
        if len(calls) in expires_before:
            shared.delete(key)
        return incr(key, *args)

    monkeypatch.setattr(shared, "incr", late)
    assert count(shared, "guesses", 3, 30) == 3


def test_a_counter_that_redis_begins_by_itself_runs_out(
    redis_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Django asks Redis whether there is one and then counts, which makes one that never ends."""
    shared = redis(redis_options)
    client, key = shared._cache.get_client(), shared.make_key("guesses")
    monkeypatch.setattr(shared, "incr", lambda _, amount: client.incr(key, amount))
    assert count(shared, "guesses", 1, 30) == 1
    assert 0 < client.ttl(key) <= 30


def test_a_counter_counts_on(shared: BaseCache) -> None:
    assert [count(shared, "guesses", amount, 30) for amount in (1, 1, 5)] == [1, 2, 7]


def test_nothing_that_is_stored_is_ever_unpickled(redis_options: dict[str, Any]) -> None:
    cache = redis(redis_options)
    client = cache._cache.get_client()
    client.set(cache.make_key("x"), b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(ValueError, match="Expecting value"):
        cache.get("x")


def test_a_code_is_used_once_over_all_workers(
    people: People, redis_options: dict[str, Any], settings: Settings
) -> None:
    """Two workers, of which each has connections of its own to the one store."""
    settings.CACHES = {**settings.CACHES, "default": redis_options}
    factor = TOTP.activate(people.alice, "A" * 32)
    assert [caches["default"].__class__.__name__] == ["RedisCache"]
    assert factor._mark_code_used("123456")
    caches["default"].close()
    assert not TOTP(factor.instance)._mark_code_used("123456")
    assert not redis(redis_options).add(factor._get_used_cache_key("123456"), "y", timeout=30)


def test_while_redis_is_away_requests_are_not_counted_and_codes_not_taken(
    acting_as: Actor, people: People, settings: Settings, rf: Any
) -> None:
    away = {**settings.REDIS, "LOCATION": f"redis://127.0.0.1:{free_port()}/0"}
    settings.CACHES = {"default": away, "counters": away}
    settings.REQUESTS_ANON = 1
    assert all(admit_anonymous(rf.get("/")) for _ in range(3))
    assert acting_as("nobody").get("/api/v1/auth/whoami/").status_code == 200
    with pytest.raises(RedisError):
        TOTP.activate(people.alice, "A" * 32)._mark_code_used("123456")
    browser = Client(raise_request_exception=False)
    browser.force_login(people.alice)
    answer = browser.post("/device/", {"user_code": "BCDF-GHJK"})
    assert answer.status_code == 503
