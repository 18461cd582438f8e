"""Routes that read take their parameters by POST, too, where they are too long for an address."""

import json
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.test import APIClient

from policies.models import AuditEvent
from tests.conftest import Actor, People
from tests.documents import Recorder

HEADERS = "/api/v1/headers/"
Parameters = dict[str, Any]
LONG = {"$or": [{"title": f"{'x' * 200}{n}"} for n in range(60)] + [{"title": "one"}]}


@pytest.fixture
def runs(recorder: Recorder) -> dict[str, str]:
    """Names for addresses: a run of alice's, its descriptor, and others that she may not read."""
    for n in range(3):
        recorder.run("310001", title="one")
        uid = recorder.run("310000", title="one", number=n)
    descriptor = recorder.descriptor(uid, name="other")
    recorder.events(descriptor, 5)
    return {"uid": uid, "descriptor": descriptor}


TWINS: dict[str, Parameters] = {
    "headers/": {"query": {"title": "one"}, "page_size": 2, "ordering": "time"},
    "headers/count/": {"scan_id": 1, "plan_name": "scan", "catalog": None},
    "headers/facets/": {"fields": ["title", "plan_name"], "query": LONG},
    "headers/{uid}/streams/primary/table/": {"fields": ["det"], "timestamps": True},
    "events/": {"descriptor": ["{descriptor}"], "fields": ["det", "motor"], "page_size": 2},
}


def both(api: APIClient, route: str, parameters: Parameters, **headers: str) -> list[Any]:
    """What GET and POST answer: status, content and headers that are not of one request alone."""
    text = {
        name: json.dumps(value) if isinstance(value, dict) else value
        for name, value in parameters.items()
        if value is not None
    }
    answers = [
        api.get(route, text, headers=headers),
        api.post(route, parameters, format="json", headers=headers),
    ]
    return [
        (
            answer.status_code,
            b"".join(answer) if answer.streaming else answer.content,
            answer.get("ETag"),
            answer["Content-Type"],
        )
        for answer in answers
    ]


@pytest.mark.parametrize("actor", ["alice", "bob", "sue", "dan", "nobody"])
@pytest.mark.parametrize("route", TWINS)
def test_a_post_answers_as_get_does(
    route: str, actor: str, acting_as: Actor, runs: dict[str, str]
) -> None:
    """ABUSE-CASES 6: with the same access; what is hidden does not exist here either."""
    address = "/api/v1/" + route.format(**runs)
    parameters = json.loads(json.dumps(TWINS[route]).replace("{descriptor}", runs["descriptor"]))
    got, posted = both(acting_as(actor), address, parameters)
    if '"next":"' not in got[1].decode(errors="replace"):
        assert posted == got
    assert posted[0] == (
        404
        if (actor in ("bob", "nobody") and "{" in route)
        or (actor in ("bob", "nobody") and route == "events/")
        else 200
    )


def test_every_route_that_takes_long_parameters_has_a_twin() -> None:
    def views(resolver: URLResolver, prefix: str = "") -> Any:
        for pattern in resolver.url_patterns:
            here = prefix + str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                yield from views(pattern, here)
            elif isinstance(pattern, URLPattern) and here.startswith("api/v1/"):
                yield here.removeprefix("api/v1/"), pattern.callback

    def has_twin(view: Any) -> bool:
        """A viewset is asked by POST where its router says so."""
        actions = getattr(view, "actions", None)
        own = hasattr(view.cls, "reads_by_post") and not view.cls.__module__.startswith("tiled.")
        return own and (actions is None or "post" in actions)

    twins = {route for route, view in views(get_resolver()) if has_twin(view)}
    assert {
        route.replace("<str:key>", "{uid}").replace("<path:stream>", "primary") for route in twins
    } == set(TWINS)


def test_the_pages_of_a_posted_list_follow_each_other(
    acting_as: Actor, runs: dict[str, str]
) -> None:
    """The link has the cursor; the parameters are posted again."""
    alice, body = acting_as("alice"), {"query": LONG, "page_size": 1}
    assert len(json.dumps(body)) > 8190
    numbers, url = [], HEADERS
    while url:
        page = alice.post(url, body, format="json").json()
        numbers += [run["start"]["number"] for run in page["results"]]
        assert len(page["next"] or "") < 1000
        url = page["next"]
    assert numbers == [2, 1, 0]
    first = alice.post(HEADERS, body, format="json").json()
    other = alice.post(first["next"], body | {"query": {}}, format="json")
    assert other.status_code == 400
    assert (
        alice.post(
            HEADERS, body | {"cursor": first["next"].partition("cursor=")[2]}, format="json"
        ).status_code
        == 400
    )  # percent-encoded: not the cursor itself


