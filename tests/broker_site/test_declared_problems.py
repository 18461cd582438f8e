"""What the OpenAPI document says that a route may answer, the route answers when it comes to it.

That it answers nothing else is seen to by the client of all tests, see `conftest`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import pytest
from django.conf import LazySettings
from django.core.cache import caches
from django.db import OperationalError, connection
from drf_spectacular.drainage import GENERATOR_STATS
from rest_framework.test import APIClient

from broker_site.encoding import to_json
from headers.catalogs import Catalog
from policies.models import APIToken
from policies.tokens import Limits, longest, make_token
from tests.conftest import Actor, People, declared
from tests.documents import EPOCH, Doc, Recorder
from tests.frames import record_frames

Operation = tuple[str, str]
"""method, path"""
OPERATIONS = declared()
FRAME = {"dtype": "array", "shape": [1, 4, 4], "source": "SIM", "external": "FILESTORE:"}
ROOTS = ("/api/v1/metadata/", "/api/v1/search/", "/api/v1/distinct/")
NEVER = {
    # Of Tiled's tree: read by the views of all nodes, but always there.
    **{("get", root): {404, 413, 422} for root in ROOTS},
    # The view has other methods, which tokens may not use.
    ("get", "/api/v1/auth/apikey"): {403},
}


def operations(status: int) -> Iterator[Operation]:
    for operation, statuses in OPERATIONS.items():
        if status in statuses - NEVER.get(operation, set()):
            yield operation


@dataclass
class World:
    """What addresses are made with, by the part of the path."""

    run: str
    descriptor: str
    event: str
    event_without_value: str
    token: APIToken
    frames: dict[int, dict[str, str]] = field(default_factory=dict)
    """status with which its file is refused → run, descriptor and event"""


@pytest.fixture
def world(recorder: Recorder, people: People) -> World:
    run = recorder.run("312000", uid="12345678-0000-4000-8000-000000000000")
    recorder.run("312000", uid="12345678-1111-4000-8000-000000000000")
    descriptor = recorder.descriptor(run, name="monitor")
    events = recorder.events(descriptor, 2)
    recorder.insert("csx", "event", events[0] | {"uid": "lacking", "data": {}, "seq_num": 3})
    token, _ = make_token(people.dan, "some", Limits(["read:data"]), longest(people.dan))
    made = World(run, descriptor, events[0]["uid"], "lacking", token)
    for status, spec in ((410, "AD_HDF5"), (501, "NO_SUCH_SPEC")):
        made.frames[status] = record_refused(recorder, str(status), spec)
    return made


def record_refused(recorder: Recorder, name: str, spec: str) -> dict[str, str]:
    """A run whose only field is in a file that is not there, or of a kind that nobody reads."""
    run = f"run-{name}"
    start = {"uid": run, "time": EPOCH, "data_session": "pass-312000"}
    recorder.insert("csx", "run_start", start)
    descriptor = recorder.descriptor(run, name="camera", data_keys={"image": FRAME})
    place: Doc = {"root": "/facility/data", "resource_path": f"{name}.h5", "spec": spec}
    resource: Doc = {"uid": name, "run_start": run, "resource_kwargs": {"frame_per_point": 1}}
    recorder.insert("csx", "resource", {**place, **resource, "path_semantics": "posix"})
    kwargs = {"datum_kwargs": {"point_number": 0}}
    recorder.insert("csx", "datum", {"datum_id": f"{name}/0", "resource": name, **kwargs})
    taken: Doc = {"data": {"image": f"{name}/0"}, "timestamps": {"image": EPOCH}, "filled": {}}
    event: Doc = {"uid": f"event-{name}", "descriptor": descriptor, "seq_num": 1, "time": EPOCH}
    recorder.insert("csx", "event", event | taken)
    return {"run": run, "descriptor": descriptor, "event": event["uid"]}


@dataclass
class Caller:
    """Asks a route as its address and the world say, or with something wrong in it."""

    world: World
    client: APIClient
    by_token: APIClient | None = None
    """for what people do not do"""

    def __call__(
        self,
        operation: Operation,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str | None = None,
        headers: dict[str, str] | None = None,
        parts: Mapping[str, str] | None = None,
    ) -> Any:
        method, path = operation
        parts = parts or {}
        run = parts.get("key", self.world.run)
        node = f"csx/raw/{run}"
        if path.startswith("/api/v1/table/"):
            node = f"csx/v3/{run}/monitor/internal"
        elif path.startswith(("/api/v1/array/", "/api/v1/container/")):
            node += f"/monitor/data{'/det' if 'array' in path else ''}"
        uid = self.world.event if "/events/" in path else self.world.descriptor
        known = {"uid": uid, "stream": "monitor", "field": "det", "catalog": "csx", "key": run}
        address = path.format(**{"node": node, "id": str(self.world.token.pk), **known, **parts})
        query = dict(query or {})
        if path == "/api/v1/events/":
            query.setdefault("descriptor", self.world.descriptor)
        if path.endswith("/facets/"):
            query.setdefault("fields", "plan_name")
        if path == "/api/v1/headers/live/" or query.pop("after", None) == "":
            query["after"] = ""
        if path.startswith("/api/v1/array/block/"):
            query.setdefault("block", "0")
        sent, kind = body_of(operation, query, body)
        if sent is None or path in AS_TILED:
            address += "?" + "&".join(f"{name}={value}" for name, value in query.items())
        client = self.client
        if self.by_token and (is_written(operation) or operation == ASKS_OF_ITSELF):
            client = self.by_token
        generic: Any = client.generic
        return generic(method.upper(), address, sent or b"", content_type or kind, headers=headers)


FILLS = {
    *{("get", "/api/v1/headers/{key}/documents/"), ("get", "/api/v1/documents/{node}")},
    *{(method, "/api/v1/events/") for method in ("get", "post")},
}
AS_TILED = ("/api/v1/container/full/{node}", "/api/v1/table/full/{node}")
ASKS_OF_ITSELF = ("get", "/api/v1/auth/apikey")
TILED: Doc = {"name": "start", "doc": {"uid": "new", "time": EPOCH}}


def is_written(operation: Operation) -> bool:
    method, path = operation
    return method == "post" and path.endswith(("{catalog}/documents/", "/documents/{node}"))


def body_of(operation: Operation, query: Mapping[str, str], body: Any) -> tuple[bytes | None, str]:
    method, path = operation
    if method != "post":
        return None, "application/json"
    if path.startswith("/api/v1/catalogs/"):
        documents = body if body is not None else [["start", {"uid": "new", "time": EPOCH}]]
        return b"".join(map(msgpack.packb, documents)), "application/msgpack"
    if path.endswith("/password/token"):
        return b"username=alice&password=wrong", "application/x-www-form-urlencoded"
    bodies: dict[str, Any] = {
        "/api/v1/documents/{node}": TILED,
        "/api/v1/auth/token/": {"username": "alice", "password": "wrong"},
        "/api/v1/auth/token/refresh/": {"refresh": "nonsense"},
        "/api/v1/auth/session/refresh": {"refresh_token": "nonsense"},
        "/api/v1/auth/session/revoke": {"refresh_token": "nonsense"},
        "/api/v1/auth/api-tokens/": {"name": "mine", "scopes": ["read:data"]},
        "/api/v1/auth/device/token/": {"device_code": "nonsense"},
        "/api/v1/auth/provider/browser/token": {"device_code": "nonsense"},
    }
    fields = ["det"] if path.startswith(("/api/v1/container/", "/api/v1/table/")) else query
    return to_json(bodies.get(path, fields) if body is None else body), "application/json"


def token_of(people: People, *scopes: str, catalog: str = "csx") -> APIClient:
    limits = Limits(list(scopes), catalogs=[catalog])
    _, text = make_token(people.dan, "some", limits, longest(people.dan))
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    return client


@pytest.fixture
def ask(world: World, people: People, acting_as: Actor) -> Caller:
    return Caller(world, acting_as("dan"), token_of(people, "write:documents"))


def check(status: int, answer: Callable[[Operation], Any]) -> None:
    """Every route that declares the status gives it."""
    found = {operation: answer(operation).status_code for operation in operations(status)}
    assert found
    wrong = {" ".join(operation): got for operation, got in found.items() if got != status}
    assert wrong == {}, f"declare {status}, but answer"


def test_drf_spectacular_has_nothing_to_warn_of() -> None:
    assert OPERATIONS
    assert not GENERATOR_STATS


def test_302_303_and_307(ask: Caller) -> None:
    def elsewhere(operation: Operation) -> Any:
        path = operation[1]
        if path.startswith("/api/v1/container/"):
            return ask(operation, {"format": "h5"}, parts={"node": f"csx/raw/{ask.world.run}"})
        if path.endswith("/table/"):
            parts = {"key": ask.world.frames[410]["run"], "stream": "camera"}
            return ask(operation, {"fields": "image", "format": "json"}, parts=parts)
        return ask(operation, {"format": "csv"})

    check(302, elsewhere)
    check(307, elsewhere)
    check(303, elsewhere)


def test_304(ask: Caller) -> None:
    def again(operation: Operation) -> Any:
        first = ask(operation)
        assert first.has_header("ETag"), operation
        return ask(operation, headers={"If-None-Match": first["ETag"]})

    check(304, again)


def test_400(ask: Caller) -> None:
    """An unknown parameter, where they are checked, or else the name of another host."""

    def wrong(operation: Operation) -> Any:
        odd = ask(operation, {"nonsense": "1"})
        return odd if odd.status_code == 400 else ask(operation, headers={"Host": "evil.example"})

    check(400, wrong)


def test_401(world: World) -> None:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION="Bearer nonsense")
    check(401, Caller(world, client))


def test_403(world: World, people: People) -> None:
    """API tokens that lack the scope; none is for signing in and out."""
    check(403, Caller(world, token_of(people, "no:scope")))


def test_404(ask: Caller, people: People) -> None:
    names = {"key": "99999999", "uid": "no-such-uid", "id": "999", "node": "csx/raw/no-such-run"}
    queries = {
        "/api/v1/events/": {"descriptor": "no-such-uid"},
        "/api/v1/auth/apikey": {"first_eight": "0"},
        "/api/v1/headers/archive/": {"run": "no-such-uid"},
        "/api/v1/headers/archive/size/": {"run": "no-such-uid"},
    }
    elsewhere = {"catalog": "gone", "node": "gone"}
    without_catalog = Caller(ask.world, token_of(people, "write:documents", catalog="gone"))

    def missing(operation: Operation) -> Any:
        if is_written(operation):
            return without_catalog(operation, parts=elsewhere)
        return ask(operation, queries.get(operation[1]), parts=names)

    check(404, missing)


def test_406(ask: Caller) -> None:
    def unknown(operation: Operation) -> Any:
        answer = ask(operation, headers={"Accept": "image/x-none"})
        return answer if answer.status_code == 406 else ask(operation, {"format": "none"})

    check(406, unknown)


def test_409(ask: Caller, writable: Catalog) -> None:
    def conflicting(operation: Operation) -> Any:
        if not is_written(operation):
            return ask(operation, parts={"key": "12345678", "uid": "lacking"})
        started = ("start", {"uid": "twice", "time": EPOCH})
        ask(operation, body=[started])
        return ask(operation, body=[("start", started[1] | {"scan_id": 2})])

    check(409, conflicting)


@pytest.mark.parametrize("status", [410, 501])
def test_files_that_are_not_served(status: int, ask: Caller) -> None:
    frames = ask.world.frames[status]

    def refused(operation: Operation) -> Any:
        path = operation[1]
        uid = frames["event" if path.endswith("/data/{field}/") else "descriptor"]
        parts = {"key": frames["run"], "uid": uid, "stream": "camera", "field": "image"}
        node = f"csx/raw/{frames['run']}/camera/data"
        nodes = {"documents": "csx/raw/" + frames["run"], "array": f"{node}/image"}
        parts["node"] = nodes.get(path.split("/")[3], node)
        if path.startswith("/api/v1/array/block/"):
            return ask(operation, {"block": "0,0,0,0"}, parts=parts)
        query = {"fill": "true"} if operation in FILLS else {}
        if path == "/api/v1/events/":
            query["descriptor"] = frames["descriptor"]
        if path.endswith("/export/"):
            query["format"] = "h5"
        return ask(operation, query, parts=parts)

    check(status, refused)


def test_413(
    ask: Caller,
    recorder: Recorder,
    data_folder: Path,
    settings: LazySettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = record_frames(recorder, "frames", 1)
    settings.RESPONSE_BYTES = settings.INLINE_BYTES = 4
    monkeypatch.setattr("writing.views.MAX_DOCUMENTS", 0)
    monkeypatch.setattr("tiled.views.MAX_ROWS", 0)
    monkeypatch.setattr("tiled.views.MAX_DISTINCT", 0)
    monkeypatch.setattr("events.archive_views.MAX_RUNS", 0)

    def large(operation: Operation) -> Any:
        path = operation[1]
        if is_written(operation):
            return ask(operation, parts={"node": "csx"})
        query = {"fill": "true"} if operation in FILLS else {}
        query |= {"descriptor": image} if path == "/api/v1/events/" else {}
        query |= {"format": "h5"} if path.endswith("/export/") else {}
        query |= {"metadata": "plan_name"} if "/distinct/" in path else {}
        parts = {"node": "csx/raw"} if "/distinct/" in path else {"key": run}
        return ask(operation, query, parts=parts if query else {})

    (image,) = (
        str(descriptor["uid"])
        for descriptor in ask.client.get(f"/api/v1/headers/{run}/").json()["descriptors"]
        if "image" in descriptor["data_keys"]
    )

    check(413, large)


def test_415(world: World, people: People, acting_as: Actor) -> None:
    def other(operation: Operation) -> Any:
        # A new session for each, as one of the routes ends it.
        ask = Caller(world, acting_as("dan"), token_of(people, "write:documents"))
        return ask(operation, content_type="text/x-none")

    check(415, other)


def test_422(ask: Caller, writable: Catalog) -> None:
    def unexpected(operation: Operation) -> Any:
        if is_written(operation):
            ask(operation, parts={"node": "csx"})
            other = {"name": "start", "doc": TILED["doc"] | {"scan_id": 2}}
            return ask(operation, body=other, parts={"node": "csx"})
        if "/array/" in operation[1]:
            return ask(operation, {"expected_shape": "9,9"})
        return ask(operation, parts={"node": "csx/raw/12345678", "key": "12345678"})

    check(422, unexpected)


def test_429(ask: Caller, world: World, acting_as: Actor, settings: LazySettings) -> None:
    settings.REQUESTS_ANON = settings.REQUESTS_USER = 1

    def again(operation: Operation) -> Any:
        caches["counters"].clear()
        callers = [Caller(world, acting_as("dan"), ask.by_token), Caller(world, APIClient())]
        answers = [caller(operation) for _ in range(2) for caller in callers]
        return max(answers[2:], key=lambda answer: answer.status_code == 429)

    check(429, again)


def test_503(ask: Caller) -> None:
    def away(*arguments: Any) -> Any:
        raise OperationalError("the server closed the connection")

    def without_database(operation: Operation) -> Any:
        with connection.execute_wrapper(away):
            return ask(operation)

    ask.client.raise_request_exception = False
    check(503, without_database)


def test_every_status_is_tried() -> None:
    tried = {302, 303, 304, 307, 400, 401, 403, 404, 406, 409, 410, 413, 415, 422, 429, 501, 503}
    assert set().union(*OPERATIONS.values()) - {200, 201, 204} == tried
