"""Limits of two instances that share a Redis, and what they do while it is away."""

import time
from collections import Counter
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path

from tests.load import ask
from tests.redis import Redis
from tests.running import Installation

LIMIT = 20
PATH = "/api/v1/auth/whoami/"
MINUTE_LEFT = 30
"""seconds that one part of the test may take"""


def wait_for_a_minute() -> None:
    """Requests are counted by the minute: what follows must not be counted in two."""
    passed = time.time() % 60
    if passed > 60 - MINUTE_LEFT:
        time.sleep(60.1 - passed)


def test_a_limit_is_of_both_instances_together(mongo_uri: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        redis = stack.enter_context(Redis(tmp_path))
        installation = Installation.make(
            tmp_path, BROKER_CACHE_URL=redis.url, BROKER_RATE_ANON=str(LIMIT), BROKER_WORKERS="2"
        )
        instances = [stack.enter_context(installation.instance()) for _ in range(2)]

        def answers(count: int) -> Counter[int]:
            ports = cycle([instance.port for instance in instances])
            return Counter(ask(next(ports), PATH)[0] for _ in range(count))

        wait_for_a_minute()
        assert answers(LIMIT + 10) == {200: LIMIT, 429: 10}
        redis.stop()
        assert answers(LIMIT + 10) == {200: LIMIT + 10}
        redis.start()
        wait_for_a_minute()
        assert answers(LIMIT + 10) == {200: LIMIT, 429: 10}
