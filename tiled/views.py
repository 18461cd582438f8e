"""Routes of Tiled's protocol. They end without a slash, unlike the service's own."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import structlog
from django.conf import settings
from django.http import HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from broker_site import media_types
from broker_site.cursors import purpose
from broker_site.parameters import Parameters
from broker_site.problems import MEDIA_TYPE, Problem, as_problem, not_found
from broker_site.renderers import JSONRenderer
from broker_site.root import RootView
from broker_site.schemas import ROOT
from events.array_views import as_array_problem
from events.documents import Emission
from events.files.slices import Item, parse, resolve
from events.repositories import Events
from events.stream import NoSuchName
from events.streaming import etag_of, started, streamed, unchanged
from events.views import FILLED_BYTES, EventView, whole_run
from headers.finding import MAX_NEWEST, RunFinder
from headers.index.listing import TooManyValues, Wanted
from headers.index.runs import IndexedRuns
from headers.lists import Chosen
from headers.paging import Page
from headers.queries import field_path
from headers.repositories import Run
from policies.audit import note_runs, record_read
from policies.requests import access_for, guarded
from tiled import sources, wire
from tiled.about import about
from tiled.documents import SequenceWriter, writer_for
from tiled.filters import Filters, bound, parse_filters
from tiled.formats import (
    ARRAY_ALIASES,
    ARRAYS,
    HDF5,
    RUN_ALIASES,
    TABLE_ALIASES,
    TABLES,
    encoded,
    media_type,
)
from tiled.layout3 import CatalogV3, InternalNode
from tiled.nodes import (
    ArrayNode,
    CatalogNode,
    DeviceNode,
    Folder,
    Node,
    NoNode,
    RunNode,
    ValuesNode,
)
from tiled.resources import only_key, quoted, resource
from tiled.schemas import (
    ARRAY,
    CONTAINER,
    DISTINCT,
    DOCUMENTS,
    KNOWN,
    TABLE,
    TiledDistinctValues,
    TiledNodeAnswer,
    TiledNodePage,
    spoken,
)
from tiled.tables import HeldTable, Table

MAX_PAGE = 300
DEFAULT_PAGE = 100
MAX_ROWS = 1_000_000
MAX_DISTINCT = 100_000
"""values of one key"""
EVERY = "all"
EVERY_V3 = "all_v3"
RAW = "raw"
V3 = "v3"
Path = tuple[str, ...]


class AnyJSON(BaseParser):
    """JSON, whatever the Content-Type says: the clients send none."""

    media_type = "*/*"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        try:
            return json.loads(stream.read() or b"null")
        except (ValueError, RecursionError):
            raise Problem(400, "The body must be JSON.") from None


class JSONAnyway(DefaultContentNegotiation):
    """Errors are JSON; what else is sent, the views choose."""

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return JSONRenderer(), JSONRenderer.media_type


class Speaking(APIView):
    """Mixed into views: takes what the clients accept, and refuses as they understand it."""

    parser_classes: Sequence[type[BaseParser]] = [AnyJSON]
    content_negotiation_class = JSONAnyway
    schema_tag = "tiled"
    problem_media_types = (MEDIA_TYPE, media_types.JSON)
    """where no route is, the service answers as ever"""

    def get_exception_handler(self) -> Any:
        return lambda error, context: refused(error)

    def finalize_response(self, *args: Any, **kwargs: Any) -> Response:
        """With the request's id under the name that the clients quote in their errors."""
        response = super().finalize_response(*args, **kwargs)
        known = structlog.contextvars.get_contextvars()
        response["X-Tiled-Request-ID"] = known.get("request_id", "")
        return response


def refused(error: Exception) -> HttpResponse | None:
    problem = as_problem(error)
    return None if problem is None else wire.refusal(problem)


