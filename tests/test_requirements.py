"""Pins and lock files agree, and name all that an installation needs."""

import ast
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from django.conf import settings
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
FILES = (
    "requirements",
    "requirements-dev",
    "requirements-ldap",
    "requirements-saml",
    "tests/parity/requirements",
    "tests/tiled/requirements",
    "tests/tiled/requirements-old",
    "client/tests/requirements",
    "bench/requirements-peer",
)
LOCKED = re.compile(r"([A-Za-z0-9._-]+)==(\S+?) *((?:\\\n +--hash=sha256:[0-9a-f]{64} *)+)\n")


def pins(name: str) -> dict[str, str]:
    """Package → version, of a file and of those that it names."""
    found: dict[str, str] = {}
    file = ROOT / f"{name}.txt"
    for line in file.read_text().splitlines():
        if line.startswith("-r "):
            found |= pins(line.removeprefix("-r ").removesuffix(".txt"))
        elif line and not line.startswith("#"):
            package, version = line.split("==")
            found[canonicalize_name(package)] = version
    return found


@pytest.mark.parametrize("name", FILES)
def test_the_lock_file_has_every_pin_with_hashes_and_nothing_else(name: str) -> None:
    """`make lock` writes it anew; it names no host that packages come from."""
    text = (ROOT / f"{name}.lock").read_text()
    found = LOCKED.findall(text)
    assert {canonicalize_name(package): version for package, version, _ in found} == pins(name)
    assert LOCKED.sub("", text).strip() == ""


@pytest.mark.parametrize("name", ["requirements", "requirements-dev"])
def test_what_a_pinned_package_needs_is_pinned_too(name: str) -> None:
    """Lock files are installed without looking at dependencies, so none may be left out."""
    pinned = pins(name)
    missing = {
        f"{package} needs {requirement}"
        for package in pinned
        for requirement in _needs(package)
        if canonicalize_name(requirement.name) not in pinned
    }
    assert missing == set()


def test_what_the_service_imports_is_pinned_for_it() -> None:
    """What is there for tests alone is not there where the service runs."""
    pinned = pins("requirements") | pins("requirements-ldap") | pins("requirements-saml")
    packages = packages_distributions()
    imported = {(name, file) for file in _sources() for name in _imported(file)}
    assert {name for name, _ in imported} >= {"django", "pymongo", "numpy"}
    missing = {
        f"{file} imports {name}"
        for name, file in imported
        if name in packages and not {canonicalize_name(p) for p in packages[name]} & pinned.keys()
    }
    assert missing == set()


def _sources() -> Iterator[Path]:
    for app in sorted({name.partition(".")[0] for name in settings.INSTALLED_APPS}):
        yield from (ROOT / app).glob("**/*.py")
    yield from (ROOT / "broker_site").glob("**/*.py")


def _imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").partition(".")[0]


def _needs(package: str) -> list[Requirement]:
    try:
        texts = requires(package) or []
    except PackageNotFoundError:
        pytest.fail(f"{package} is pinned, but not installed: run `make install`")
    found = [Requirement(text) for text in texts]
    return [r for r in found if r.marker is None or r.marker.evaluate({"extra": ""})]
