"""Query parameters, checked strictly: an unknown or repeated one is an error."""

from functools import cache
from typing import Any, Self

from django.http import QueryDict
from rest_framework import serializers
from rest_framework.request import Request

ALWAYS_ACCEPTED = {"format"}


class Parameters(serializers.Serializer[Any]):
    """Base of a route's parameters. Fields are what the route accepts, and document it."""

    repeatable: tuple[str, ...] = ()

    @classmethod
    def of(cls, request: Request) -> dict[str, Any]:
        """The checked values; those not given and without default are absent."""
        return cls.checked(request.query_params)

    @classmethod
    def checked(cls, given: QueryDict) -> dict[str, Any]:
        """The same of parameters that come from elsewhere, such as a form."""
        accepted = set(cls._declared_fields) | ALWAYS_ACCEPTED
        errors = {}
        for name, values in given.lists():
            if name not in accepted:
                errors[name[:100]] = f"is unknown; accepted are {', '.join(sorted(accepted))}"
            elif len(values) > 1 and name not in cls.repeatable:
                errors[name] = "is given more than once"
        if errors:
            raise serializers.ValidationError(errors)
        data = {
            name: given.getlist(name) if name in cls.repeatable else given[name]
            for name in given
            if name not in ALWAYS_ACCEPTED
        }
        return dict(cls._checker().run_validation(data))

    @classmethod
    @cache
    def _checker(cls) -> Self:
        """One for all requests: each new one would copy every field. It keeps nothing of them."""
        return cls()


class PlainText(serializers.CharField):
    """Text that is compared as it is. A JSON object is refused: operators go into `query`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"max_length": 500, "trim_whitespace": False} | options)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        value = super().run_validation(data)
        if isinstance(value, str) and value.startswith(("{", "[")):
            raise serializers.ValidationError("takes a plain text; operators go into 'query'.")
        return value
