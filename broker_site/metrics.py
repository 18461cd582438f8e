"""Prometheus metrics of all worker processes at `/metrics`."""

import os

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_safe
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Histogram,
    generate_latest,
    multiprocess,
)
from prometheus_client.registry import Collector

from broker_site.problems import not_found, problem_response
from policies.addresses import client_address

METHODS = {"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}
REQUESTS = Histogram(
    "broker_request_seconds",
    "Time until the answer began, by method, route and status",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)

_collectors: list[Collector] = []


def add_collector(collector: Collector) -> None:
    """Figures that are looked up when they are asked for, and are the same for all processes."""
    _collectors.append(collector)


def observe(request: HttpRequest, response: HttpResponse, seconds: float) -> None:
    match = request.resolver_match
    route = match.route if match else "unknown"  # a pattern: what was asked for is not kept
    # A method can be any word: each that is kept would be one more series, for ever.
    method = request.method if request.method in METHODS else "other"
    REQUESTS.labels(method, route, response.status_code).observe(seconds)


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """For the addresses of BROKER_METRICS_ALLOWED, or with the token BROKER_METRICS_TOKEN."""
    if not (_allowed_address(request) or _has_token(request)):
        return problem_response(not_found())
    return HttpResponse(generate_latest(_registry()), content_type=CONTENT_TYPE_LATEST)


def _registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry.register(REGISTRY)
    for collector in _collectors:
        registry.register(collector)
    return registry


def _allowed_address(request: HttpRequest) -> bool:
    address = client_address(request)
    return address is not None and any(address in network for network in settings.METRICS_ALLOWED)


def _has_token(request: HttpRequest) -> bool:
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    expected: str = settings.METRICS_TOKEN
    return bool(expected) and constant_time_compare(given, expected)
