"""What of a page's state is in its address, so that a copied link shows the same again.

The pages' scripts read and write it (static/broker/address.js); here it is only let through. What a
script does not know of a name or a value, such as a field that a run does not have, it leaves out.
"""

from rest_framework import serializers

from broker_site.parameters import Parameters, Texts


class ViewState(Parameters):
    """Of the curves of a run; a page or a part of one that has more in its address adds it here."""

    repeatable: tuple[str, ...] = ("y", "expr")
    stream = serializers.CharField(required=False, max_length=500, help_text="the rest is about it")
    x = serializers.CharField(required=False, max_length=500)
    y = Texts(serializers.CharField(max_length=500), required=False, max_length=100)
    expr = Texts(serializers.CharField(max_length=300), required=False, max_length=8)
    scale = serializers.ChoiceField(("log",), required=False)
    time = serializers.ChoiceField(("seconds",), required=False)
    zoom = serializers.RegexField(r"^[-+.0-9eE]{1,40},[-+.0-9eE]{1,40}$", required=False)
