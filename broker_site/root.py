"""GET /api/v1/: what there is to ask for."""

import re
from collections.abc import Iterator

from django.conf import settings
from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from broker_site.parameters import Parameters
from broker_site.schemas import ROOT

PREFIX = "api/v1/"


class RootView(APIView):
    """The routes of the API, by name. Parts of an address to fill in stand in braces."""

    required_scope = None

    @extend_schema(parameters=[Parameters], responses={200: ROOT})
    def get(self, request: Request) -> Response:
        """The version of the service, and the address of every route."""
        Parameters.of(request)
        root = request.build_absolute_uri("/")
        routes = {name: root + path for name, path in _routes()}
        documentation = {"documentation": f"{root}api/docs/", "schema": routes.pop("schema")}
        version = settings.SPECTACULAR_SETTINGS["VERSION"]
        return Response({"version": version, **documentation, "routes": routes})


def _routes() -> Iterator[tuple[str, str]]:
    for pattern in get_resolver().url_patterns:
        if isinstance(pattern, URLResolver) and str(pattern.pattern) == PREFIX:
            yield from _below(pattern, PREFIX)


def _below(resolver: URLResolver, prefix: str) -> Iterator[tuple[str, str]]:
    for pattern in resolver.url_patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _below(pattern, path)
        elif isinstance(pattern, URLPattern) and pattern.name and path != prefix:
            yield pattern.name, _template(path)


def _template(path: str) -> str:
    """`headers/<str:key>/` as `headers/{key}/`."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path)
