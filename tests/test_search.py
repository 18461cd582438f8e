"""search=: by the text index where there is one, else in the usual fields; within the rule."""

import pytest

from headers import repositories
from headers.catalogs import Catalog
from headers.repositories import Runs
from headers.selection import Selection
from policies.access import Access
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


def test_words_are_found_in_the_usual_fields_in_any_case(
    acting_as: Actor, samples: Recorder
) -> None:
    assert titles(acting_as, "GOLD") == {"one", "two", "three"}
    assert titles(acting_as, "gold ann") == {"one"}
    assert titles(acting_as, "films") == {"two"}
    assert titles(acting_as, "silver") == set()


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
    [("gold", '"gold"'), ("-gold", '"-gold"'), ('"gold', '"gold"'), ('a"b  c', '"a" "b" "c"')],
)
def test_every_word_must_be_found_whatever_the_index_makes_of_its_signs(
    search: str, sent: str, catalogs: dict[str, Catalog], indexed: None
) -> None:
    runs = Runs(catalogs["csx"], Access(data_admin=True))
    assert runs._selected(Selection(search=search), {}) == {"$text": {"$search": sent}}


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
