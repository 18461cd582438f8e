"""What of a page's state is in its address, so that a copied link shows the same again.

The pages' scripts read and write it (static/broker/address.js); here it is only let through. What a
script does not know of a name or a value, such as a field that a run does not have, it leaves out.
"""

from rest_framework import serializers

from broker_site.parameters import Parameters, Texts


def _numbers(least: int, most: int) -> serializers.RegexField:
    """So many numbers, with commas between."""
    number = "[-+.0-9eE]{1,40}"
    return serializers.RegexField(
        f"^{number}(,{number}){{{least - 1},{most - 1}}}$", required=False
    )


class ViewState(Parameters):
    """Of the curves and frames of a run; a page that has more in its address adds it."""

    repeatable: tuple[str, ...] = ("y", "expr", "image")
    stream = serializers.CharField(required=False, max_length=500, help_text="the rest is about it")
    x = serializers.CharField(required=False, max_length=500)
    y = Texts(serializers.CharField(max_length=500), required=False, max_length=100)
    expr = Texts(serializers.CharField(max_length=300), required=False, max_length=8)
    scale = serializers.ChoiceField(("log",), required=False)
    time = serializers.ChoiceField(("seconds",), required=False)
    zoom = _numbers(2, 2)
    image = Texts(
        serializers.CharField(max_length=500),
        required=False,
        max_length=2,
        help_text="stream and field of the frames that the rest is about",
    )
    frame = _numbers(1, 2)
    cmap = serializers.CharField(required=False, max_length=40)
    contrast = serializers.CharField(required=False, max_length=40)
    limits = _numbers(2, 2)
    mask = _numbers(1, 1)
    region = _numbers(4, 4)
    view = _numbers(4, 4)
