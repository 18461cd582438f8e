"""Configuration from environment variables, each also accepted as NAME_FILE.

A wrong or missing value raises ConfigurationError, whose text is the one line
that the operator sees: it names the variable and says what is wrong with it.
"""

import os
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

TRUE = {"1", "true", "yes", "on"}
FALSE = {"0", "false", "no", "off"}


class ConfigurationError(ImproperlyConfigured):
    """The environment or the catalogs file is wrong; the service does not start."""


def text(name: str, default: str | None = None) -> str:
    """The value of NAME, or the content of the file that NAME_FILE points to."""
    value, path = os.environ.get(name), os.environ.get(f"{name}_FILE")
    if value is not None and path is not None:
        raise ConfigurationError(f"{name}: set either {name} or {name}_FILE, not both")
    if path is not None:
        value = _content(name, path)
    if value is None:
        value = default
    if value is None:
        raise ConfigurationError(f"{name}: is not set")
    return value


def _content(name: str, path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{name}_FILE: cannot read {path}: {error}") from error


def boolean(name: str, default: bool) -> bool:
    value = text(name, str(default)).strip().lower()
    if value not in TRUE | FALSE:
        raise ConfigurationError(f"{name}: {value!r} is neither true nor false")
    return value in TRUE


def integer(name: str, default: int, minimum: int = 0) -> int:
    value = text(name, str(default))
    try:
        number = int(value)
    except ValueError:
        raise ConfigurationError(f"{name}: {value!r} is not a whole number") from None
    if number < minimum:
        raise ConfigurationError(f"{name}: {number} is below {minimum}")
    return number


def words(name: str, default: str) -> list[str]:
    """A comma-separated list; empty items are dropped."""
    return [word for item in text(name, default).split(",") if (word := item.strip())]


def networks(name: str, default: str) -> list[IPv4Network | IPv6Network]:
    """A comma-separated list of addresses and networks, such as 127.0.0.1,10.0.0.0/8."""
    try:
        return [ip_network(word) for word in words(name, default)]
    except ValueError as error:
        raise ConfigurationError(f"{name}: {error}") from None


def secret(name: str, fallback: str | None) -> str:
    """A key of at least 32 bytes; `fallback` is for debug mode only."""
    value = text(name, fallback)
    if len(value.encode()) < 32:
        raise ConfigurationError(f"{name}: needs at least 32 bytes")
    return value
