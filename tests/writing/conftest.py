"""Writers' tokens, and what they stored."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgpack
import pytest
from rest_framework.test import APIClient

from headers.catalogs import Catalog
from headers.mongo import database
from policies.models import User
from policies.tokens import Limits, make_token
from tests.conftest import People

Doc = dict[str, Any]
Documents = list[tuple[str, Doc]]
URL = "/api/v1/catalogs/csx/documents/"


def token_client(user: User, **limits: Any) -> APIClient:
    given = {"scopes": ["write:documents"], "catalogs": ["csx"], **limits}
    _, text = make_token(user, "beamline", Limits(**given), timedelta(days=1))
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    return client


class Writer:
    """Posts documents as the token of somebody."""

    def __init__(self, client: APIClient) -> None:
        self.client = client

    def __call__(self, *documents: tuple[str, Doc], url: str = URL) -> Any:
        body = b"".join(msgpack.packb(list(document)) for document in documents)
        return self.client.post(url, body, content_type="application/msgpack")


@pytest.fixture
def writer(people: People, writable: Catalog) -> Writer:
    """Of sue, staff of csx, for all proposals."""
    return Writer(token_client(people.sue))


@pytest.fixture
def stored(writable: Catalog) -> Callable[[str], list[Doc]]:
    """What a collection holds, without `_id`, in order of being stored."""

    def read(collection: str) -> list[Doc]:
        assets = collection in ("resource", "datum", "stream_resource", "stream_datum")
        found = database(writable.assets if assets else writable.metadata)[collection].find()
        return [{k: v for k, v in doc.items() if k != "_id"} for doc in found]

    return read
