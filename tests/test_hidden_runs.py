"""What a caller may not read does not exist for them, on any route, in any answer.

A route that is added under /api/v1/, /runs/ or /compare/ goes into one of the three tables below;
the first test fails until it is there.
"""

import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from dataclasses import field as dataclass_field
from datetime import timedelta
from random import randrange
from typing import Any

import pytest
from django.http import HttpResponseBase
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone
from rest_framework.test import APIClient

from policies.models import Membership, Proposal
from tests.conftest import Actor, Commands, People
from tests.documents import Doc, Recorder, proposal_fields

# Routes that lead to one run: addresses with the names of something that is hidden, see Names.
HIDDEN: dict[str, list[str]] = {
    "api/v1/headers/<str:key>/": [
        "/api/v1/headers/{key}/",
        "/api/v1/headers/{key}/?unknown=1",
    ],
    "api/v1/headers/<str:key>/streams/": ["/api/v1/headers/{key}/streams/"],
    "api/v1/headers/<str:key>/documents/": [
        "/api/v1/headers/{key}/documents/",
        "/api/v1/headers/{key}/documents/?fill=true",
        "/api/v1/headers/{key}/documents/?format=bson",
        "/api/v1/headers/{key}/documents/?format=msgpack",
        "/api/v1/headers/{key}/documents/?follow=true",
        "/api/v1/headers/{key}/documents/?follow=true&streams=no-such-stream",
        "/api/v1/headers/{key}/documents/?after=",
        "/api/v1/headers/{key}/documents/?after=x",
    ],
    "api/v1/headers/<str:key>/thumbnail/": ["/api/v1/headers/{key}/thumbnail/"],
    "api/v1/headers/<str:key>/export/": [
        "/api/v1/headers/{key}/export/?format=h5",
        "/api/v1/headers/{key}/export/?format=ndjson",
    ],
    "api/v1/headers/<str:key>/streams/<path:stream>/table/": [
        f"/api/v1/headers/{{key}}/streams/{{stream}}/table/?format={format}"
        for format in ("arrow", "parquet", "csv", "json", "ndjson", "msgpack")
    ],
    "api/v1/headers/<str:key>/streams/<path:stream>/data/<path:field>/": [
        "/api/v1/headers/{key}/streams/{stream}/data/{field}/",
        "/api/v1/headers/{key}/streams/{stream}/data/{field}/?slice=0:1&format=json",
        "/api/v1/headers/{key}/streams/{stream}/data/{field}/?slice=0:1&reduce=sum",
        "/api/v1/headers/{key}/streams/{stream}/data/{field}/?reduce=max&mask_above=1",
        "/api/v1/headers/{key}/streams/{stream}/data/{field}/?slice=nonsense",
        "/api/v1/headers/{key}/streams/{stream}/data/no-such-field/",
    ],
    "api/v1/descriptors/<str:uid>/": ["/api/v1/descriptors/{descriptor}/"],
    "api/v1/events/": [
        "/api/v1/events/?descriptor={descriptor}",
        "/api/v1/events/?descriptor={descriptor}&descriptor=other&fields=det",
        "/api/v1/events/?descriptor={descriptor}&fill=true",
    ],
    "api/v1/events/<str:uid>/data/<path:field>/": [
        "/api/v1/events/{event}/data/{field}/",
        "/api/v1/events/{event}/data/{field}/?reduce=mean",
        "/api/v1/events/{event}/data/no-such-field/",
    ],
    "runs/<str:key>/": ["/runs/{key}/", "/runs/{key}/?y={field}&scale=log"],
    "runs/<str:catalog>/<int:scan_id>/": [
        "/runs/csx/{scan_id}/",
        "/runs/hxn/{scan_id}/",
        "/runs/no-such-catalog/{scan_id}/",
    ],
    "compare/": ["/compare/?run={key}", "/compare/?run={key}&run=other&mode=waterfall"],
    "runs/<str:key>/preview/": ["/runs/{key}/preview/"],
    "runs/<str:key>/annotations/": ["/runs/{key}/annotations/"],
    "api/v1/headers/<str:key>/star/": ["/api/v1/headers/{key}/star/"],
    "api/v1/headers/<str:key>/tags/": ["/api/v1/headers/{key}/tags/"],
    "api/v1/headers/<str:key>/notes/": ["/api/v1/headers/{key}/notes/"],
    "runs/<str:key>/neighbours/": ["/runs/{key}/neighbours/", "/runs/{key}/neighbours/?unknown=1"],
    "api/v1/metadata/<path:node>": [
        "/api/v1/metadata/{key}",
        "/api/v1/metadata/all/{key}",
        "/api/v1/metadata/all/{key}/{stream}/data/{field}",
        "/api/v1/metadata/all/{key}/_stream_names",
        "/api/v1/metadata/all_v3/{key}/{stream}/internal/{field}",
        "/api/v1/metadata/csx/v3/{key}",
        "/api/v1/metadata/csx/v3/{key}/{stream}",
        "/api/v1/metadata/csx/v3/{key}/_stream_names",
        "/api/v1/metadata/csx/v3/{key}/{stream};rows=1/internal",
        "/api/v1/metadata/csx/raw/{key}/{stream};rows=1/data/{field}",
        "/api/v1/metadata/csx/raw/{key}/no-such-stream",
    ],
    "api/v1/search/<path:node>": [
        "/api/v1/search/all/{key}",
        "/api/v1/search/all/{key}?fields=count",
        "/api/v1/search/all/{key}/{stream}/data?fields=",
        "/api/v1/search/csx/v3/{key}",
        "/api/v1/search/csx/v3/{key}/{stream}?select_metadata=false",
    ],
    "api/v1/distinct/<path:node>": [
        "/api/v1/distinct/all/{key}?metadata=plan_name",
        "/api/v1/distinct/csx/v3/{key}?metadata=plan_name",
    ],
    "api/v1/array/full/<path:node>": [
        "/api/v1/array/full/all/{key}/{stream}/data/{field}",
        "/api/v1/array/full/all/{key}/{stream}/data/{field}?slice=0:1&expected_shape=9",
        "/api/v1/array/full/all/{key}/{stream}/timestamps/no-such-field",
        "/api/v1/array/full/csx/v3/{key}/{stream}/internal/{field}",
        "/api/v1/array/full/csx/raw/{key}/{stream};rows=1/data/{field}",
    ],
    "api/v1/array/block/<path:node>": [
        "/api/v1/array/block/all/{key}/{stream}/data/{field}?block=0",
        "/api/v1/array/block/csx/v3/{key}/{stream}/internal/{field}?block=0",
    ],
    "api/v1/container/full/<path:node>": [
        "/api/v1/container/full/all/{key}/{stream}/data?format=arrow&field={field}",
        "/api/v1/container/full/all/{key}",
        "/api/v1/container/full/all/{key}/{stream}/data?format=h5",
        "/api/v1/container/full/csx/v3/{key}?format=application/json-seq",
        "/api/v1/container/full/csx/v3/{key}?format=h5",
    ],
    "api/v1/table/full/<path:node>": [
        "/api/v1/table/full/all_v3/{key}/{stream}/internal",
        "/api/v1/table/full/csx/v3/{key}/{stream}/internal?format=csv&column={field}",
    ],
    "api/v1/table/partition/<path:node>": [
        "/api/v1/table/partition/all_v3/{key}/{stream}/internal?partition=0&column={field}",
    ],
    "api/v1/documents/<path:node>": [
        "/api/v1/documents/all/{key}",
        "/api/v1/documents/all/{key}?fill=true",
        "/api/v1/documents/csx/v3/{key}",
    ],
}

