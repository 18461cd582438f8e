"""Addresses of viewsets."""

from rest_framework.routers import Route, SimpleRouter


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
        *SimpleRouter.routes[1:],
    ]

    def __init__(self) -> None:
        super().__init__(use_regex_path=False)
