"""Routes on which documents come in."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from broker_site import media_types
from broker_site.encoding import to_json
from broker_site.openapi import answers
from broker_site.parameters import Parameters
from broker_site.problems import Problem
from headers.catalogs import Catalog
from headers.mongo import CatalogUnavailable
from headers.views import unavailable
from policies.audit import Kind, record_soon
from policies.permissions import WritesDocuments, may_write, may_write_to
from policies.requests import access_for
from tiled.views import RunDocumentsView
from writing.documents import (
    MAX_DOCUMENTS,
    MAX_MADE,
    Doc,
    Invalid,
    Item,
    Refused,
    TooMuch,
    documents_of,
    from_json,
    msgpack_items,
    ndjson_items,
)
from writing.intake import IntakeOutcome, take
from writing.parsers import AnyBody, MsgpackBody, NdjsonBody
from writing.repositories import IndexesMissing, Store
from writing.schemas import IntakeReceipt, TiledDocument

READERS: dict[str, Callable[[bytes], Iterator[Any]]] = {
    MsgpackBody.media_type: msgpack_items,
    NdjsonBody.media_type: ndjson_items,
}
TOO_MUCH = (
    f"At most {MAX_DOCUMENTS:,} documents, and {MAX_MADE:,} bytes of them as they are stored, are"
    " taken at once."
)
FOR_OPERATORS = {"Retry-After": "30"}


class WriteView(APIView):
    permission_classes = [WritesDocuments]
    parser_classes = [MsgpackBody, NdjsonBody]

    @extend_schema(
        request={
            media_types.MSGPACK: OpenApiTypes.BINARY,
            media_types.NDJSON: OpenApiTypes.STR,
        },
        responses={200: IntakeReceipt} | answers(404, 409, 413),
    )
    def post(self, request: Request, catalog: str) -> HttpResponse:
        """Store documents of one run: `[name, document]` items, one after the other.

        Sending the same again is always right. The answer to a refusal says how many items before
        it are stored.
        """
        Parameters.of(request)
        target = writable(request, catalog)
        body = _body(request)
        media_type = str(request.content_type).split(";")[0].strip().lower()
        outcome = written(request, target, READERS[media_type](body))
        state = "closed" if outcome.closed else "open"
        return Response(
            {
                "run": outcome.run,
                "accepted": outcome.accepted,
                "known": outcome.known,
                "state": state,
            }
        )


class TiledDocumentsView(RunDocumentsView):
    """The documents of a run, and where databroker's clients send one after the other."""

    parser_classes = [AnyBody]

    def get_permissions(self) -> Sequence[Any]:
        if self.request is not None and self.request.method == "POST":
            return [WritesDocuments()]
        return super().get_permissions()

    @extend_schema(
        request=TiledDocument,
        responses={200: OpenApiResponse(description="null: it is stored")} | answers(404, 413, 422),
    )
    def post(self, request: Request, node: str) -> HttpResponse:
        """Store one document, `{"name": …, "doc": …}`, in the catalog that the node is."""
        # In the tree, the runs of a catalog are its node `raw`.
        target = writable(request, node.strip("/").removesuffix("/raw"))
        written(request, target, _single(_body(request)))
        return HttpResponse(to_json(None), media_types.JSON)


def _body(request: Request) -> bytes:
    """What the parser left as it is; of an empty body REST framework makes something else."""
    given: Any = request.data
    return given if isinstance(given, bytes) else b""


def _single(body: bytes) -> Iterator[Any]:
    item = from_json(body)
    if not isinstance(item, dict) or set(item) != {"name", "doc"}:
        raise Invalid('the body must be {"name": …, "doc": …}')
    yield [item["name"], item["doc"]]


def writable(request: Request, name: str) -> Catalog:
    """The catalog of this name, if the caller may write to it."""
    if not may_write_to(request, name):
        raise Problem(403, "This token may not write to this catalog.")
    catalog = next((known for known in settings.CATALOGS if known.name == name), None)
    if catalog is None:
        raise Problem(404, f"There is no catalog {name}.")
    if catalog.metadata_write is None:
        raise Problem(403, f"Nothing is written to {name}: it has no metadata_write.")
    return catalog


def written(request: Request, catalog: Catalog, items: Iterable[Any]) -> IntakeOutcome:
    """Stores what came in. Problem says what is wrong with it, and how much is stored."""
    access = access_for(request)

    def may(start: Doc) -> bool:
        return may_write(request, catalog, access.proposal_of(catalog, start))

    try:
        documents, invalid = read(items)
        store = Store(catalog)
        store.require_indexes()
        outcome = take(store, documents, may) if documents else IntakeOutcome()
    except TooMuch as error:
        raise Problem(TooMuch.status, str(error)) from None
    except IndexesMissing as error:
        raise Problem(503, str(error), FOR_OPERATORS) from None
    except CatalogUnavailable as error:
        raise unavailable([error.catalog.name]) from error
    outcome.refused = outcome.refused or invalid
    proposal = access.proposal_of(catalog, outcome.start) if outcome.start else None
    _note(request, catalog, proposal, outcome)
    if outcome.refused:
        raise _problem(outcome.refused)
    return outcome


def read(items: Iterable[Any]) -> tuple[list[Item], Refused | None]:
    """The documents, up to the first item that is none, and what is wrong with that."""
    documents = list[Item]()
    index = size = 0
    try:
        for item in items:
            of_item = list[Item]()
            for document in documents_of(item, index):
                of_item.append(document)
                size += len(document.raw)
                if size > MAX_MADE or len(documents) + len(of_item) > MAX_DOCUMENTS:
                    raise TooMuch(TOO_MUCH)
            documents += of_item
            index += 1
    except Invalid as error:
        return documents, Refused(400, str(error), "invalid", index)
    return documents, None if documents else Refused(400, "The body is empty.", "invalid", 0)


def _problem(refused: Refused) -> Problem:
    return Problem(
        refused.status,
        refused.detail,
        reason=refused.reason,
        index=refused.index,
        accepted=refused.index,
    )


def _note(request: Request, catalog: Catalog, proposal: str | None, outcome: IntakeOutcome) -> None:
    """Tells the audit trail what is not everyday."""
    about = {"catalog": catalog.name, "run_uid": outcome.run, "proposal": proposal or ""}
    news: list[tuple[str, int, dict[str, Any]]] = []
    news += [("run began", 200, {})] if outcome.began else []
    news += [("run ended", 200, {})] if outcome.ended else []
    news += [("late documents", 200, {"count": outcome.late})] if outcome.late else []
    if refused := outcome.refused:
        # Of a 403 the trail hears by itself.
        details = {"index": refused.index, "detail": refused.detail[:500]}
        news += [(f"refused: {refused.reason}", refused.status, details)]
    for result, status, details in news:
        record_soon(
            Kind.WRITTEN, request._request, status=status, result=result, details=details, **about
        )
