"""GET /api/v1/ links every route."""

import re

from tests.conftest import Actor
from tests.test_hidden_runs import routes


def test_it_names_every_route_of_the_api_and_nothing_else(acting_as: Actor) -> None:
    content = acting_as("nobody").get("/api/v1/").json()
    listed = {*content["routes"].values(), content["schema"]}
    there = {
        "http://testserver/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route)
        for route in routes()
        if route.startswith("api/v1/") and route != "api/v1/"
    }
    assert listed == there
    assert content["routes"]["header-detail"] == "http://testserver/api/v1/headers/{key}/"
    assert re.fullmatch(r"\d+\.\d+\.\d+", content["version"])


def test_it_is_a_page_with_links_for_people(acting_as: Actor) -> None:
    page = acting_as("nobody").get("/api/v1/", HTTP_ACCEPT="text/html").content.decode()
    assert 'href="http://testserver/api/v1/headers/"' in page
