"""What comes in and what is answered, for the OpenAPI document."""

from rest_framework import serializers


class IntakeReceipt(serializers.Serializer[object]):
    """Of a batch of documents of one run."""

    run = serializers.CharField(allow_null=True, help_text="uid of its start document")
    accepted = serializers.IntegerField(help_text="documents that are stored now")
    known = serializers.IntegerField(help_text="of these, those that were stored before")
    state = serializers.ChoiceField(("open", "closed"), help_text="closed: its stop is stored")


class TiledDocument(serializers.Serializer[object]):
    name = serializers.CharField(help_text="start, descriptor, event_page, …, stop")
    doc = serializers.DictField()
