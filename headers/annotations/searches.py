"""Filters of the list of runs that people keep under a name. Each sees their own."""

from typing import Any

from django.db import transaction
from django.http import HttpResponse, HttpResponseRedirect, QueryDict
from django.urls import reverse
from rest_framework import serializers
from rest_framework.parsers import FormParser, MultiPartParser
from rest_framework.request import Request

from broker_site.parameters import Parameters
from broker_site.problems import Problem
from headers.annotations.marks import Person
from headers.annotations.models import MAX_NAME, MAX_QUERY, SavedSearch
from headers.chips import changed, filled_in
from headers.pages import PageView
from policies.models import User
from policies.permissions import OwnTokens

MOST = 50
LEFT_OUT = ("cursor", "page_size", "fields", "include", "format")


class NewSearch(serializers.Serializer[object]):
    name = serializers.CharField(max_length=MAX_NAME)
    query = serializers.CharField(max_length=MAX_QUERY, allow_blank=True)


class OldSearch(serializers.Serializer[object]):
    remove = serializers.IntegerField(min_value=1, max_value=2**63 - 1)


def saved_searches(person: Person) -> list[SavedSearch]:
    if not isinstance(person, User):
        return []
    return list(SavedSearch.objects.filter(user=person).order_by("name")[:MOST])


class SavedSearchesPage(PageView):
    """Keeps a search, or forgets one, and goes back to the list with it."""

    permission_classes = (OwnTokens,)
    parser_classes = (FormParser, MultiPartParser)
    http_method_names = ("get", "head", "post")

    def get(self, request: Request) -> HttpResponse:
        Parameters.of(request)
        return HttpResponseRedirect(reverse("runs"))

    def post(self, request: Request) -> HttpResponse:
        person = request.user
        if not isinstance(person, User):
            raise Problem(403, "Sign in first.")
        if "remove" in request.data:
            number = _valid(OldSearch, request.data)["remove"]
            SavedSearch.objects.filter(user=person, pk=number).delete()
            return HttpResponseRedirect(reverse("runs"))
        given = _valid(NewSearch, request.data)
        query = _filters_of(given["query"])
        _keep(person, given["name"], query)
        return HttpResponseRedirect(f"{reverse('runs')}?{query}")


def _valid(serializer: type[serializers.Serializer[Any]], form: Any) -> dict[str, Any]:
    given = serializer(data={name: form[name] for name in serializer().fields if name in form})
    given.is_valid(raise_exception=True)
    return dict(given.validated_data)


def _filters_of(query: str) -> str:
    """The filters of an address, written anew: what comes from a form is no address yet."""
    try:
        given = filled_in(QueryDict(query, mutable=True))
    except ValueError:  # too many of them
        raise Problem(400, "query: is not of the list's address.") from None
    return changed(given, **dict.fromkeys(LEFT_OUT)).urlencode()


def _keep(person: User, name: str, query: str) -> None:
    with transaction.atomic():
        own = SavedSearch.objects.filter(user=person)
        if own.count() >= MOST and not own.filter(name=name).exists():
            raise Problem(409, f"You have {MOST} searches; remove one first.")
        SavedSearch.objects.update_or_create(user=person, name=name, defaults={"query": query})
