"""Text from documents that cannot change how the text around it is read."""

import re

INVISIBLE = re.compile(
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)
"""control characters, and marks that turn the reading direction"""
WEB_ADDRESS = re.compile(r"https?://[^\s<>\"'\\]{1,2000}", re.ASCII)
"""what alone becomes a link"""


def visible(text: str) -> str:
    """The text with what is invisible written out, as ‹U+202E›."""
    return INVISIBLE.sub(lambda found: f"‹U+{ord(found[0]):04X}›", text)