# Routes over many runs: addresses whose answers must not change when a hidden run comes in.
MANY: dict[str, list[str]] = {
    "api/v1/headers/": [
        "/api/v1/headers/",
        "/api/v1/headers/?ordering=time&include=descriptors",
        "/api/v1/headers/?page_size=1",
        "/api/v1/headers/?uid={prefix}",
        "/api/v1/headers/?search=zirconium",
        "/api/v1/headers/?find=ircon",
        "/api/v1/headers/?find=beam+time+proposal:{proposal}",
        "/api/v1/headers/?proposal={proposal}",
        "/api/v1/headers/?exit_status=success",
        '/api/v1/headers/?query={{"sample.name": "zirconium"}}',
        '/api/v1/headers/?query={{"stop.num_events.primary": {{"$gt": 0}}}}',
        '/api/v1/headers/?query={{"descriptor.name": "primary"}}',
    ],
    "api/v1/headers/count/": [
        "/api/v1/headers/count/",
        "/api/v1/headers/count/?search=zirconium",
        "/api/v1/headers/count/?uid={prefix}",
    ],
    "api/v1/headers/facets/": [
        "/api/v1/headers/facets/?fields=plan_name,sample.name,catalog,beamline,proposal,time",
        "/api/v1/headers/facets/?fields=secret&search=zirconium",
    ],
    "api/v1/headers/archive/size/": [
        "/api/v1/headers/archive/size/",
        "/api/v1/headers/archive/size/?search=public&files=csv",
    ],
    "api/v1/headers/live/": ["/api/v1/headers/live/?after=&search=zirconium"],
    "runs/": [
        "/runs/",
        "/runs/?search=zirconium",
        "/runs/?find=sample:zirc&find=plan:zirc",
        "/runs/?find=zirconium&find=this+beam+time&exit_status=open",
    ],
    "runs/facets/": ["/runs/facets/", "/runs/facets/?find=ircon"],
    "api/v1/metadata/": [
        "/api/v1/metadata/",
        "/api/v1/metadata/all",
        "/api/v1/metadata/csx/raw",
        "/api/v1/metadata/hxn/raw",
        "/api/v1/metadata/all_v3",
    ],
    "api/v1/search/": [
        "/api/v1/search/",
        "/api/v1/search/all",
        "/api/v1/search/all?sort=-time&page[limit]=1",
        "/api/v1/search/all?sort=-time&page[offset]=1&page[limit]=1",
        "/api/v1/search/all?fields=count",
        "/api/v1/search/all?filter[partial_uid][condition][partial_uids]={prefix}",
        "/api/v1/search/all?filter[lookup][condition][key]={key}",
        "/api/v1/search/all?filter[fulltext][condition][text]=zirconium",
        "/api/v1/search/csx/v3",
        "/api/v1/search/all_v3?fields=count",
        "/api/v1/search/all_v3?filter[like][condition][pattern]=%22{prefix}%25%22"
        "&filter[like][condition][key]=start.uid",
    ],
    "api/v1/distinct/": [
        "/api/v1/distinct/all?metadata=plan_name&metadata=sample.name&counts=true",
        "/api/v1/distinct/csx/v3?metadata=sample.name&metadata=secret&counts=true",
    ],
}