class AboutView(RootView):
    """The API's root: its routes, and all that the clients of Tiled look for."""

    def perform_content_negotiation(
        self, request: Request, force: bool = False
    ) -> tuple[BaseRenderer, str]:
        if media_types.X_MSGPACK in request.headers.get("Accept", ""):
            return JSONRenderer(), JSONRenderer.media_type
        return super().perform_content_negotiation(request, force)

    @extend_schema(parameters=[Parameters], responses={200: ROOT})
    def get(self, request: Request) -> Any:
        """The version of the service, the address of every route, and what Tiled's clients ask."""
        own = super().get(request)
        if getattr(request.accepted_renderer, "format", "") == "api":
            return own
        content = about(request.build_absolute_uri("/"), dict(own.data))
        response = wire.answer(request, content)
        response.set_cookie("tiled_csrf", "unused", httponly=True, samesite="Lax")
        return response


class NodeView(Speaking, EventView):
    """Base of the routes that answer about a node."""

    required_scope = "read:metadata"

    def handle_exception(self, error: Exception) -> Response:
        if isinstance(error, NoNode | NoSuchName):
            error = not_found()
        return super().handle_exception(as_array_problem(error))

    @property
    def api(self) -> str:
        return self.request.build_absolute_uri("/api/v1/")

    def node(self, path: str) -> Node:
        """The node at a path. Problem (404) if there is none that the caller may read."""
        parts = tuple(part for part in path.split("/") if part)
        node = root()
        for at, name in enumerate(parts):
            node = self._below(node, parts[: at + 1], name)
        return node

    def _below(self, node: Node, path: Path, name: str) -> Node:
        if isinstance(node, Folder):
            found = folder(path)
            if found is None and len(path) > 1:
                raise NoNode(name)
            return found or self._run(CatalogNode((), catalogs(None)), path, name)
        return self._run(node, path, name) if isinstance(node, CatalogNode) else node.child(name)

    def _run(self, node: CatalogNode, path: Path, name: str) -> Node:
        found = folder(path) if len(path) == 1 else None
        if found is not None:
            return found
        if name.startswith("-"):
            raise NoNode(name)
        run = RunFinder(node.catalogs, access_for(self.request)).find(name)
        if run.uid != name:
            raise NoNode(name)
        note_runs([run])
        return node.run_node(path, run)


def catalogs(name: str | None) -> tuple[Any, ...]:
    return tuple(c for c in settings.CATALOGS if name in (None, c.name))


def root() -> Node:
    every = catalogs(None)
    if len(every) == 1:
        return CatalogNode((), every)
    return Folder((), (EVERY, EVERY_V3, *(catalog.name for catalog in every)))


def folder(path: Path) -> Node | None:
    """The node of a path that the configuration alone knows."""
    if path == (EVERY,):
        return CatalogNode(path, catalogs(None))
    if path == (EVERY_V3,):
        return CatalogV3(path, catalogs(None))
    found = catalogs(path[0])
    if found and len(path) == 1:
        return Folder(path, (RAW, V3))
    layouts: dict[Path, type[CatalogNode]] = {(RAW,): CatalogNode, (V3,): CatalogV3}
    return layouts[path[1:]](path, found) if found and path[1:] in layouts else None


class LookingView(NodeView):
    """Base of the routes that tell what there is, of an open run as it is now."""

    def _below(self, node: Node, path: Path, name: str) -> Node:
        return super()._below(node, path, name).frozen()


class MetadataView(LookingView):
    @extend_schema(request=None, responses=spoken(TiledNodeAnswer) | KNOWN)
    def get(self, request: Request, node: str = "") -> HttpResponseBase:
        """A node: what it is, and where more about it is found."""
        found = self.node(node)
        count = self._count(found)
        content = {"data": resource(found, self.api, count), "error": None, "links": None}
        return wire.answer(request, content | {"meta": {}})

    def _count(self, node: Node) -> int | None:
        if not isinstance(node, CatalogNode):
            return None
        return IndexedRuns.of(node.catalogs, access_for(self.request)).count(Wanted())


