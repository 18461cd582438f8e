"""Routes of the notes, stars and tags of a run, under /api/v1/headers/{key}/ and as page forms."""

import re
from typing import Any

from django.http import HttpResponse, HttpResponseRedirect
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotAuthenticated
from rest_framework.parsers import FormParser, MultiPartParser
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.response import Response

from broker_site.openapi import answers
from broker_site.parameters import Parameters
from broker_site.problems import Problem
from headers.annotations import marks
from headers.annotations.models import MAX_NOTE, MAX_TAG
from headers.pages import PageView
from headers.repositories import Run
from headers.views import RunView
from policies.models import APIToken, User
from policies.permissions import ReadOnly
from policies.requests import access_for

NAMED = answers(404, 409)
"""what routes answer whose key names a run and that do not ask what a caller has already"""
_CONTROL = re.compile(r'[\x00-\x1f\x7f-\x9f"\u2028\u2029]')


class WritesAnnotations(ReadOnly):
    """Whoever may read a run, its notes; written in a session of one's own, by no API token."""

    message = "Notes, stars and tags are written by who has signed in, not with an API token."

    def has_permission(self, request: Request, view: Any) -> bool:
        if request.method in SAFE_METHODS or request.method not in view.allowed_methods:
            return super().has_permission(request, view)
        return isinstance(request.user, User) and not isinstance(request.auth, APIToken)


def _writer(request: Request) -> User:
    """Who has signed in; nobody else comes as far as this."""
    if not isinstance(request.user, User):
        raise NotAuthenticated
    return request.user


