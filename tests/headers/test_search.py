"""search=: beginnings of words, in every text of the start document; within the rule."""

import pytest

from tests.conftest import Actor
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


def test_words_are_found_by_their_beginnings(acting_as: Actor, samples: Recorder) -> None:
    assert titles(acting_as, "gol fo") == {"one"}
    assert titles(acting_as, "old") == set()


def test_words_are_texts_and_no_patterns(acting_as: Actor, samples: Recorder) -> None:
    """ABUSE-CASES 4."""
    assert titles(acting_as, "(100%)") == {"two"}
    assert titles(acting_as, "go.*ld") == set()
    assert titles(acting_as, ".*") == set()
    assert titles(acting_as, "(z+)+$") == set()


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