class SearchView(LookingView):
    @extend_schema(request=None, responses=spoken(TiledNodePage) | KNOWN)
    def get(self, request: Request, node: str = "") -> HttpResponseBase:
        """The children of a node, one page at a time; of a catalog, those that filters select."""
        found = self.node(node)
        filters = parse_filters(request.query_params)
        if isinstance(found, CatalogNode):
            return wire.answer(request, self._runs(found, filters))
        return wire.answer(request, self._inner(found, filters))

    def _inner(self, node: Node, filters: Filters) -> dict[str, Any]:
        if filters.clauses or filters.words or filters.prefix or filters.nothing:
            below = f" Its children are {', '.join(node.names)[:200]}."
            known = below if isinstance(node, Folder) else ""
            raise Problem(400, f"Only catalogs of runs can be searched.{known}")
        fields = self.request.query_params.getlist("fields")
        children: list[Any] = []
        offset, limit = self._window()
        chosen = node.names[offset : offset + limit]
        if fields == [""]:
            children = [only_key((*node.path, name), self.api) for name in chosen]
        elif fields != ["count"]:
            nodes = {child.path[-1]: child for child in self._children(node)}
            children = [resource(nodes[name], self.api) for name in chosen if name in nodes]
        if self.request.query_params.get("select_metadata", "").lower() == "false":
            for child in children:
                child["attributes"]["metadata"] = {"selected": None}
        more = offset + limit < len(node.names)
        link = f"{self._link(node)}?page[offset]={offset + limit}&page[limit]={limit}"
        return self._page(node, children, len(node.names), link if more else None)

    def _children(self, node: Node) -> list[Node]:
        if isinstance(node, Folder):
            return [self._below(node, (*node.path, name), name) for name in node.names]
        return [child.frozen() for child in node.children()]

    def _runs(self, node: CatalogNode, filters: Filters) -> dict[str, Any]:
        chosen = _chosen(self.request, node, filters)
        fields = self.request.query_params.getlist("fields")
        page = Page([], None, None)
        if fields != ["count"]:
            page = self._page_of_runs(node, chosen)
            note_runs(page.runs)
        paths = [(run, (*node.path, str(run.key))) for run in page.runs if run.key]
        if fields == [""]:
            children = [only_key(path, self.api) for _, path in paths]
        else:
            children = [_listed(node.run_node(path, run), self.api) for run, path in paths]
        limit = self._window()[1]
        link = f"{self._link(node)}?page[cursor]={page.next}&page[limit]={limit}"
        return self._page(node, children, chosen.count(), link if page.next else None)

    def _page_of_runs(self, node: CatalogNode, chosen: Chosen) -> Page:
        given = self.request.query_params
        offset, limit = self._window()
        ordering = self._ordering()
        salt = purpose("tiled", self.request.user.pk, node.path, bound(given), ordering)
        cursor = given.get("page[cursor]")
        if offset and not cursor:
            cursor = chosen.skipped(offset, salt=salt, ordering=ordering)
            if cursor is None:
                return Page([], None, None)
        return chosen.page(limit, salt=salt, cursor=cursor, ordering=ordering, descriptors=True)

    def _ordering(self) -> str:
        keys = [key for key in self.request.query_params.getlist("sort") for key in key.split(",")]
        first = keys[0] if keys else ""
        name = first.removeprefix("-").removeprefix("start.")
        if name not in ("", "_", "time", "scan_id"):
            raise Problem(400, f"sort: by {name[:50]!r} is not served; use time or scan_id.")
        return first[: first.startswith("-")] + ("scan_id" if name == "scan_id" else "time")

    def _window(self) -> tuple[int, int]:
        given = self.request.query_params
        try:
            offset = int(given.get("page[offset]", 0))
            limit = int(given.get("page[limit]", DEFAULT_PAGE))
        except ValueError:
            raise Problem(400, "page[offset] and page[limit] take whole numbers.") from None
        if not 0 <= offset <= MAX_NEWEST or not limit >= 0:
            raise Problem(400, f"page[offset]: 0 to {MAX_NEWEST}; follow links.next beyond.")
        return offset, max(1, min(limit, MAX_PAGE))

    def _link(self, node: Node) -> str:
        return f"{self.api}search/{quoted(node.path)}"

    def _page(
        self, node: Node, data: Sequence[Any], count: int, link: str | None
    ) -> dict[str, Any]:
        links = {"self": self._link(node), "first": self._link(node), "next": link}
        return {"data": data, "error": None, "links": links, "meta": {"count": count}}


