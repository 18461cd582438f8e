"""What all workers share: one-time codes and guesses, in Redis or else in the SQL database.

The latter is a cache backend of Django's, for a few small values. Adding is one statement that the
database lets succeed once: of two workers that are given the same one-time code, one finds it used.
"""

import json
from datetime import timedelta
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

TRIES = 3


def count(counters: BaseCache, key: str, amount: int, seconds: int) -> int:
    """Adds to a counter that lives so many seconds from its beginning; gives what it has then."""
    for _ in range(TRIES):
        try:
            value = int(counters.incr(key, amount))
        except ValueError:  # It is the first, or the last one has just expired or been evicted.
            counters.add(key, 0, seconds)
            continue
        if value == amount:
            # Redis begins anew, for ever, one that expires just before it is counted up.
            counters.touch(key, seconds)
        return value
    return amount


class SQLCache(BaseCache):
    """Values are what JSON has. `LOCATION` of the settings means nothing."""

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)

    def add(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None
    ) -> bool:
        from policies.models import SharedValue

        SharedValue.objects.filter(expires__lte=timezone.now()).delete()
        row = SharedValue(key=self._key(key, version), value=value, expires=self._expires(timeout))
        try:
            with transaction.atomic():
                row.save(force_insert=True)
        except IntegrityError:
            return False
        return True

    def get(self, key: str, default: Any = None, version: Any = None) -> Any:
        found = self._current(key, version).values_list("value", flat=True).first()
        return default if found is None else found

    def set(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None
    ) -> None:
        from policies.models import SharedValue

        given = {"value": value, "expires": self._expires(timeout)}
        SharedValue.objects.update_or_create(key=self._key(key, version), defaults=given)

    def incr(self, key: str, delta: int = 1, version: Any = None) -> int:
        """Adds to a whole number. ValueError if there is none."""
        with transaction.atomic():
            row = self._current(key, version).select_for_update().first()
            if row is None:
                raise ValueError(f"Key {key!r} not found")
            row.value += delta
            row.save(update_fields=["value"])
        return int(row.value)

    def touch(self, key: str, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        return bool(self._current(key, version).update(expires=self._expires(timeout)))

    def delete(self, key: str, version: Any = None) -> bool:
        return bool(self._current(key, version).delete()[0])

    def clear(self) -> None:
        from policies.models import SharedValue

        SharedValue.objects.all().delete()

    def _current(self, key: str, version: Any) -> Any:
        from policies.models import SharedValue

        unexpired = Q(expires=None) | Q(expires__gt=timezone.now())
        return SharedValue.objects.filter(unexpired, key=self._key(key, version))

    def _key(self, key: str, version: Any) -> str:
        return self.make_and_validate_key(key, version)

    def _expires(self, timeout: Any) -> Any:
        seconds = self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout
        return None if seconds is None else timezone.now() + timedelta(seconds=seconds)


class JSONSerializer:
    """How values are stored in Redis: as JSON, which runs nothing when it is read."""

    def dumps(self, value: Any) -> bytes | int:
        # Redis counts with plain numbers only.
        return value if type(value) is int else json.dumps(value).encode()

    def loads(self, data: bytes) -> Any:
        return json.loads(data)
