"""Which format an answer takes: `?format=`, else the Accept header."""

from collections.abc import Sequence

from rest_framework.exceptions import ValidationError
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer


class ContentNegotiation(DefaultContentNegotiation):
    """An unknown `format` is a wrong parameter; REST framework would say that nothing is there."""

    def filter_renderers(
        self, renderers: Sequence[BaseRenderer], format: str
    ) -> Sequence[BaseRenderer]:
        offered = [renderer for renderer in renderers if renderer.format == format]
        if not offered:
            names = ", ".join(sorted({renderer.format for renderer in renderers}))
            raise ValidationError({"format": f"is not offered here; use one of {names}."})
        return offered
