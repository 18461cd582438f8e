"""search=: by the text index where there is one, else in every document; within the rule."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from pymongo.errors import OperationFailure

from headers import repositories
from headers.catalogs import Catalog
from headers.repositories import Runs
from policies.rule.access import Access
from tests.conftest import Actor, Commands
from tests.documents import Recorder

URL = "/api/v1/headers/"


def titles(acting_as: Actor, search: str, actor: str = "dan") -> set[str]:
    response = acting_as(actor).get(URL, {"search": search})
    assert response.status_code == 200, response.content
    return {run["start"]["title"] for run in response.json()["results"]}


@pytest.fixture
def samples(recorder: Recorder) -> Recorder:
    recorder.run(title="one", sample={"name": "Gold foil"}, owner="Ann")
    recorder.run(title="two", sample="gold (100%)", project="films", catalog="hxn")
    recorder.run("310001", title="three", sample="iron", comment="near the gold edge")
    return recorder


def test_words_are_found_in_every_text_in_any_case(acting_as: Actor, samples: Recorder) -> None:
    assert titles(acting_as, "GOLD") == {"one", "two", "three"}
    assert titles(acting_as, "gold ann") == {"one"}
    assert titles(acting_as, "films") == {"two"}
    assert titles(acting_as, "silver") == set()


@pytest.mark.parametrize("search", ["polyethylene", "Al foil", "a series", "DEEP", "second"])
def test_words_are_found_in_texts_of_any_name_and_at_any_depth(
    search: str, acting_as: Actor, recorder: Recorder
) -> None:
    recorder.run(
        title="one",
        Sample_Name="Al foil",
        components="Polyethylene",
        project_desc="a series",
        nested={"list": [{"text": "deep down"}], "other": ["first", "second"]},
    )
    recorder.run(title="two", polyethylene="a key is no text")
    assert titles(acting_as, search) == {"one"}


@pytest.mark.parametrize("search", ["In", "As", "He", "in as"])
def test_words_that_an_english_index_leaves_out_are_found(
    search: str, acting_as: Actor, recorder: Recorder
) -> None:
    recorder.run(title="one", sample="In As on He")
    recorder.run(title="two", sample="gold", catalog="hxn")
    assert titles(acting_as, search) == {"one"}


def test_a_search_that_runs_out_of_time_tells_how_far_it_came_and_goes_on(
    acting_as: Actor, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Page after page finds each run once; counts and facets say that they are incomplete."""
    for n in range(6):
        recorder.run(title=str(n), catalog="csx" if n % 3 else "hxn", sample="gold")
    monkeypatch.setattr(repositories, "SEARCH_SHARE", 0.0)
    dan, found = acting_as("dan"), []
    url: str | None = f"{URL}?search=gold"
    while url:
        response = dan.get(url)
        page = response.json()
        if page["next"]:
            assert all(datetime.fromisoformat(at) for at in page["incomplete"].values())
            assert "was searched to" in response["Warning"]
        found += [run["start"]["title"] for run in page["results"]]
        url = page["next"]
    assert found == ["5", "4", "3", "2", "1", "0"]
    count = dan.get(f"{URL}count/", {"search": "gold"}).json()
    assert count["count"] < 6
    assert set(count["incomplete"]) == {"csx", "hxn"}


def test_words_are_texts_and_no_patterns(acting_as: Actor, samples: Recorder) -> None:
    """ABUSE-CASES 4."""
    assert titles(acting_as, "(100%)") == {"two"}
    assert titles(acting_as, ".*") == set()
    assert titles(acting_as, "(a+)+$") == set()


def test_a_search_finds_and_counts_only_what_the_caller_may_read(
    acting_as: Actor, samples: Recorder
) -> None:
    """ABUSE-CASES 7."""
    assert titles(acting_as, "gold", "alice") == {"one", "two"}
    assert titles(acting_as, "gold", "bob") == {"three"}
    assert titles(acting_as, "gold", "nobody") == set()
    assert titles(acting_as, "iron", "alice") == set()
    alice = acting_as("alice")
    assert alice.get(f"{URL}count/", {"search": "gold"}).json() == {"count": 2}
    facets = alice.get(f"{URL}facets/", {"search": "gold", "fields": "title"}).json()
    assert {item["value"] for item in facets["title"]} == {"one", "two"}