# Routes that tell nothing of runs, and why.
NO_RUNS: dict[str, str] = {
    "runs/searches/": "the caller's own searches",
    "api/v1/headers/archive/": "a zip tells when it was made; see tests/events/test_archive.py",
    "api/v1/": "the same for everybody",
    "api/v1/auth/token/": "signs in",
    "api/v1/auth/token/refresh/": "signs in",
    "api/v1/auth/logout/": "signs out",
    "api/v1/auth/whoami/": "tells of the caller, their proposals and beamlines only",
    "api/v1/auth/api-tokens/": "tells of the caller's own tokens",
    "api/v1/auth/api-tokens/<int:pk>/": "ends one of the caller's own tokens",
    "api/v1/auth/device/": "signs in",
    "api/v1/auth/device/token/": "signs in",
    "api/v1/schema/": "the same for everybody",
    "api/v1/auth/provider/password/token": "signs in",
    "api/v1/auth/provider/browser/authorize": "signs in",
    "api/v1/auth/provider/browser/token": "signs in",
    "api/v1/auth/session/refresh": "signs in",
    "api/v1/auth/session/revoke": "signs out",
    "api/v1/auth/logout": "signs out",
    "api/v1/auth/whoami": "tells of the caller only",
    "api/v1/auth/apikey": "the caller's own tokens",
    "api/v1/catalogs/<str:catalog>/documents/": "takes documents; see tests/writing/test_rights.py",
}


def routes(patterns: list[Any] | None = None, prefix: str = "") -> Iterator[str]:
    for item in get_resolver().url_patterns if patterns is None else patterns:
        route = prefix + str(item.pattern)
        if isinstance(item, URLResolver):
            yield from routes(item.url_patterns, route)
        elif isinstance(item, URLPattern) and route.startswith(("api/v1/", "runs/", "compare/")):
            yield route


def test_every_route_has_a_case() -> None:
    """ABUSE-CASES 6."""
    known = [*HIDDEN, *MANY, *NO_RUNS]
    assert sorted(routes()) == sorted(known)


# -- worlds in which something is hidden ------------------------------------------------------


