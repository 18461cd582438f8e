"""What answers about events hold, for the OpenAPI document."""

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from broker_site.openapi import answers, header
from headers.schemas import RUN

FILES = answers(410, 413, 501)
"""what routes answer that read detector files"""
RUN_WITH_FILES = RUN | FILES
ARRAY_HEADERS = [
    header("X-Array-Shape", "numbers of elements, the slowest axis first, such as `20,512,512`"),
    header("X-Array-Dtype", "as numpy writes it, such as `<u2`"),
]


@extend_schema_serializer(many=False)
class EventPage(serializers.Serializer[object]):
    """A page of event documents, as they are stored.

    Of fields in files, `_links` has the address of each array.
    """

    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)
    results = serializers.ListField(child=serializers.DictField())
