"""Texts from files and services that become names in the database, with its validators."""

from collections.abc import Callable
from typing import ClassVar

from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from broker_site.outside import CheckedText
from policies.models import identifier


class Text(CheckedText):
    longest: ClassVar[int] = 500
    validators: ClassVar[tuple[Callable[[str], None], ...]] = ()

    @classmethod
    def check(cls, value: str) -> None:
        if len(value) > cls.longest:
            raise ValueError(f"has more than {cls.longest} characters")
        if not value.isprintable():
            raise ValueError("has a control character")
        try:
            for validate in cls.validators:
                validate(value)
        except ValidationError as error:
            raise ValueError(" ".join(error.messages)) from None


class ShortText(Text):
    longest = 200


class Username(Text):
    longest = 150
    validators = (UnicodeUsernameValidator(),)


class Identifier(Text):
    """As beamlines and proposals are named."""

    longest = 100
    validators = (identifier,)


def _email(value: str) -> None:
    if value:
        validate_email(value)


class Email(Text):
    """An address, or nothing."""

    longest = 254
    validators = (_email,)