@dataclass(frozen=True)
class Names:
    """What the addresses of a route are made with."""

    key: str
    descriptor: str
    event: str
    proposal: str = "310000"
    stream: str = "primary"
    field: str = "det"
    scan_id: int = dataclass_field(default_factory=lambda: randrange(10**9, 10**10))

    @property
    def prefix(self) -> str:
        return self.key[:8]

    def address(self, template: str) -> str:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return template.format(**values, prefix=self.prefix)

    def erased(self, content: bytes) -> bytes:
        """Content without the names that the caller sent, which a page may repeat."""
        for name in (self.key, self.descriptor, self.event, str(self.scan_id)):
            content = content.replace(name.encode(), b"NAME")
        return CSRF_TOKEN.sub(b"TOKEN", content)


def nonsense() -> Names:
    return Names(str(uuid.uuid4()), str(uuid.uuid4()), str(uuid.uuid4()))


@dataclass(frozen=True)
class Case:
    """A run of this catalog and proposal is hidden from the actor."""

    actor: str
    catalog: str
    proposal: str | None

    def __str__(self) -> str:
        return f"{self.actor}, {self.catalog}, {self.proposal}"


LOCKED, ENDED, EMBARGOED, PROPRIETARY = "319991", "319992", "319993", "319994"
CASES = [
    Case("alice", "csx", "310001"),
    Case("alice", "hxn", None),
    Case("alice", "csx", LOCKED),
    Case("alice", "hxn", ENDED),
    Case("bob", "hxn", "310000"),
    Case("sue", "hxn", "310000"),
    Case("sue", "csx", LOCKED),
    Case("nobody", "csx", "310000"),
    Case("nobody", "csx", EMBARGOED),
    Case("nobody", "hxn", PROPRIETARY),
]


@pytest.fixture
def proposals(people: People) -> None:
    """Proposals that alice is, was or might be in."""
    now, day = timezone.now(), timedelta(days=1)
    locked = Proposal.objects.create(proposal_id=LOCKED, locked=True, public_from=now - day)
    ended = Proposal.objects.create(proposal_id=ENDED)
    Proposal.objects.create(proposal_id=EMBARGOED, public_from=now + day)
    Proposal.objects.create(proposal_id=PROPRIETARY, public_from=now - day, proprietary=True)
    Membership.objects.create(proposal=locked, user=people.alice)
    Membership.objects.create(proposal=ended, user=people.alice, expires=now - day)


def record(recorder: Recorder, case: Case) -> Names:
    """A hidden run, the newest of all, with words that nothing else has."""
    names = replace(nonsense(), proposal=str(case.proposal))
    key, descriptor, event = names.key, names.descriptor, names.event
    start: Doc = {"uid": key, "time": 1_800_000_000.0, "secret": "zirconium", "plan_name": "zirc"}
    start |= {"scan_id": names.scan_id, "sample": {"name": "zirconium"}}
    start |= proposal_fields(case.catalog, case.proposal)
    recorder.insert(case.catalog, "run_start", start)
    recorder.descriptor(key, case.catalog, uid=descriptor)
    stored = {"uid": event, "descriptor": descriptor, "seq_num": 1, "time": 1_800_000_001.0}
    stored |= {"data": {"det": 1.0, "motor": 2.0}, "timestamps": {"det": 1.0}, "filled": {}}
    recorder.insert(case.catalog, "event", stored)
    recorder.stop(key, case.catalog, exit_status="success", num_events={"primary": 1})
    return names


def content_of(response: HttpResponseBase) -> bytes:
    if response.streaming:
        return b"".join(response)
    return bytes(response.content)  # type: ignore[attr-defined]


CSRF_TOKEN = re.compile(rb"\b[A-Za-z0-9]{64}\b")
PER_REQUEST = {"X-Request-ID", "X-Tiled-Request-ID", "Server-Timing", "Date"}


def told(response: HttpResponseBase, names: Names) -> tuple[int, bytes, dict[str, str]]:
    """Everything that an answer tells, but for what differs from request to request."""
    headers = {name: value for name, value in response.items() if name not in PER_REQUEST}
    return response.status_code, names.erased(content_of(response)), headers


KEYS = ("uid", "prefix", "newest")


def by(kind: str, names: Names) -> Names:
    key = {"uid": names.key, "prefix": names.prefix, "newest": "-1"}[kind]
    return Names(key, names.descriptor, names.event, scan_id=names.scan_id)


TEMPLATES = [(route, template) for route, templates in HIDDEN.items() for template in templates]
FIRST = [(route, templates[0]) for route, templates in HIDDEN.items()]


@pytest.fixture
def visiting_as(acting_as: Actor, people: People) -> Actor:
    """Like `acting_as`, for programs and for browsers, whose pages know the cookie only."""

    def client(actor: str) -> APIClient:
        api = acting_as(actor)
        if actor != "nobody":
            api.force_login(getattr(people, actor))
        return api

    return client


