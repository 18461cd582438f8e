"""Data from outside, checked against types of msgspec. An error names the place and the fault.

Knows neither Django nor the network.
"""

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")
Refusal = Callable[[str], Exception]
"""makes the error to raise from its text"""

PLACE = re.compile(r"(?s)(?P<fault>.*?)(?: - at `(?:key` in `)?\$(?P<path>.*)`)?")
EXPECTED = re.compile(r"Expected (?P<type>`[^`]+`)(?P<rule>[^,]*)(?:, got `(?P<found>.*)`)?")
CHOICE = re.compile(r" matching regex '\^\((?P<names>[\w|]+)\)\\+Z'")
FIELD = re.compile(r"(?s)Object (?:contains unknown|missing required) field `(?P<name>.*)`")
WORDS = {
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "null",
    "NoneType": "null",
    "array": "a list",
    "list": "a list",
    "object": "an object",
    "dict": "an object",
    "datetime": "a time with zone such as 2026-07-01T00:00:00Z",
}
MAX_QUOTED = 100


class CheckedText(str):
    """A text that has to pass a check."""

    @staticmethod
    def check(value: str) -> None:
        """ValueError says what is wrong with it."""


class EnvironmentText(CheckedText):
    """A text that is not empty. `env:NAME` stands for the environment variable NAME, or for the
    content of the file that NAME_FILE points to.
    """

    @staticmethod
    def check(value: str) -> None:
        if not value:
            raise ValueError("must be a text that is not empty")


def one_of(*names: str) -> Any:
    """The constraint that a text is one of these."""
    return msgspec.Meta(pattern=rf"^({'|'.join(names)})\Z")


def checked(
    value: Any,
    kind: type[T],
    place: str,
    refusal: Refusal,
    environ: Mapping[str, str] = os.environ,
) -> T:
    """The value as the type says. Else what `refusal` makes of `place.key[0]: what is wrong`."""

    def text(wanted: type[CheckedText], found: Any) -> CheckedText:
        if not isinstance(found, str):
            raise ValueError(f"Expected `str`, got `{type(found).__name__}`")
        if issubclass(wanted, EnvironmentText) and found.startswith("env:"):
            found = _variable(found.removeprefix("env:"), environ)
        wanted.check(found)
        return wanted(found)

    try:
        return msgspec.convert(value, kind, dec_hook=text)
    except msgspec.ValidationError as error:
        raise refusal(_described(str(error), place)) from None


def read_toml(path: Path, refusal: Refusal) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise refusal(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise refusal(f"{path} is not valid TOML: {error}") from error


def _variable(name: str, environ: Mapping[str, str]) -> str:
    path = environ.get(f"{name}_FILE")
    try:
        value = environ.get(name) or (Path(path).read_text().strip() if path else "")
    except OSError as error:
        raise ValueError(f"{name}_FILE: cannot read {path}: {error.strerror}") from None
    if not value:
        raise ValueError(f"the environment variable {name} is not set")
    return value


def _described(text: str, place: str) -> str:
    """msgspec's text in plain words, with the place before it."""
    found = PLACE.fullmatch(text)
    fault, path = (found["fault"], found["path"] or "") if found else (text, "")
    where = f"{place}{path}".lstrip(".")
    return f"{where}: {_fault(fault)}" if where else _fault(fault)


def _fault(text: str) -> str:
    if field := FIELD.fullmatch(text):
        name = field["name"][:MAX_QUOTED]
        return f"lacks {name}" if "missing" in text else f"has the unknown key {name!r}"
    if expected := EXPECTED.fullmatch(text):
        wanted = " or ".join(_word(name) for name in expected["type"].strip("`").split(" | "))
        if choice := CHOICE.fullmatch(expected["rule"]):
            return f"must be {' or '.join(map(repr, choice['names'].split('|')))}"
        got = f", not {_word(expected['found'])}" if expected["found"] else ""
        return f"must be {wanted}{expected['rule']}{got}"
    return text.replace("Invalid RFC3339 encoded datetime", f"must be {WORDS['datetime']}")


def _word(name: str) -> str:
    return WORDS.get(name, f"of type {name}")