def _chosen(request: Request, node: CatalogNode, filters: Filters) -> Chosen:
    try:
        wanted = filters.wanted(node.catalogs)
    except OverflowError as error:
        raise Problem(400, f"filter: {error}") from None
    runs = IndexedRuns.of(node.catalogs, access_for(request))
    return Chosen(runs, wanted, filters.query())


def _listed(node: RunNode, api: str) -> dict[str, Any]:
    """A run in a list: without its streams, of which there may be many."""
    found = resource(replace(node, run=replace(node.run, stop=None)), api)
    found["attributes"]["metadata"] = node.metadata
    return found


class DistinctView(NodeView):
    @extend_schema(request=None, responses=spoken(TiledDistinctValues) | DISTINCT)
    def get(self, request: Request, node: str = "") -> HttpResponseBase:
        """The values of metadata keys among the selected runs."""
        found = self.node(node)
        given = request.query_params
        if not isinstance(found, CatalogNode):
            # What is below a run has no values of runs.
            nothing = {key: list[Any]() for key in given.getlist("metadata")}
            return wire.answer(request, {"metadata": nothing})
        filters = parse_filters(given)
        chosen = _chosen(request, found, filters)
        counts = given.get("counts", "false").lower() == "true"
        keys = [key.removeprefix("start.") for key in given.getlist("metadata")][:10]
        values = {f"start.{key}": _values(chosen, key, counts) for key in keys}
        record_read(request._request, [], status=200, result="facets", details={"fields": keys})
        content = {"metadata": values, "structure_families": None, "specs": None}
        return wire.answer(request, content)


def _values(chosen: Chosen, key: str, counts: bool) -> list[dict[str, Any]]:
    try:
        found = chosen.facet(field_path(key, "metadata"), every=MAX_DISTINCT)
    except TooManyValues:
        detail = f"{key} has more than {MAX_DISTINCT} values; search for fewer runs first."
        raise Problem(413, detail) from None
    return [{"value": value, "count": count if counts else None} for value, count in found]


class DataView(NodeView):
    """Base of the routes that answer with values."""

    required_scope = "read:data"

    def unchanged(self, etag: str | None) -> HttpResponseBase | None:
        """The answer 304 if the caller has this version already."""
        same = unchanged(self.request, etag)
        if same is not None:
            same["Vary"] = wire.VARY
        return same

    def answer(
        self, pieces: Iterator[bytes], media_type: str, etag: str | None, size: int | None = None
    ) -> HttpResponseBase:
        """What is sent counts for the caller's budget and the trail. size: in bytes, if known."""
        response = streamed(guarded(self.request, self._seen, pieces), media_type, etag=etag)
        if size is not None:
            response["Content-Length"] = str(size)
        response["Vary"] = wire.VARY
        if etag is None:
            response["Cache-Control"] = "no-store"
        return response

    def _documents(self, run: Run, fill: bool) -> HttpResponseBase:
        writer: SequenceWriter = writer_for(self.request)
        filling = whole_run(run, FILLED_BYTES) if fill else None
        emission = Emission(Events(run), writer, filling)
        pieces = guarded(self.request, run, started(iter(emission)))
        response = streamed(pieces, writer.media_type)
        response["Cache-Control"] = "no-store"
        return response

    _seen: Run
    """that the node belongs to"""

    def _run(self, node: CatalogNode, path: Path, name: str) -> Node:
        found = super()._run(node, path, name)
        if isinstance(found, RunNode):
            self._seen = found.run
        return found


