"""What /metrics tells of the index of runs."""

import time
from collections.abc import Iterable

import structlog
from django.conf import settings
from django.db import DatabaseError
from django.db.models import Count
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from headers.index.models import IndexedRun, Source, Turn
from headers.index.rows import fingerprint

log = structlog.get_logger(__name__)


class IndexCollector(Collector):
    def describe(self) -> Iterable[Metric]:
        return []  # registering it asks no database

    def collect(self) -> Iterable[Metric]:
        try:
            return [*_of_catalogs(), *_of_catching_up()]
        except DatabaseError as error:
            # What else there is to know of the service is told, then above all.
            log.warning("index not read for metrics", reason=str(error))
            return []


def _of_catalogs() -> list[Metric]:
    runs, filled, available = (
        GaugeMetricFamily(f"broker_index_{name}", text, labels=["catalog"])
        for name, text in (
            ("runs", "Runs in the index"),
            ("filled", "1: the first fill is done"),
            ("available", "1: the catalog answered when it was asked last"),
        )
    )
    sources = _sources()
    rows = IndexedRun.objects.filter(source__in=sources).values_list("source")
    counts = dict(rows.annotate(Count("pk")).order_by())
    for source in sources:
        runs.add_metric([source.catalog], counts.get(source.pk, 0))
        filled.add_metric([source.catalog], source.filled)
        available.add_metric([source.catalog], source.available)
    return [runs, filled, available]


def _sources() -> list[Source]:
    """Of the catalogs as they are read now; none is made."""
    current = {(catalog.name, fingerprint(catalog)) for catalog in settings.CATALOGS}
    found = Source.objects.filter(catalog__in=[name for name, _ in current]).order_by("catalog")
    return [source for source in found if (source.catalog, source.fingerprint) in current]


def _of_catching_up() -> list[Metric]:
    text = "Seconds since the index was caught up with the catalogs"
    age = GaugeMetricFamily("broker_index_age_seconds", text)
    taken = Turn.objects.filter(pk=1).values_list("taken", flat=True).first()
    if taken is not None:
        age.add_metric([], max(0.0, time.time() - taken))
    return [age]
