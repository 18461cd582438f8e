"""How bodies of documents are read: as bytes, of bounded size."""

from collections.abc import Mapping
from typing import IO, Any

from rest_framework.parsers import BaseParser

from broker_site import media_types
from broker_site.problems import Problem
from writing.documents import MAX_BODY


class BodyParser(BaseParser):
    """Takes the bytes as they are. Raises Problem (413) if they are too many."""

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        body: bytes = stream.read(MAX_BODY + 1)
        if len(body) > MAX_BODY:
            raise Problem(413, f"At most {MAX_BODY} bytes are taken at once: send them in parts.")
        return body


class MsgpackBody(BodyParser):
    media_type = media_types.MSGPACK


class NdjsonBody(BodyParser):
    media_type = media_types.NDJSON


class AnyBody(BodyParser):
    """For clients of Tiled, which send JSON and do not say so."""

    media_type = "*/*"