class NodeArrayView(DataView):
    """Part of an array: little-endian values in C order."""

    by_block = False

    @extend_schema(request=None, responses=ARRAY)
    def get(self, request: Request, node: str) -> HttpResponseBase:
        found = self.node(node)
        if not isinstance(found, ArrayNode):
            raise Problem(400, "This is no array.")
        items = parse(request.query_params.get("slice", ""))
        if self.by_block:
            items = within_block(found, request.query_params.get("block", ""), items)
        self._check_expected(found, items)
        asked = request.query_params.get("format") or request.headers.get("Accept", "")
        kind = ARRAYS[media_type(asked, ARRAY_ALIASES, media_types.OCTETS)]
        etag = etag_of([self._seen], "tiled", found.linked, items, kind.media_type)
        if same := self.unchanged(etag):
            return same
        if found.values is None and found.stream is not None:
            if found.stream.rows is not None:
                items = _moved(items, [(0, length) for length in found.shape])
            size, pieces = sources.slice_of(found.stream, found.path[-1], items, kind)
            return self.answer(started(pieces, size), kind.media_type, etag, size)
        if found.values is None:
            raise NoNode(found.path[-1])
        part = sources.part_of(found.values, items)
        size = part.nbytes if kind.media_type == media_types.OCTETS else None
        return self.answer(encoded(part, kind), kind.media_type, etag, size)

    def _check_expected(self, node: ArrayNode, items: Sequence[Item]) -> None:
        selection = resolve(items, node.shape)
        expected = self.request.query_params.get("expected_shape")
        actual = ",".join(map(str, selection.shape)) or "scalar"
        if expected is not None and expected != actual:
            raise Problem(422, f"The shape is {actual}, not {expected[:100]} as was expected.")
        nbytes = math.prod(selection.shape) * node.dtype.itemsize
        if nbytes > settings.RESPONSE_BYTES:
            raise Problem(413, f"This is {nbytes} bytes; take {settings.RESPONSE_BYTES} at most.")


class BlockView(NodeArrayView):
    by_block = True


def within_block(node: ArrayNode, block: str, items: Sequence[Item]) -> tuple[Item, ...]:
    """The items of a slice of one chunk as items of the whole array."""
    try:
        places = [int(place) for place in block.split(",")] if block else []
        bounds = [
            (sum(sizes[:place]), sizes[place])
            for sizes, place in zip(node.chunks, places, strict=True)
            if place >= 0 or sizes[-1] < 0
        ]
    except (ValueError, IndexError):
        raise Problem(400, f"block: there is no block {block[:100]!r}.") from None
    if len(bounds) != len(places):
        raise Problem(400, f"block: there is no block {block[:100]!r}.")
    return _moved(items, bounds)


def _moved(items: Sequence[Item], bounds: Sequence[tuple[int, int]]) -> tuple[Item, ...]:
    """The items of a slice of a part as items of the whole. bounds: (begin, length) of its axes."""
    inner = resolve(items, [size for _, size in bounds])
    whole: list[Item] = []
    for (begin, _), axis in zip(bounds, inner.axes, strict=True):
        if isinstance(axis, int):
            whole.append(begin + axis)
        elif len(axis) == 0:
            whole.append(slice(0, 0))
        else:
            low, stop = begin + axis.start, begin + axis.stop
            whole.append(slice(low, stop if stop >= 0 else None, axis.step))
    return tuple(whole)