class TagName(serializers.CharField):
    """One line, case folded, so that a tag is the same however it is typed."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"max_length": MAX_TAG} | options)

    def to_internal_value(self, data: Any) -> str:
        name = " ".join(super().to_internal_value(data).split()).casefold()
        if not name or _CONTROL.search(name):
            raise serializers.ValidationError("is one line of text without quotes.")
        return name


class TagParameters(Parameters):
    name = TagName()


class NoteParameters(Parameters):
    id = serializers.IntegerField(min_value=1, max_value=2**63 - 1)


class NoteText(serializers.CharField):
    """Lines as programs end them: browsers send two characters for each end."""

    def to_internal_value(self, data: Any) -> str:
        return super().to_internal_value(data).replace("\r\n", "\n")


class NewNote(serializers.Serializer[object]):
    text = NoteText(max_length=MAX_NOTE)


class NewTag(serializers.Serializer[object]):
    name = TagName()


class Tag(serializers.Serializer[Any]):
    name = serializers.CharField()
    author = serializers.CharField(help_text="user name")
    created = serializers.DateTimeField()


class Note(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    text = serializers.CharField(help_text="plain text")
    author = serializers.CharField(help_text="user name")
    created = serializers.DateTimeField()


class Star(serializers.Serializer[object]):
    starred = serializers.BooleanField()


class Tags(serializers.Serializer[object]):
    tags = Tag(many=True)


class Notes(serializers.Serializer[object]):
    notes = Note(many=True)


class AnnotationView(RunView):
    permission_classes = (WritesAnnotations,)

    def checked(self, serializer: type[serializers.Serializer[Any]]) -> dict[str, Any]:
        given = serializer(data=self.request.data)
        given.is_valid(raise_exception=True)
        return dict(given.validated_data)


class StarView(AnnotationView):
    @extend_schema(responses={200: Star} | NAMED)
    def get(self, request: Request, key: str) -> Response:
        """Whether you have starred this run. Nobody else sees that."""
        Parameters.of(request)
        return Response({"starred": marks.marks_of(self.run(key), request.user).starred})

    @extend_schema(request=None, responses={200: Star} | NAMED)
    def put(self, request: Request, key: str) -> Response:
        """Stars the run."""
        Parameters.of(request)
        marks.set_star(self.run(key), _writer(request), True)
        return Response({"starred": True})

    @extend_schema(request=None, responses={200: Star} | NAMED)
    def delete(self, request: Request, key: str) -> Response:
        """Takes your star away."""
        Parameters.of(request)
        marks.set_star(self.run(key), _writer(request), False)
        return Response({"starred": False})


class TagsView(AnnotationView):
    @extend_schema(responses={200: Tags} | NAMED)
    def get(self, request: Request, key: str) -> Response:
        """The tags of the run."""
        Parameters.of(request)
        return self._answer(self.run(key))

    @extend_schema(request=NewTag, responses={201: Tags} | NAMED)
    def post(self, request: Request, key: str) -> Response:
        """Tags the run, for all who may read it."""
        run = self.run(key)
        name = self.checked(NewTag)["name"]
        marks.add_tag(run, _writer(request), access_for(request), name)
        return self._answer(run, 201)

    @extend_schema(parameters=[TagParameters], request=None, responses={200: Tags} | NAMED)
    def delete(self, request: Request, key: str) -> Response:
        """Takes the tag of this name away."""
        run = self.run(key)
        name = TagParameters.of(request)["name"]
        marks.remove_tag(run, _writer(request), access_for(request), name)
        return self._answer(run)

    def _answer(self, run: Run, status: int = 200) -> Response:
        found = marks.marks_of(run, self.request.user)
        return Response({"tags": Tag(found.tags, many=True).data}, status)


class NotesView(AnnotationView):
    @extend_schema(responses={200: Notes} | NAMED)
    def get(self, request: Request, key: str) -> Response:
        """The notes about the run, oldest first."""
        Parameters.of(request)
        found = marks.marks_of(self.run(key), request.user)
        return Response({"notes": Note(found.notes, many=True).data})

    @extend_schema(request=NewNote, responses={201: Note} | NAMED)
    def post(self, request: Request, key: str) -> Response:
        """Adds a note, a plain text, for all who may read the run."""
        run = self.run(key)
        text = self.checked(NewNote)["text"]
        note = marks.add_note(run, _writer(request), access_for(request), text)
        return Response(Note(note).data, 201)

    @extend_schema(parameters=[NoteParameters], request=None, responses={204: None} | NAMED)
    def delete(self, request: Request, key: str) -> Response:
        """Removes a note of yours."""
        run = self.run(key)
        number = NoteParameters.of(request)["id"]
        marks.remove_note(run, _writer(request), access_for(request), number)
        return Response(status=204)


class AnnotationsPage(PageView):
    """The same by forms: one thing at a time, and back to the run's page."""

    permission_classes = (WritesAnnotations,)
    parser_classes = (FormParser, MultiPartParser)
    http_method_names = ("get", "head", "post")

    def get(self, request: Request, key: str) -> HttpResponse:
        Parameters.of(request)
        return self.page("runs/annotations_page.html", {"run": self.run(key)})

    def post(self, request: Request, key: str) -> HttpResponse:
        run = self.run(key)
        self._do(run, _writer(request), request.data)
        return HttpResponseRedirect(f"{reverse('run', args=[run.key or key])}#annotations")

    def _do(self, run: Run, person: User, form: Any) -> None:
        access = access_for(self.request)
        match form.get("do"):
            case "star" | "unstar" as which:
                marks.set_star(run, person, which == "star")
            case "tag":
                marks.add_tag(run, person, access, _valid(NewTag, form)["name"])
            case "untag":
                marks.remove_tag(run, person, access, _valid(NewTag, form)["name"])
            case "note":
                marks.add_note(run, person, access, _valid(NewNote, form)["text"])
            case "remove-note":
                marks.remove_note(run, person, access, _valid(NoteParameters, form)["id"])
            case _:
                raise Problem(400, "do: is one of star, unstar, tag, untag, note, remove-note.")


def _valid(serializer: type[serializers.Serializer[Any]], form: Any) -> dict[str, Any]:
    fields = serializer().fields
    given = serializer(data={name: form.get(name) for name in fields if name in form})
    given.is_valid(raise_exception=True)
    return dict(given.validated_data)
