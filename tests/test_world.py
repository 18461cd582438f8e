"""Every route's answers to everybody are those of a slow, obvious reading of the access rule.

The world is in world.py: more than 200 runs in two catalogs, 20 proposals, 15 people and
what narrows their tokens. ABUSE-CASES 5, 6, 7, 9 and 20, all rules at once.
"""

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from django.core.cache import caches
from django.test import Client

from headers.catalogs import Catalog
from headers.mongo import database
from policies.models import User
from policies.sessions import begin_session
from tests.conftest import COLLECTIONS
from tests.world import BEGIN, CATALOGS, PLANS, Caller, Doc, Recorded, generate

WORLD = generate(20261122)
API = "/api/v1"
TOLD_APART = 4
"""runs that each caller asks for one by one: half of them hidden, where there are so many"""

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def recorded(_indexed: None) -> None:
    from django.conf import settings

    catalogs: dict[str, Catalog] = {catalog.name: catalog for catalog in settings.CATALOGS}
    for catalog in catalogs.values():
        for uri in {catalog.metadata, catalog.assets}:
            for name in COLLECTIONS:
                database(uri)[name].delete_many({})
    WORLD.write_runs(catalogs)


@pytest.fixture
def users(db: None, recorded: None) -> dict[str, User]:
    caches["counters"].clear()
    return WORLD.write_people()


@pytest.fixture
def everybody(users: dict[str, User]) -> Iterator[tuple[Caller, Ask]]:
    """Each caller with what asks as them, and gives the answer; `page=True`: by a browser.

    One after the other in one test, because to write the people takes longer than to ask.
    """
    return ((caller, _asking(caller, users)) for caller in WORLD.callers)


def _asking(caller: Caller, users: dict[str, User]) -> Ask:
    client, browser = Client(), Client()
    if caller.person:
        user = users[caller.person.name]
        token = WORLD.write_token(caller, user) if caller.by_token else begin_session(user).access
        client.defaults["HTTP_AUTHORIZATION"] = f"Bearer {token}"
        browser.force_login(user)

    def ask(path: str, *, page: bool = False, method: str = "get", **query: Any) -> Any:
        return getattr(browser if page else client, method)(path, query)

    return ask


# -- lists, counts, facets and searches ----------------------------------------------------------


def lists_counts_and_facets_are_of_what_one_may_read(caller: Caller, ask: Ask) -> None:
    expected = WORLD.readable(caller)
    listed = walk(ask, f"{API}/headers/", page_size=83)
    assert [told_of(run) for run in listed] == [key_and_proposal(run) for run in expected]
    assert [run["start"] for run in listed] == [public(run.start) for run in expected]
    assert [run["stop"] for run in listed] == [public(run.stop) for run in expected]
    oldest_first = walk(ask, f"{API}/headers/", page_size=1000, ordering="time")
    assert [told_of(run) for run in oldest_first] == [key_and_proposal(r) for r in expected[::-1]]
    assert ask(f"{API}/headers/count/").json() == {"count": len(expected)}
    facets = ask(f"{API}/headers/facets/", fields="plan_name,sample.name,catalog,proposal").json()
    assert counted(facets["plan_name"]) == Counter(run.start["plan_name"] for run in expected)
    assert counted(facets["sample.name"]) == Counter(
        run.start["sample"]["name"] for run in expected
    )
    assert counted(facets["catalog"]) == Counter(run.catalog for run in expected)
    proposals = Counter(proposal for run in expected if (proposal := WORLD.proposal_of(run)))
    assert counted(facets["proposal"]) == proposals


