"""The environment: each wrong or missing value stops the start with a line that names it."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client

from broker_site import environment
from broker_site.environment import ConfigurationError
from tests.settings import CATALOGS_TOML

KEYS = {
    "BROKER_SECRET_KEY": "0123456789-abcdefghijklmnopqrstuvw",
    "BROKER_JWT_KEY": "jwt-0123456789-abcdefghijklmnopqrs",
}


def started(tmp_path: Path, *arguments: str, **environ: str | None) -> tuple[int, str]:
    """Exit status and output of `manage.py check` in a good environment with changes."""
    (tmp_path / "catalogs.toml").write_text(CATALOGS_TOML)
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    changed = {
        "BROKER_CATALOGS": str(tmp_path / "catalogs.toml"),
        "DATABASE_URL": f"sqlite:///{tmp_path}/policies.sqlite3",
        **KEYS,
        **environ,
    }
    done = subprocess.run(
        [sys.executable, str(settings.BASE_DIR / "manage.py"), "check", *arguments],
        env=kept | {name: value for name, value in changed.items() if value is not None},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


def test_starts_with_what_the_contract_asks_for(tmp_path: Path) -> None:
    assert started(tmp_path)[0] == 0


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("BROKER_SECRET_KEY", None, "is not set"),
        ("BROKER_JWT_KEY", "short", "needs at least 32 bytes"),
        ("BROKER_CATALOGS", "/nowhere/catalogs.toml", "cannot read /nowhere/catalogs.toml"),
        ("DATABASE_URL", "foo://bar", "foo"),
        ("BROKER_QUERY_SECONDS", "0", "0 is below 1"),
    ],
)
def test_a_wrong_value_stops_the_start_with_one_line_that_names_the_variable(
    name: str, value: str | None, reason: str, tmp_path: Path
) -> None:
    status, output = started(tmp_path, **{name: value})
    assert status == 1
    (line,) = output.strip().splitlines()
    assert line.startswith(f"Configuration error: {name}: ")
    assert reason in line


def test_the_two_keys_must_differ(tmp_path: Path) -> None:
    status, output = started(tmp_path, BROKER_JWT_KEY=KEYS["BROKER_SECRET_KEY"])
    assert status == 1
    assert "BROKER_JWT_KEY: must differ from BROKER_SECRET_KEY" in output


def test_debug_mode_starts_without_keys(tmp_path: Path) -> None:
    unset = dict.fromkeys(KEYS)
    assert started(tmp_path, BROKER_DEBUG="true", **unset)[0] == 0


# -- one value at a time ------------------


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.delenv("NAME", raising=False)
    monkeypatch.delenv("NAME_FILE", raising=False)
    return monkeypatch


def test_a_value_comes_from_the_variable_or_from_the_file_it_names(
    environ: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert environment.text("NAME", "default") == "default"
    (tmp_path / "value").write_text("from the file\n")
    environ.setenv("NAME_FILE", str(tmp_path / "value"))
    assert environment.text("NAME", "default") == "from the file"
    environ.delenv("NAME_FILE")
    environ.setenv("NAME", "direct")
    assert environment.text("NAME", "default") == "direct"


def test_a_value_and_a_file_at_once_are_refused(environ: pytest.MonkeyPatch) -> None:
    environ.setenv("NAME", "x")
    environ.setenv("NAME_FILE", "/x")
    with pytest.raises(ConfigurationError, match="NAME: set either NAME or NAME_FILE, not both"):
        environment.text("NAME")


def test_a_file_that_cannot_be_read_is_named(environ: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environ.setenv("NAME_FILE", str(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match="NAME_FILE: cannot read"):
        environment.text("NAME", "default")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    environ.setenv("NAME_FILE", str(tmp_path / "binary"))
    with pytest.raises(ConfigurationError, match="NAME_FILE: cannot read"):
        environment.text("NAME", "default")


@pytest.mark.parametrize(("value", "expected"), [("True", True), ("0", False), (" yes ", True)])
def test_truth_values(value: str, expected: bool, environ: pytest.MonkeyPatch) -> None:
    environ.setenv("NAME", value)
    assert environment.boolean("NAME", default=not expected) is expected


def test_what_is_no_truth_value_is_refused(environ: pytest.MonkeyPatch) -> None:
    environ.setenv("NAME", "maybe")
    with pytest.raises(ConfigurationError, match="NAME: 'maybe' is neither true nor false"):
        environment.boolean("NAME", default=True)


@pytest.mark.parametrize("value", ["", "1.5", "ten", "-1", "0x10"])
def test_what_is_no_whole_number_or_too_small_is_refused(
    value: str, environ: pytest.MonkeyPatch
) -> None:
    environ.setenv("NAME", value)
    with pytest.raises(ConfigurationError, match="NAME: "):
        environment.integer("NAME", 1)


def test_a_list_of_words_drops_what_is_empty(environ: pytest.MonkeyPatch) -> None:
    environ.setenv("NAME", " a.example.org, ,b.example.org,")
    assert environment.words("NAME", "") == ["a.example.org", "b.example.org"]


def test_a_key_counts_in_bytes(environ: pytest.MonkeyPatch) -> None:
    environ.setenv("NAME", "é" * 16)
    assert environment.secret("NAME", None) == "é" * 16
    environ.setenv("NAME", "x" * 31)
    with pytest.raises(ConfigurationError, match="NAME: needs at least 32 bytes"):
        environment.secret("NAME", None)


# -- What the documentation says -------------------------------------------------------------

SOURCES = ("broker_site", "policies", "headers", "events", "live", "deploy")
FOR_TESTS = "BROKER_(TEST|BENCH|REQUIRE_ALL)"
MADE_KEYS = {"BROKER_SECRET_KEY", "BROKER_JWT_KEY", "BROKER_TOKEN_PEPPERS"}


def _read_variables() -> set[str]:
    """Every variable that the service's code names."""
    found: set[str] = set()
    for folder in SOURCES:
        for file in (settings.BASE_DIR / folder).rglob("*.py"):
            found |= set(re.findall(r"\"(BROKER_[A-Z_]+)\"", file.read_text()))
    return found


