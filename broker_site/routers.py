"""Addresses of viewsets."""

from rest_framework.routers import DynamicRoute, Route, SimpleRouter


class ReadingRouter(SimpleRouter):
    """For viewsets that only read. A list may be asked for by POST, too, see `reads_by_post`."""

    routes = [
        Route(
            url="{prefix}{trailing_slash}",
            mapping={"get": "list", "post": "list"},
            name="{basename}-list",
            detail=False,
            initkwargs={"suffix": "List"},
        ),
        DynamicRoute(
            url="{prefix}/{url_path}{trailing_slash}",
            name="{basename}-{url_name}",
            detail=False,
            initkwargs={},
        ),
        Route(
            url="{prefix}/{lookup}{trailing_slash}",
            mapping={"get": "retrieve"},
            name="{basename}-detail",
            detail=True,
            initkwargs={"suffix": "Detail"},
        ),
    ]

    def __init__(self) -> None:
        super().__init__(use_regex_path=False)