Chooses = Callable[[Recorded], bool]
FILTERS: list[tuple[Doc, Chooses]] = [
    ({"catalog": "csx"}, lambda run: run.catalog == "csx"),
    ({"beamline": "hxn"}, lambda run: run.catalog == "hxn"),
    ({"plan_name": PLANS[0]}, lambda run: run.start["plan_name"] == PLANS[0]),
    ({"scan_id": "7"}, lambda run: run.start["scan_id"] == 7),
    ({"exit_status": "open"}, lambda run: run.stop is None),
    ({"exit_status": "fail"}, lambda run: (run.stop or {}).get("exit_status") == "fail"),
    ({"since": BEGIN + 20}, lambda run: run.start["time"] >= BEGIN + 20),
    ({"until": BEGIN + 5}, lambda run: run.start["time"] < BEGIN + 5),
    ({"search": "purpose7"}, lambda run: "purpose7" in run.start["purpose"]),
    (
        {"query": '{"sample.name": {"$in": ["gold"]}}'},
        lambda r: r.start["sample"]["name"] == "gold",
    ),
    ({"query": '{"$not": {"scan_id": 7}}'}, lambda run: run.start["scan_id"] != 7),
    ({"query": '{"$or": [{"uid": {"$exists": true}}, {"uid": "x"}]}'}, lambda run: True),
    ({"query": '{"stop.exit_status": {"$ne": "success"}}'}, lambda run: not succeeded(run)),
    ({"query": '{"descriptor.data_keys.img": {"$exists": true}}'}, lambda r: bool(r.resources)),
    ({"query": '{"proposal": {"$exists": false}}'}, lambda run: "proposal" not in run.start),
    ({"query": '{"data_session": {"$gte": ""}}'}, lambda run: has_text(run, "data_session")),
]


def filters_choose_among_what_one_may_read(caller: Caller, ask: Ask) -> None:
    readable = WORLD.readable(caller)
    rng = random.Random(caller.name)
    for query, chooses in rng.sample(FILTERS, 4):
        expected = [run.key for run in readable if chooses(run)]
        listed = ask(f"{API}/headers/", page_size=1000, **query).json()["results"]
        assert [(run["catalog"], run["uid"]) for run in listed] == expected, query
        assert ask(f"{API}/headers/count/", **query).json() == {"count": len(expected)}, query
    for proposal in rng.sample([*WORLD.visits, "no such proposal"], 2):
        expected = [run.key for run in readable if WORLD.proposal_of(run) == proposal]
        listed = ask(f"{API}/headers/", page_size=1000, proposal=proposal).json()["results"]
        assert [(run["catalog"], run["uid"]) for run in listed] == expected, proposal


def a_word_or_value_of_a_hidden_run_is_found_by_nobody_else(caller: Caller, ask: Ask) -> None:
    rng = random.Random(caller.name)
    for run in sample(caller):
        only_here = json.dumps({"only_here": run.start["only_here"]})
        ways = [
            {"query": only_here},
            {"query": json.dumps({"descriptor.uid": run.descriptors[0]["uid"]})},
            {"query": only_here, "search": run.start["purpose"].split()[-1]},
        ]
        if run.stop:
            ways.append({"query": json.dumps({"stop.uid": run.stop["uid"]})})
        query = rng.choice(ways)
        count = ask(f"{API}/headers/count/", **query).json()
        assert count == {"count": int(WORLD.may_read(caller, run))}, (run, query)
    told = ask(f"{API}/headers/facets/", fields="only_here").json()["only_here"]
    readable = {run.start["only_here"] for run in WORLD.readable(caller)}
    assert {item["value"] for item in told} <= readable


def the_pages_list_what_one_may_read(caller: Caller, ask: Ask) -> None:
    if caller.by_token:
        return  # pages are for browsers, which know no tokens
    expected = WORLD.readable(caller)
    uids: list[str] = []
    address = "/runs/?page_size=200"
    while address:
        text = ask(address, page=True).content.decode()
        uids += dict.fromkeys(re.findall(r'href="/runs/([^/"?]+)/"', text))
        older = re.search(r'href="(/runs/\?[^"]*cursor=[^"]*)"[^>]*rel="next"', text)
        older = older or re.search(r'rel="next"[^>]*href="(/runs/\?[^"]*cursor=[^"]*)"', text)
        address = older[1].replace("&amp;", "&") if older else ""
    assert Counter(set(uids)) == Counter({run.uid for run in expected})
    facets = ask("/runs/facets/", page=True, catalog="csx").content.decode()
    known = {WORLD.proposal_of(run) for run in expected}
    hidden = {visit for visit in WORLD.visits if visit.startswith("3100")} - known
    assert not [proposal for proposal in hidden if re.search(rf"\b{proposal}\b", facets)]