@pytest.mark.parametrize("search", ["", " ", "\t"])
def test_a_search_for_nothing_is_refused(search: str, acting_as: Actor) -> None:
    assert acting_as("dan").get(URL, {"search": search}).status_code == 400


# -- where there is a text index, which the embedded server cannot have ------------------


@pytest.fixture
def indexed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repositories._text_indexes, "has", lambda catalog: True)


@pytest.mark.parametrize("suffix", ["", "count/", "facets/"])
def test_the_text_index_is_asked_together_with_the_access_rule_in_one_query(
    suffix: str, acting_as: Actor, recorder: Recorder, commands: Commands, indexed: None
) -> None:
    """ABUSE-CASES 7: alone, it would tell that a hidden run has the word."""
    alice = acting_as("alice")
    commands.sent.clear()
    fields = {"fields": "title"} if suffix == "facets/" else {}
    alice.get(URL + suffix, {"search": "gold foil", "catalog": "hxn"} | fields)
    (event,) = commands.sent
    where = event.command.get("filter") or event.command["pipeline"][0]["$match"]
    assert where["$text"] == {"$search": '"gold" "foil"'}
    rule = Access(proposals=frozenset({"310000", "312000"})).filter(recorder.catalogs["hxn"])
    assert where.items() >= rule.items()


@pytest.mark.parametrize(
    ("search", "sent"),
    [("gold", '"gold"'), ("-gold", '"-gold"'), ('"gold', '"gold"'), ('b"d  c', '"b" "d" "c"')],
)
def test_every_word_must_be_found_whatever_the_index_makes_of_its_signs(
    search: str, sent: str, catalogs: dict[str, Catalog], indexed: None
) -> None:
    runs = Runs(catalogs["csx"], Access(data_admin=True))
    assert runs._search(search) == ({"$text": {"$search": sent}}, [])


def test_words_that_the_index_leaves_out_are_looked_for_among_what_it_finds(
    catalogs: dict[str, Catalog], indexed: None
) -> None:
    runs = Runs(catalogs["csx"], Access(data_admin=True))
    assert runs._search("gold In") == ({"$text": {"$search": '"gold"'}}, ["In"])
    assert runs._search("In As") == ({}, ["In", "As"])


def refuse_text(asked: Any) -> None:
    """As a server whose index is still being built does."""
    if "$text" in str(asked):
        raise OperationFailure("text index required for $text query", 27)


def test_a_text_index_that_is_not_finished_is_done_without(
    acting_as: Actor, samples: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is listed while it is built; asked then, the server has no such index."""
    monkeypatch.setattr(repositories, "_text_indexes", repositories._TextIndexes())
    known = {catalog.metadata: (float("inf"), True) for catalog in samples.catalogs.values()}
    monkeypatch.setattr(repositories._text_indexes, "_known", known)
    read, count = Runs._in_order, Runs._aggregate

    def in_order(self: Runs, *arguments: Any) -> Iterator[Any]:
        refuse_text(arguments)
        return read(self, *arguments)

    def aggregate(self: Runs, pipeline: list[dict[str, Any]], batch: int = 0) -> Iterator[Any]:
        refuse_text(pipeline)
        return count(self, pipeline, batch)

    monkeypatch.setattr(Runs, "_in_order", in_order)
    monkeypatch.setattr(Runs, "_aggregate", aggregate)
    assert titles(acting_as, "gold") == {"one", "two", "three"}
    assert acting_as("dan").get(f"{URL}count/", {"search": "gold"}).json() == {"count": 3}


def test_the_lookup_of_the_text_index_is_remembered(
    acting_as: Actor, recorder: Recorder, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repositories, "_text_indexes", repositories._TextIndexes())
    dan = acting_as("dan")
    dan.get(URL, {"search": "gold", "catalog": "csx"})
    assert "listIndexes" in commands.names
    commands.sent.clear()
    dan.get(URL, {"search": "gold", "catalog": "csx"})
    assert "listIndexes" not in commands.names