def test_a_copy_is_still_right(acting_as: Actor, runs: dict[str, str]) -> None:
    alice, url = acting_as("alice"), f"{HEADERS}{runs['uid']}/streams/primary/table/"
    body = {"fields": ["det"]}
    etag = alice.post(url, body, format="json")["ETag"]
    again = alice.post(url, body, format="json", headers={"if-none-match": etag})
    assert again.status_code == 304


@pytest.mark.parametrize(
    "body",
    [
        "[]", '"x"', "5", "{", '{"nonsense": 1}', '{"query": [1]}', '{"page_size": {"$gt": 1}}',
        '{"plan_name": {"$ne": null}}', '{"plan_name": ["a", "b"]}', '{"catalog": [["csx"]]}',
        '{"page_size": 0}', '{"query": "{\\"$where\\": 1}"}', '{"scan_id": 1e99}',
    ],
)  # fmt: skip
def test_a_malformed_body_is_refused_with_its_reason(
    body: str, acting_as: Actor, recorder: Recorder
) -> None:
    """ABUSE-CASES 1, 2 and 14."""
    answer = acting_as("alice").post(HEADERS, body, content_type="application/json")
    assert answer.status_code == 400
    assert answer.json()["detail"]


def test_other_bodies_than_json_are_not_read(acting_as: Actor, recorder: Recorder) -> None:
    """ABUSE-CASES 23: what a form of another site can send."""
    for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data"):
        answer = acting_as("alice").post(HEADERS, '{"catalog": "csx"}', content_type=kind)
        assert answer.status_code == 415


def test_a_browsers_session_needs_its_csrf_token(people: People, recorder: Recorder) -> None:
    """ABUSE-CASES 23."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(people.alice)
    answer = client.post(HEADERS, "{}", content_type="application/json")
    assert answer.status_code == 403


def test_a_posted_read_is_recorded_as_one(acting_as: Actor, runs: dict[str, str]) -> None:
    acting_as("alice").post(HEADERS, {"page_size": 1}, format="json")
    event = AuditEvent.objects.filter(kind="read").latest("time")
    assert (event.route, event.run_uid) == (f"POST {HEADERS}", runs["uid"])


def test_an_api_token_needs_the_same_scope(acting_as: Actor, runs: dict[str, str]) -> None:
    alice = acting_as("alice")
    token = alice.post(
        "/api/v1/auth/api-tokens/", {"name": "x", "scopes": ["read:metadata"]}, format="json"
    ).json()["token"]
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    assert api.post(HEADERS, {}, format="json").status_code == 200
    events = api.post("/api/v1/events/", {"descriptor": [runs["descriptor"]]}, format="json")
    assert events.status_code == 403


@pytest.mark.parametrize("name", ["a,b", "_x", "a__b", "a/b", "a b", "ä", "time", "x" * 3000])
def test_fields_of_any_name_can_be_asked_for(
    name: str, acting_as: Actor, recorder: Recorder
) -> None:
    """By GET as the only field or repeated, by POST in a list."""
    run = recorder.run(events=0)
    number = {"dtype": "number", "shape": [], "source": "x"}
    uid = recorder.descriptor(run, name="odd/one", data_keys={name: number, "plain": number})
    data = {name: 1.0, "plain": 2.0}
    event = {"uid": "e", "descriptor": uid, "seq_num": 1, "time": 1.75e9, "data": data}
    recorder.insert("csx", "event", event | {"timestamps": dict.fromkeys(data, 1.75e9)})
    alice, column = acting_as("alice"), f"_{name}" if name == "time" else name
    url = f"{HEADERS}{run}/streams/odd%2Fone/table/"
    for answer in (
        alice.get(url, {"fields": [name, "plain"]}),
        alice.post(url, {"fields": [name, "plain"]}, format="json"),
    ):
        table = json.loads(b"".join(answer))
        assert table[column] == [1.0]
        assert table["plain"] == [2.0]
    alone = json.loads(b"".join(alice.get(url, {"fields": name})))
    assert set(alone) == {"seq_num", "time", column}
    events = alice.get("/api/v1/events/", {"descriptor": uid, "fields": name}).json()["results"]
    assert events[0]["data"] == {name: 1.0}


def test_no_names_are_as_good_as_none_given(acting_as: Actor, runs: dict[str, str]) -> None:
    alice, url = acting_as("alice"), f"{HEADERS}{runs['uid']}/streams/primary/table/"
    everything = b"".join(alice.get(url))
    assert b"".join(alice.get(url, {"fields": ""})) == everything
    assert b"".join(alice.post(url, {"fields": []}, format="json")) == everything