# -- one run -------------------------------------------------------------------------------------


def a_run_is_there_for_who_may_read_it_and_for_nobody_else(caller: Caller, ask: Ask) -> None:
    for run in sample(caller):
        readable = WORLD.may_read(caller, run)
        namesakes = [r for r in WORLD.runs if r.uid == run.uid and WORLD.may_read(caller, r)]
        found = ask(f"{API}/headers/{run.uid}/")
        assert found.status_code == (200 if namesakes else 404), run
        if namesakes:
            assert found.json()["catalog"] in {r.catalog for r in namesakes}
            assert found.json()["start"] in [public(r.start) for r in namesakes]
        if readable and len(namesakes) == 1:
            check_all_of(ask, run, caller)
        elif not namesakes:
            check_nothing_of(ask, run, caller)
        for method in ("head", "options"):
            answer = ask(f"{API}/headers/{run.uid}/", method=method)
            assert run.start["only_here"].encode() not in answer.content


def descriptors_and_events_are_those_of_runs_one_may_read(caller: Caller, ask: Ask) -> None:
    for run in sample(caller):
        readable = WORLD.may_read(caller, run)
        (descriptor,) = run.descriptors
        found = ask(f"{API}/descriptors/{descriptor['uid']}/")
        assert found.status_code == (200 if readable else 404), run
        if readable:
            assert found.json() == public(descriptor)
        events = ask(f"{API}/events/", descriptor=descriptor["uid"])
        value = ask(f"{API}/events/{run.events[0]['uid']}/data/det/", format="json")
        expected = (403 if not reads_data(caller) else 200) if readable else None
        expected = expected or (404 if reads_data(caller) else 403)
        assert (events.status_code, value.status_code) == (expected, expected), run
        if expected == 200:
            told = [{k: v for k, v in e.items() if k != "_links"} for e in events.json()["results"]]
            assert told == [public(event) for event in run.events]
    hidden = [run for run in WORLD.runs if not WORLD.may_read(caller, run)]
    readable_runs = WORLD.readable(caller)
    if hidden and readable_runs and reads_data(caller):
        uids = [readable_runs[0].descriptors[0]["uid"], hidden[0].descriptors[0]["uid"]]
        assert ask(f"{API}/events/?descriptor={uids[0]}&descriptor={uids[1]}").status_code == 404


def prefixes_and_places_count_only_what_one_may_read(caller: Caller, ask: Ask) -> None:
    readable = WORLD.readable(caller)
    for run in sample(caller):
        prefix = run.uid[: 8 if run.number % 2 else 12]
        uids = {other.uid for other in readable if other.uid.startswith(prefix)}
        answer = ask(f"{API}/headers/{prefix}/")
        assert answer.status_code == {0: 404, 1: 200}.get(len(uids), 409), (run, prefix)
        if len(uids) == 1:
            assert {answer.json()["uid"]} == uids
        listed = ask(f"{API}/headers/", uid=prefix, page_size=1000).json()["results"]
        assert {found["uid"] for found in listed} == uids
    for place in (1, 2, len(readable), len(readable) + 1):
        answer = ask(f"{API}/headers/{-place}/")
        if 1 <= place <= len(readable):
            found = answer.json()
            assert (found["catalog"], found["uid"]) == readable[place - 1].key, place
        else:
            assert answer.status_code == 404, place


# -- under the names of Tiled's protocol ---------------------------------------------------------


TILED_CATALOGS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("all", "all_v3"), CATALOGS),
    **dict.fromkeys(("csx/raw", "csx/v3"), ("csx",)),
    "hxn/raw": ("hxn",),
}


