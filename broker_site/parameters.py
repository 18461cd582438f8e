"""A route's parameters, checked strictly: an unknown or repeated one is an error.

They come in the address, or, where they are too long for one, by POST as a JSON object: numbers and
truth values as such, several values as a list. Null and an empty list are as good as left out.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cache
from typing import Any, Self, TypeVar

from django.http import QueryDict
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.views import APIView

ALWAYS_ACCEPTED = {"format"}


class Parameters(serializers.Serializer[Any]):
    """Base of a route's parameters. Fields are what the route accepts, and document it."""

    repeatable: tuple[str, ...] = ()

    @classmethod
    def of(cls, request: Request) -> dict[str, Any]:
        """The checked values; those not given and without default are absent."""
        return cls.checked(given_with(request))

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
        data: dict[str, Any] = {}
        for name, values in given.lists():
            if name in cls.repeatable:
                data |= {name: filled} if (filled := [v for v in values if v]) else {}
            elif name not in ALWAYS_ACCEPTED:
                data[name] = given[name]
        return dict(cls._checker().run_validation(data))

    @classmethod
    @cache
    def _checker(cls) -> Self:
        """One for all requests: each new one would copy every field. It keeps nothing of them."""
        return cls()


def given_with(request: Request) -> QueryDict:
    """The parameters of the address and, where reading by POST is meant, of the body, as texts."""
    view = request.parser_context["view"]
    if request.method != "POST" or not getattr(view, "reads_by_post", False):
        return request.query_params
    body = request.data
    if not isinstance(body, dict):
        raise serializers.ValidationError("The body must be a JSON object of parameters.")
    given = request.query_params.copy()
    for name, value in body.items():
        for text in _as_texts(name, value):
            given.appendlist(name, text)
    return given


def _as_texts(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, list):
        if any(isinstance(item, list | dict) for item in value):
            raise serializers.ValidationError({name: "takes a list of plain values."})
        for item in value:
            yield from _as_texts(name, item)
    elif isinstance(value, str):
        yield value
    elif value is not None:
        yield json.dumps(value)


View = TypeVar("View", bound=type[APIView])


def also_by_post(parameters: type[Parameters], responses: Any) -> Callable[[View], View]:
    """Lets a view that reads be asked by POST, too, with its parameters as a JSON object.

    A browser's session needs its CSRF token for that, as for every POST.
    """

    def decorate(view: View) -> View:
        @extend_schema(request=parameters, responses=responses)
        def post(self: Any, request: Request, *args: Any, **kwargs: Any) -> Any:
            return self.get(request, *args, **kwargs)

        post.__doc__ = view.get.__doc__  # type: ignore[attr-defined]
        view.post = post  # type: ignore[attr-defined]
        view.reads_by_post = True  # type: ignore[attr-defined]
        return view

    return decorate


Method = TypeVar("Method", bound=Callable[..., Any])


def by_get_or_post(parameters: type[Parameters], responses: Any) -> Callable[[Method], Method]:
    """The same for a method of a viewset that is routed for both, see `ReadingRouter`."""

    def decorate(method: Method) -> Method:
        described = extend_schema(methods=["GET"], parameters=[parameters], responses=responses)
        posted = extend_schema(methods=["POST"], request=parameters, responses=responses)
        return posted(described(method))

    return decorate


def named(given: Iterable[str] | None, known: Collection[str]) -> list[str] | None:
    """The names in a list parameter, each once; None if it is not given.

    Each value is a name, or several with commas between them; a name that itself has a comma is
    recognised where it stands alone.
    """
    if given is None:
        return None
    names: dict[str, None] = {}
    for value in given:
        single = value in known or "," not in value
        names |= dict.fromkeys([value] if single else map(str.strip, value.split(",")))
    return list(names)


class Texts(serializers.ListField):
    """Texts of a repeatable parameter; the first one that is wrong is told."""

    def __init__(self, child: serializers.CharField | None = None, **options: Any) -> None:
        super().__init__(child=child or PlainText(), **options)

    def run_child_validation(self, data: list[Any]) -> list[Any]:
        return [self.child.run_validation(item) for item in data]


class PlainText(serializers.CharField):
    """Text that is compared as it is. A JSON object is refused: operators go into `query`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"max_length": 500, "trim_whitespace": False} | options)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        value = super().run_validation(data)
        if isinstance(value, str) and value.startswith(("{", "[")):
            raise serializers.ValidationError("takes a plain text; operators go into 'query'.")
        return value
