"""What answers about runs hold, for the OpenAPI document.

Documents are as they are stored: what a run_start or a descriptor has beside its `uid` is for
whoever recorded it to say, and old or broken ones may lack even that.
"""

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from broker_site.openapi import answers

RUN = answers(304, 404, 409)
"""what routes answer whose key names a run"""


class Header(serializers.Serializer[object]):
    """A run. With `fields`, documents hold only what was asked for."""

    uid = serializers.CharField(allow_null=True)
    catalog = serializers.CharField()
    proposal = serializers.CharField(allow_null=True)
    start = serializers.DictField(required=False, help_text="run_start document")
    stop = serializers.DictField(
        required=False, allow_null=True, help_text="run_stop document; null while the run is open"
    )
    descriptors = serializers.ListField(child=serializers.DictField(), required=False)


class StreamSummary(serializers.Serializer[object]):
    """A stream of a run, with its data keys."""

    name = serializers.CharField()
    descriptors = serializers.ListField(child=serializers.CharField(allow_null=True))
    event_count = serializers.IntegerField()
    fields = serializers.DictField(  # type: ignore[assignment]
        child=serializers.DictField(), help_text="data key → dtype, shape, units, source, …"
    )


class HeaderWithStreams(Header):
    """A run with its descriptors and streams."""

    streams = StreamSummary(many=True)


class Missing(serializers.Serializer[object]):
    """What an answer over several catalogs may lack."""

    unavailable = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="catalogs that do not answer"
    )
    incomplete = serializers.DictField(
        child=serializers.CharField(),
        required=False,
        help_text="catalog → time of the last run that was looked at",
    )


@extend_schema_serializer(many=False)
class HeaderPage(Missing):
    """A page of runs. It may be short while `next` goes on."""

    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)
    results = Header(many=True)


class HeaderCount(Missing):
    count = serializers.IntegerField()


DESCRIPTOR = {
    "type": "object",
    "description": "The event descriptor as it is stored",
    "additionalProperties": {},
}


FACETS = {
    "type": "object",
    "description": "By path, its most frequent values and how many runs have each",
    "properties": {
        "unavailable": {"type": "array", "description": "catalogs that do not answer"},
        "incomplete": {"description": "catalog → time of the last run that was looked at"},
    },
    "additionalProperties": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["value", "count"],
            "properties": {"value": {}, "count": {"type": "integer"}},
        },
    },
}