@pytest.mark.parametrize("case", CASES, ids=str)
def test_hidden_and_nonexistent_are_told_alike_to_every_actor(
    case: Case, visiting_as: Actor, recorder: Recorder, proposals: None
) -> None:
    """ABUSE-CASES 6 and 8: by uid, prefix and -1, on every route."""
    client, hidden = visiting_as(case.actor), record(recorder, case)
    for route, template in FIRST:
        for kind in KEYS if "<str:key>" in route else KEYS[:1]:
            there, absent = by(kind, hidden), by(kind, nonsense())
            answer = told(client.get(there.address(template)), there)
            assert answer == told(client.get(absent.address(template)), absent), template
            assert answer[0] == 404
            assert b"zirconium" not in answer[1]


@pytest.mark.parametrize("method", ["get", "head", "options", "post", "delete"])
def test_hidden_and_nonexistent_are_told_alike_by_every_method_and_address(
    method: str, visiting_as: Actor, recorder: Recorder
) -> None:
    """ABUSE-CASES 6, 7 and 8."""
    client, hidden = visiting_as("bob"), record(recorder, Case("bob", "csx", "310000"))
    for _, template in TEMPLATES if method == "get" else FIRST:
        call, absent = getattr(client, method), nonsense()
        answer = told(call(hidden.address(template)), hidden)
        assert answer == told(call(absent.address(template)), absent), template
        assert answer[0] < 500
        assert b"zirconium" not in answer[1]


@pytest.mark.parametrize("route", HIDDEN)
def test_who_may_read_the_run_is_not_told_the_same(
    route: str, visiting_as: Actor, recorder: Recorder
) -> None:
    """Else the tests above would prove nothing."""
    names = record(recorder, Case("alice", "csx", "310000"))
    response = visiting_as("alice").get(names.address(HIDDEN[route][0]))
    assert response.status_code in (200, 302, 307)


@pytest.mark.parametrize("accept", ["text/html", "application/problem+json", "*/*"])
def test_pages_for_people_tell_hidden_and_nonexistent_alike(
    accept: str, visiting_as: Actor, recorder: Recorder
) -> None:
    """ABUSE-CASES 8."""
    client, case = visiting_as("bob"), Case("bob", "csx", "310000")
    hidden, absent = record(recorder, case), nonsense()
    for _, template in FIRST:
        headers: Any = {"HTTP_ACCEPT": accept, "HTTP_IF_NONE_MATCH": "*", "HTTP_RANGE": "bytes=0-"}
        answers = [
            told(client.get(names.address(template), **headers), names)
            for names in (hidden, absent)
        ]
        assert answers[0] == answers[1], template


@pytest.mark.parametrize("case", CASES[::2], ids=str)
def test_a_hidden_run_changes_no_list_count_facet_or_search(
    case: Case, visiting_as: Actor, recorder: Recorder, proposals: None
) -> None:
    """ABUSE-CASES 7 and 9."""
    recorder.run("312000", title="public")
    recorder.run("312000", "hxn", title="public, too")
    client, names = visiting_as(case.actor), nonsense()
    templates = [template for templates in MANY.values() for template in templates]

    def answers(names: Names) -> list[tuple[int, bytes, dict[str, str]]]:
        return [told(client.get(names.address(template)), names) for template in templates]

    before = answers(names)
    hidden = record(recorder, case)
    for template, first, second in zip(templates, before, answers(hidden), strict=True):
        assert first[0] == 200, (template, first)
        assert first[0] == second[0]
        assert first[1] == second[1], template


def test_hidden_and_nonexistent_cost_the_same_commands_on_every_route(
    visiting_as: Actor, recorder: Recorder, commands: Commands, index_stands: Callable[[], None]
) -> None:
    """ABUSE-CASES 8: the same work takes the same time."""
    client, hidden = visiting_as("bob"), record(recorder, Case("bob", "csx", "310000"))
    index_stands()
    for route, template in TEMPLATES:
        for kind in KEYS if "<str:key>" in route else KEYS[:1]:
            sent = []
            for names in (by(kind, hidden), by(kind, nonsense())):
                commands.sent.clear()
                client.get(names.address(template))
                # Catalogs are asked side by side, so the order is chance.
                sent.append(sorted(commands.names))
            assert sent[0] == sent[1], template