def tiled_lists_what_one_may_read(caller: Caller, ask: Ask) -> None:
    readable = WORLD.readable(caller)[::-1]
    for node, catalogs in TILED_CATALOGS.items():
        expected = [run for run in readable if run.catalog in catalogs]
        address, uids = f"{API}/search/{node}?page[limit]=83&sort=time", []
        while address:
            page = ask(address).json()
            assert page["meta"]["count"] == len(expected)
            uids += [item["id"] for item in page["data"]]
            address = page["links"]["next"] and page["links"]["next"] + "&sort=time"
        assert uids == [run.uid for run in expected], node
        assert ask(f"{API}/metadata/{node}").json()["data"]["attributes"]["structure"][
            "count"
        ] == len(expected)
        newest = ask(f"{API}/search/{node}?sort=-time&page[offset]=1&page[limit]=1").json()
        assert [item["id"] for item in newest["data"]] == [run.uid for run in expected[-2:-1]]
    told = ask(f"{API}/distinct/all?metadata=plan_name&metadata=start.sample.name&counts=true")
    values = told.json()["metadata"]
    assert counted(values["start.plan_name"]) == Counter(r.start["plan_name"] for r in readable)
    names = Counter(run.start["sample"]["name"] for run in readable)
    assert counted(values["start.sample.name"]) == names


def tiled_searches_among_what_one_may_read(caller: Caller, ask: Ask) -> None:
    readable = WORLD.readable(caller)[::-1]
    for conditions, chooses in TILED_FILTERS:
        query = {f"filter[{name}]": value for name, value in conditions.items()}
        found = ask(f"{API}/search/all", **{"page[limit]": 300}, **query).json()
        expected = [run.uid for run in readable if chooses(run)]
        assert [item["id"] for item in found["data"]] == expected, conditions
        assert found["meta"]["count"] == len(expected)
    for run in sample(caller):
        ways = [
            {"filter[eq][condition][key]": "start.only_here"}
            | {"filter[eq][condition][value]": json.dumps(run.start["only_here"])},
            {"filter[fulltext][condition][text]": run.start["purpose"].split()[-1]}
            | {"filter[lookup][condition][key]": run.uid},
        ]
        for query in ways:
            found = ask(f"{API}/search/{run.catalog}/raw", fields="count", **query).json()
            assert found["meta"]["count"] == int(WORLD.may_read(caller, run)), (run, query)


TILED_FILTERS: list[tuple[Doc, Chooses]] = [
    (
        {"eq][condition][key": "plan_name", "eq][condition][value": json.dumps(PLANS[0])},
        lambda run: run.start["plan_name"] == PLANS[0],
    ),
    (
        {"noteq][condition][key": "start.scan_id", "noteq][condition][value": "7"},
        lambda run: run.start["scan_id"] != 7,
    ),
    (
        {"in][condition][key": "sample.name", "in][condition][value": '["gold"]'},
        lambda run: run.start["sample"]["name"] == "gold",
    ),
    (
        {"eq][condition][key": "stop.exit_status", "eq][condition][value": '"fail"'},
        lambda run: (run.stop or {}).get("exit_status") == "fail",
    ),
    ({"keypresent][condition][key": "proposal"}, lambda run: "proposal" in run.start),
    ({"structure_family][condition][value": "table"}, lambda run: False),
]


LAYOUTS: dict[str, tuple[list[str], list[str]]] = {
    "raw": (
        ["", "/data", "/data/det", "/config", ";rows=1/data"],
        ["array/full/{}/data/det", "array/block/{}/data/det?block=0", "container/full/{}/data"],
    ),
    "v3": (
        ["", "/internal", "/internal/det", ";rows=1/internal"],
        ["array/full/{}/internal/det", "table/full/{}/internal", "table/partition/{}/internal"],
    ),
}


def tiled_nodes_are_there_for_who_may_read_the_run(caller: Caller, ask: Ask) -> None:
    for run in sample(caller):
        for layout, (nodes, values) in LAYOUTS.items():
            check_tiled_run(caller, ask, run, layout, nodes, values)


