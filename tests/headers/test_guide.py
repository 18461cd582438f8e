"""The help page: every example on it can be clicked, and finds what it says."""

import html
import json
import re

import pytest
from django.test import Client

from headers.guide import FILTERS, OPERATORS, QUERIES, Example
from headers.queries import parse_query
from tests.conftest import People
from tests.documents import Recorder
from tests.headers.test_pages import browser_of, text_of

EXAMPLES = [*FILTERS, *QUERIES]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.shown)
def test_every_example_opens_the_list(example: Example, people: People, recorder: Recorder) -> None:
    recorder.run("312000")
    assert 'role="alert"' not in text_of(browser_of(people, "alice"), example.url)


def test_examples_find_what_they_say(people: People, recorder: Recorder) -> None:
    found = recorder.run("312000", plan_name="grid_scan", num_points=50)
    other = recorder.run("312000", plan_name="count", num_points=5, exit_status="abort")
    expected = {
        "a field has a value": (True, False),
        "a number is in a range": (True, False),
        "not what is inside": (True, False),
        "how the run ended": (False, True),
        "one of several values": (False, True),
    }
    for example in QUERIES:
        if example.says in expected:
            page = text_of(browser_of(people, "nobody"), example.url)
            assert (found in page, other in page) == expected[example.says], example


def test_the_page_shows_the_examples_as_links(db: None) -> None:
    page = html.unescape(text_of(Client(), "/help/"))
    for example in EXAMPLES:
        assert f'href="{example.url}"' in page
        assert example.shown in page
    assert Client().get("/help/?unknown=1").status_code == 400


def test_every_operator_of_the_grammar_is_explained() -> None:
    told = {name for names, _ in OPERATORS for name in names.split()}
    with pytest.raises(ValueError, match="operator") as refusal:
        parse_query('{"a": {"$none": 1}}')
    known = set(re.findall(r"\$\w+", str(refusal.value))) - {"$none"}
    assert known - told == set()
    for name in told - {"$and", "$or", "$not", "$in", "$nin", "$exists", "$regex"}:
        parse_query(json.dumps({"a": {name: 1}}))
