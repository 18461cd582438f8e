"""The service does not start in a configuration that is not safe."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.checks import ERROR, run_checks
from django.test import override_settings

from tests.settings import CATALOGS_TOML

KEY = "a-random-key-of-more-than-32-bytes-0123456789"
DEFAULT = "debug-only-secret-key-debug-only-secret-key-"


def rest_framework(**changes: Any) -> dict[str, Any]:
    return {"REST_FRAMEWORK": settings.REST_FRAMEWORK | changes}


def refusals() -> set[str]:
    return {str(message.id) for message in run_checks() if message.level >= ERROR}


def test_the_settings_as_they_are_are_safe() -> None:
    assert refusals() == set()


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"SECRET_KEY": DEFAULT}, "broker.E001"),
        ({"JWT_KEY": "changeme-changeme-changeme-changeme"}, "broker.E001"),
        ({"JWT_KEY": "x" * 40}, "broker.E001"),
        ({"SECRET_KEY": KEY, "JWT_KEY": KEY}, "broker.E002"),
        (
            rest_framework(
                DEFAULT_AUTHENTICATION_CLASSES=[
                    "rest_framework_simplejwt.authentication.JWTStatelessUserAuthentication"
                ]
            ),
            "broker.E003",
        ),
        (rest_framework(DEFAULT_AUTHENTICATION_CLASSES=[]), "broker.E003"),
        (
            rest_framework(DEFAULT_PERMISSION_CLASSES=["rest_framework.permissions.AllowAny"]),
            "broker.E004",
        ),
        (rest_framework(DEFAULT_PERMISSION_CLASSES=[]), "broker.E004"),
        (rest_framework(NUM_PROXIES=None), "broker.E005"),
        ({"DATABASES": settings.DATABASES | {"catalog_csx": {}}}, "broker.E006"),
        ({"ALLOWED_HOSTS": ["*"]}, "broker.E007"),
    ],
)
def test_an_unsafe_setting_is_refused(changes: dict[str, Any], refusal: str) -> None:
    """ABUSE-CASES 25."""
    with override_settings(**changes):
        assert refusal in refusals()


def test_debug_mode_may_use_its_own_keys() -> None:
    with override_settings(DEBUG=True, SECRET_KEY=DEFAULT, ALLOWED_HOSTS=["*"]):
        assert not {"broker.E001", "broker.E007"} & refusals()


def started(tmp_path: Path, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "catalogs.toml").write_text(CATALOGS_TOML)
    good = {
        "BROKER_CATALOGS": str(tmp_path / "catalogs.toml"),
        "BROKER_SECRET_KEY": KEY,
        "BROKER_JWT_KEY": KEY[::-1],
        "DATABASE_URL": f"sqlite:///{tmp_path}/policies.sqlite3",
        "PYTHONPATH": f"{tmp_path}:{settings.BASE_DIR}",
        "PATH": os.environ["PATH"],
    }
    return subprocess.run(
        [sys.executable, *command],
        env=good | environ,
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(
    "command", [("-c", "import broker_site.wsgi"), ("manage.py", "check")], ids=["serve", "check"]
)
def test_neither_the_server_nor_the_check_pass_with_a_default_key(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    """ABUSE-CASES 25."""
    done = started(tmp_path, *command, BROKER_SECRET_KEY=DEFAULT)
    assert done.returncode != 0
    assert "BROKER_SECRET_KEY: is a well-known default" in done.stderr


def test_the_server_starts_with_good_settings_and_not_with_a_database_that_is_written(
    tmp_path: Path,
) -> None:
    """ABUSE-CASES 25."""
    assert started(tmp_path, "-c", "import broker_site.wsgi").returncode == 0
    (tmp_path / "unsafe.py").write_text(
        "from broker_site.settings import *\nDATABASES['catalog_csx'] = DATABASES['default']\n"
    )
    done = started(tmp_path, "-c", "import broker_site.wsgi", DJANGO_SETTINGS_MODULE="unsafe")
    assert done.returncode != 0
    assert "Refusing to start" in done.stderr
    assert "only 'default' is known" in done.stderr


POSTGRESQL, SQLITE = (f"django.db.backends.{name}" for name in ("postgresql", "sqlite3"))
GOOD = {"ALLOWED_HOSTS": ["localhost"], "NUM_PROXIES": 0, "CACHE_URL": ""}


def warnings(**changes: Any) -> set[str]:
    """What `manage.py check --deploy` warns of, of the service's own, in good settings changed."""
    with override_settings(**GOOD | changes):
        messages = run_checks(include_deployment_checks=True)
    return {str(message.id) for message in messages if str(message.id).startswith("broker.W")}


@pytest.mark.parametrize(
    ("engine", "changes", "warning"),
    [
        (SQLITE, {}, set()),
        (SQLITE, {"NUM_PROXIES": 1}, {"broker.W001"}),
        (SQLITE, {"CACHE_URL": "redis://there"}, {"broker.W001"}),
        (POSTGRESQL, {"NUM_PROXIES": 1, "CACHE_URL": "redis://there"}, set()),
        (POSTGRESQL, {"ALLOWED_HOSTS": ["data.example.org"]}, {"broker.W002"}),
        (POSTGRESQL, {"ALLOWED_HOSTS": ["data.example.org"], "NUM_PROXIES": 1}, set()),
    ],
)
def test_a_mistake_in_operating_is_told(
    engine: str, changes: dict[str, Any], warning: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(settings.DATABASES["default"], "ENGINE", engine)
    assert warnings(**changes) == warning


def test_files_that_everybody_can_write_are_told(tmp_path: Path) -> None:
    catalogs, var = tmp_path / "catalogs.toml", tmp_path / "var"
    catalogs.touch()
    var.mkdir()

    def told(of_catalogs: int, of_var: int) -> set[str]:
        catalogs.chmod(of_catalogs)
        var.chmod(of_var)
        return warnings(CATALOGS_FILE=catalogs, STATIC_ROOT=var / "static")

    assert told(0o640, 0o700) == set()
    assert told(0o666, 0o700) == {"broker.W003"}
    assert told(0o640, 0o777) == {"broker.W003"}
    assert told(0o640, 0o1777) == set()  # as /tmp: nobody replaces the files of others


def test_a_clock_that_is_behind_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker_site.checks.time.time", lambda: 1_600_000_000.0)
    assert warnings() == {"broker.W004"}