def _documented() -> dict[str, str]:
    """Variable → default, of the tables of docs/CONFIGURATION.md."""
    text = (settings.BASE_DIR / "docs" / "CONFIGURATION.md").read_text()
    found: dict[str, str] = {}
    for names, defaults in re.findall(r"^\| (`[A-Z`_, ]+`) \| ([^|]+) \|", text, re.MULTILINE):
        variables = re.findall(r"[A-Z_]+", names)
        # Several in one row have as many defaults, or share one.
        values = defaults.split(", ") if len(variables) > 1 else [defaults]
        for variable, value in zip(variables, values * len(variables), strict=False):
            found[variable] = value.strip().strip("`")
    prose = text.partition("For development and tests only:")[2].partition("## ")[0]
    in_prose = re.findall(r"`(BROKER_[A-Z_]+)(?:=1)?`(?: \(`(\w+)`)?", prose)
    return found | dict(in_prose)


def _as_documented(code: str) -> str:
    """A default of the code as the tables write it."""
    value = eval(code, {"__builtins__": {}})  # 512 * 2**20 is no literal
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value >= 2**20:
        power = max(n for n in (2, 3, 4) if value >= 2 ** (10 * n))
        return f"{value // 2 ** (10 * power)} {' KMGT'[power]}iB"
    return str(value) or "none"


def test_every_variable_that_is_read_is_documented_and_no_other() -> None:
    documented = {name for name in _documented() if name.startswith("BROKER_")}
    ours = {name for name in documented if not re.match(FOR_TESTS, name)}
    assert ours == _read_variables()


def test_the_documented_defaults_are_those_of_the_code() -> None:
    documented, defaults = _documented(), dict(_defaults_of_settings())
    assert len(defaults) > 15
    assert {name: documented[name] for name in defaults} == defaults


def _defaults_of_settings() -> Iterator[tuple[str, str]]:
    """Of the calls environment.KIND("BROKER_…", default)."""
    text = (settings.BASE_DIR / "broker_site" / "settings.py").read_text()
    for call in ast.walk(ast.parse(text)):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            continue
        name = ast.unparse(call.args[0]).strip("'") if call.args else ""
        named = [word.value for word in call.keywords if word.arg == "default"]
        default = next(iter([*call.args[1:2], *named]), None)
        # Keys have a default in debug mode only, and the peppers one that is made of a key.
        if name.startswith("BROKER_") and default and name not in MADE_KEYS:
            yield name, _as_documented(ast.unparse(default))


def test_the_version_is_that_of_the_project(client: Client) -> None:
    project = tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text())["project"]
    changelog = (settings.BASE_DIR / "CHANGELOG.md").read_text()
    assert f"## {project['version']}" in changelog
    assert client.get("/api/v1/schema/?format=json").json()["info"]["version"] == project["version"]