def check_tiled_run(
    caller: Caller, ask: Ask, run: Recorded, layout: str, nodes: list[str], values: list[str]
) -> None:
    of_run = f"{run.catalog}/{layout}/{run.uid}"
    readable = WORLD.may_read(caller, run)
    node = ask(f"{API}/metadata/{of_run}")
    assert node.status_code == (200 if readable else 404), run
    if readable:
        attributes = node.json()["data"]["attributes"]
        assert attributes["metadata"]["start"] == public(run.start)
        assert attributes["metadata"]["stop"] == public(run.stop)
    else:
        assert run.start["only_here"].encode() not in node.content
    for below in nodes:
        there = ask(f"{API}/metadata/{of_run}/primary{below}").status_code
        assert there == (200 if readable else 404), (run, below)
    documents = f"container/full/{of_run}?format=application/json-seq"
    documents = documents if layout == "v3" else f"documents/{of_run}"
    for address in (*(value.format(f"{of_run}/primary") for value in values), documents):
        answer = ask(f"{API}/{address}")
        expected = 403 if not reads_data(caller) else 200 if readable else 404
        assert answer.status_code == expected, (run, address)
    if readable and reads_data(caller):
        names = [json.loads(r)["name"] for r in answer.getvalue().split(b"\x1e")[1:]]
        kinds = {"event": "event_page", "datum": "datum_page"}
        assert set(names) == {kinds.get(kind, kind) for kind, _ in all_documents(run)}