class ContainerView(DataView):
    reads_by_post = True

    @extend_schema(request={media_types.JSON: list[str]}, responses=CONTAINER)
    def post(self, request: Request, node: str) -> HttpResponseBase:
        """The same with the list of fields in the body."""
        if not (isinstance(request.data, list) and all(isinstance(f, str) for f in request.data)):
            raise Problem(400, "The body must be a list of fields.")
        return self._table(node, request.data)

    @extend_schema(request=None, responses=CONTAINER)
    def get(self, request: Request, node: str) -> HttpResponseBase:
        """Columns of a dataset as one Arrow file."""
        return self._table(node, request.query_params.getlist("field"))

    def _table(self, path: str, fields: Sequence[str]) -> HttpResponseBase:
        node = self.node(path)
        asked = self.request.query_params.get("format") or self.request.headers.get("Accept", "")
        if isinstance(node, RunNode):
            return self._export(node.run, asked)
        if not isinstance(node, ValuesNode | DeviceNode):
            raise Problem(406, "This is no table; its children are, and its run is served as h5.")
        return self._columns(node, list(dict.fromkeys(fields)) or node.names)

    def _columns(
        self, node: ValuesNode | DeviceNode | InternalNode, names: list[str]
    ) -> HttpResponseBase:
        asked = self.request.query_params.get("format") or self.request.headers.get("Accept", "")
        kind = media_type(asked, TABLE_ALIASES, media_types.ARROW_FILE)
        if kind == HDF5:
            _require_columns(node, names)
        etag = etag_of([self._seen], "tiled", node.linked, names, kind)
        if same := self.unchanged(etag):
            return same
        held = node.held(names) if isinstance(node, ValuesNode) else None
        table: Table | HeldTable = held or node.table(names)  # which the encoder closes
        if table.num_rows > MAX_ROWS:
            table.close()
            raise Problem(413, f"More than {MAX_ROWS} rows: read the arrays of the fields.")
        return self.answer(started(TABLES[kind](table)), kind, etag)

    def _export(self, run: Run, asked: str) -> HttpResponseBase:
        """The whole run as one file, which the service's own route writes."""
        if media_type(asked, RUN_ALIASES, SequenceWriter.media_type) != HDF5:
            return self._documents(run, False)
        address = reverse("header-export", kwargs={"key": run.key or run.uid})
        return HttpResponseRedirect(f"{address}?format=h5")


def _require_columns(node: ValuesNode | DeviceNode | InternalNode, names: Sequence[str]) -> None:
    """Of one file with all that there is, nobody expects that frames are left out."""
    if not isinstance(node, ValuesNode) or node.of_times:
        return
    known = [name for name in names if name in node.stream.data_keys]
    arrays = [name for name in known if not sources.is_column(node.stream, name)]
    if arrays:
        what = ", ".join(arrays)[:200]
        raise Problem(406, f"Arrays ({what}) are in no table: export them alone, or the run as h5.")


class NodeTableView(ContainerView):
    """Columns of the table of a stream, in the layout of Tiled's writer."""

    @extend_schema(request={media_types.JSON: list[str]}, responses=TABLE)
    def post(self, request: Request, node: str) -> HttpResponseBase:
        """The same with the list of columns in the body."""
        return super().post(request, node)

    @extend_schema(request=None, responses=TABLE)
    def get(self, request: Request, node: str) -> HttpResponseBase:
        """Columns of a table."""
        given = request.query_params
        return self._table(node, given.getlist("column") or given.getlist("field"))

    def _table(self, path: str, fields: Sequence[str]) -> HttpResponseBase:
        node = self.node(path)
        if not isinstance(node, InternalNode):
            raise Problem(400, "This is no table.")
        if self.request.query_params.get("partition", "0") != "0":
            raise Problem(400, "partition: there is one, 0.")
        return self._columns(node, list(dict.fromkeys(fields)))


class RunDocumentsView(DataView):
    @extend_schema(request=None, responses=DOCUMENTS)
    def get(self, request: Request, node: str) -> HttpResponseBase:
        """The bluesky documents of a run, as they were emitted, in pages."""
        found = self.node(node)
        if not isinstance(found, RunNode):
            raise Problem(400, "Only runs have documents.")
        return self._documents(found.run, request.query_params.get("fill", "").lower() == "true")
