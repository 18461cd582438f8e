"""Which format an answer takes: `?format=`, else the Accept header."""

from collections.abc import Iterable

from rest_framework.exceptions import NotAcceptable, ValidationError
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request


class ContentNegotiation(DefaultContentNegotiation):
    """An unknown `format` is a wrong parameter; REST framework would say that nothing is there."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        offered = list(renderers)
        if "format" not in request.query_params and _takes(request, offered[0]):
            return offered[0], offered[0].media_type
        try:
            chosen: tuple[BaseRenderer, str]
            chosen = super().select_renderer(request, offered, format_suffix)
        except NotAcceptable:
            types = ", ".join(renderer.media_type for renderer in offered)
            raise NotAcceptable(f"Accept names none of what is offered here: {types}.") from None
        return chosen

    def filter_renderers(
        self, renderers: Iterable[BaseRenderer], format: str
    ) -> list[BaseRenderer]:
        offered = [renderer for renderer in renderers if renderer.format == format]
        if not offered:
            names = ", ".join(sorted({renderer.format for renderer in renderers}))
            raise ValidationError({"format": f"is not offered here; use one of {names}."})
        return offered


def _takes(request: Request, renderer: BaseRenderer) -> bool:
    """Whether the Accept header says so plainly, as that of nearly every program does."""
    return request.META.get("HTTP_ACCEPT", "*/*") in ("*/*", renderer.media_type)