CHECKS = (
    lists_counts_and_facets_are_of_what_one_may_read,
    filters_choose_among_what_one_may_read,
    a_word_or_value_of_a_hidden_run_is_found_by_nobody_else,
    the_pages_list_what_one_may_read,
    a_run_is_there_for_who_may_read_it_and_for_nobody_else,
    descriptors_and_events_are_those_of_runs_one_may_read,
    prefixes_and_places_count_only_what_one_may_read,
    tiled_lists_what_one_may_read,
    tiled_searches_among_what_one_may_read,
    tiled_nodes_are_there_for_who_may_read_the_run,
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_answer_to_everybody_is_as_the_reference_says(
    check: Callable[[Caller, Ask], None], everybody: Iterator[tuple[Caller, Ask]]
) -> None:
    for caller, ask in everybody:
        check(caller, ask)


@pytest.mark.parametrize("person", [p for p in WORLD.people if not p.active], ids=lambda p: p.name)
def test_who_has_left_reads_nothing_by_token_and_what_is_public_by_browser(
    person: Any, users: dict[str, User]
) -> None:
    token = begin_session(users[person.name]).access
    refused = Client().get(f"{API}/headers/", headers={"authorization": f"Bearer {token}"})
    assert refused.status_code == 401
    browser = Client()
    browser.force_login(users[person.name])
    expected = len(WORLD.readable(Caller(person.name, person)))
    assert expected == len(WORLD.readable(Caller("nobody", None)))
    assert browser.get(f"{API}/headers/count/").json() == {"count": expected}


def test_the_world_is_as_various_as_it_should_be() -> None:
    """Else the tests above would prove little."""
    assert len(WORLD.runs) >= 200
    assert len(WORLD.visits) == 20
    assert len(WORLD.people) == 15
    without = [run for run in WORLD.runs if WORLD.proposal_of(run) is None]
    assert {run.catalog for run in without} == set(CATALOGS)
    assert len(without) >= 10
    counts = {caller.name: len(WORLD.readable(caller)) for caller in WORLD.callers}
    assert counts["root"] == counts["data-admin"] == len(WORLD.runs)
    assert 0 < counts["nobody"] < counts["ben"] < counts["floater"] < counts["root"]
    assert 0 < counts["a token of ann"] < counts["ann"]
    assert len(set(counts.values())) >= 10
    locked = {run.key for run in WORLD.runs if is_locked(run)}
    assert locked
    assert locked.isdisjoint(run.key for run in WORLD.readable(caller_named("floater")))


# -- how -----------------------------------------------------------------------------------------


def check_all_of(ask: Ask, run: Recorded, caller: Caller) -> None:
    """Every route about the run answers with what was recorded of it."""
    of_run = f"{API}/headers/{run.uid}"
    (stream,) = ask(f"{of_run}/streams/").json()
    assert (stream["name"], stream["event_count"]) == ("primary", 2)
    det = [event["data"]["det"] for event in run.events]
    if not reads_data(caller):
        for address in data_addresses(run):
            assert ask(address).status_code == 403, address
        return
    table = ask(f"{of_run}/streams/primary/table/", fields="det", format="json")
    assert json.loads(table.getvalue())["det"] == det
    array = ask(f"{of_run}/streams/primary/data/det/", format="json")
    assert json.loads(array.getvalue()) == det
    for address in (f"{of_run}/documents/", f"{of_run}/export/?format=ndjson"):
        lines = ask(address).getvalue().splitlines()
        documents = [json.loads(line) for line in lines]
        assert sorted(names_of(documents)) == sorted(names_of(all_documents(run)))
    assert ask(f"{of_run}/export/?format=h5", method="head").status_code == 200
    if run.resources:
        image = ask(f"{of_run}/streams/primary/data/img/")
        # The file is gone in one catalog, and no handler is allowed in the other.
        assert image.status_code == {"csx": 410, "hxn": 501}[run.catalog]
        assert image.json()["resource"] == run.resources[0]["uid"]
    if not caller.by_token:
        page = ask(f"/runs/{run.uid}/", page=True)
        assert run.start["only_here"] in page.content.decode()


def check_nothing_of(ask: Ask, run: Recorded, caller: Caller) -> None:
    """No route has a trace of the run."""
    of_run = f"{API}/headers/{run.uid}"
    assert ask(f"{of_run}/streams/").status_code == 404
    for address in random.Random(caller.name).sample(data_addresses(run), 3):
        assert ask(address).status_code == (404 if reads_data(caller) else 403), address
    if not caller.by_token:
        assert ask(f"/runs/{run.uid}/", page=True).status_code == 404


def data_addresses(run: Recorded) -> list[str]:
    of_run = f"{API}/headers/{run.uid}"
    return [
        f"{of_run}/documents/",
        f"{of_run}/documents/?format=bson",
        f"{of_run}/export/?format=h5",
        f"{of_run}/export/?format=ndjson",
        f"{of_run}/streams/primary/table/?format=csv",
        f"{of_run}/streams/primary/data/det/",
        f"{of_run}/streams/primary/data/img/",
    ]


def sample(caller: Caller) -> list[Recorded]:
    """Some runs, other ones for each caller, half of them hidden where there are so many."""
    rng = random.Random(caller.name)
    runs = rng.sample(WORLD.runs, len(WORLD.runs))
    hidden = [run for run in runs if not WORLD.may_read(caller, run)][: TOLD_APART // 2]
    readable = [run for run in runs if WORLD.may_read(caller, run)]
    return hidden + readable[: TOLD_APART - len(hidden)]


def walk(ask: Ask, path: str, **query: Any) -> list[Doc]:
    """The results of all pages."""
    page = ask(path, **query).json()
    results: list[Doc] = page["results"]
    while page["next"]:
        page = ask(page["next"]).json()
        results += page["results"]
    return results


def told_of(run: Doc) -> tuple[str, str, str | None]:
    return run["catalog"], run["uid"], run["proposal"]


def key_and_proposal(run: Recorded) -> tuple[str, str, str | None]:
    return (*run.key, WORLD.proposal_of(run))


def public(document: Doc | None) -> Doc | None:
    return document and {name: value for name, value in document.items() if name != "_id"}


def counted(values: Iterable[Doc]) -> dict[Any, int]:
    return {item["value"]: item["count"] for item in values}


def all_documents(run: Recorded) -> list[tuple[str, Doc]]:
    kinds = {"descriptor": run.descriptors, "event": run.events, "resource": run.resources}
    found = [(kind, doc) for kind, docs in kinds.items() for doc in docs]
    stop = [("stop", run.stop)] if run.stop else []
    return [("start", run.start), *found, *(("datum", doc) for doc in run.datums), *stop]


def names_of(documents: Iterable[Any]) -> list[tuple[str, str]]:
    return [(kind, doc.get("uid") or doc["datum_id"]) for kind, doc in documents]


def reads_data(caller: Caller) -> bool:
    return "read:data" in caller.scopes


def succeeded(run: Recorded) -> bool:
    return (run.stop or {}).get("exit_status") == "success"


def has_text(run: Recorded, name: str) -> bool:
    """As MongoDB compares: a list satisfies it by any of its items."""
    value = run.start.get(name)
    items = value if isinstance(value, list) else [value]
    return any(isinstance(item, str) for item in items)


def is_locked(run: Recorded) -> bool:
    visit = WORLD.visits.get(WORLD.proposal_of(run) or "")
    return visit is not None and visit.locked


def caller_named(name: str) -> Caller:
    return next(caller for caller in WORLD.callers if caller.name == name)
