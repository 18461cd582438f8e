"""What answers about events hold, for the OpenAPI document."""

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers


@extend_schema_serializer(many=False)
class EventPage(serializers.Serializer[object]):
    """A page of event documents, as they are stored.

    Of fields in files, `_links` has the address of each array.
    """

    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)
    results = serializers.ListField(child=serializers.DictField())
