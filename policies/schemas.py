"""What answers about people and their tokens hold, for the OpenAPI document."""

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers


class APITokenSummary(serializers.Serializer[object]):
    """An API token without its text. None as a limit: the owner's own rights are the limit."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    key = serializers.CharField(help_text="the part of the token that may be shown")
    scopes = serializers.ListField(child=serializers.CharField())
    proposals = serializers.ListField(child=serializers.CharField(), allow_null=True)
    catalogs = serializers.ListField(child=serializers.CharField(), allow_null=True)
    allowed_ips = serializers.ListField(child=serializers.CharField(), allow_null=True)
    created = serializers.DateTimeField()
    expires = serializers.DateTimeField()
    last_used = serializers.DateTimeField(allow_null=True)


class MadeAPIToken(APITokenSummary):
    token = serializers.CharField(help_text="shown in this answer only")


@extend_schema_serializer(many=False)
class APITokenPage(serializers.Serializer[object]):
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)
    results = APITokenSummary(many=True)


class Person(serializers.Serializer[object]):
    username = serializers.CharField()
    email = serializers.CharField(allow_blank=True)


class OwnProposal(serializers.Serializer[object]):
    proposal_id = serializers.CharField()
    title = serializers.CharField(allow_blank=True)
    role = serializers.CharField()
    expires = serializers.DateTimeField(allow_null=True)


class WhoAmI(serializers.Serializer[object]):
    user = Person(allow_null=True)
    roles = serializers.ListField(child=serializers.CharField())
    proposals = OwnProposal(many=True)
    beamlines = serializers.ListField(child=serializers.CharField())
    authenticated_by = serializers.ChoiceField(("jwt", "api-token", "session", "anonymous"))
    token = APITokenSummary(allow_null=True)
