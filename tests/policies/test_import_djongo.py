"""import_djongo: what djongo wrote of people, all of it or nothing, and no rights by surprise."""

from collections.abc import Callable
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from pymongo import MongoClient
from pytest_django.fixtures import Settings

from headers.catalogs import Catalog
from policies.djongo import verifiable
from policies.models import AuditEvent, User
from tests.conftest import PASSWORD, People

pytestmark = pytest.mark.django_db
Row = dict[str, Any]

JOINED = datetime(2019, 5, 1, tzinfo=UTC)
HASHERS = [
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
    "django.contrib.auth.hashers.Argon2PasswordHasher",
]


def row(id: int, username: str, **fields: Any) -> Row:
    """As djongo 1.3 stores a user."""
    password = PBKDF2PasswordHasher().encode(PASSWORD, "salt", iterations=10)
    own = {"id": id, "username": username, "password": password, "email": "", "first_name": "Ann"}
    flags = {"is_superuser": False, "is_staff": False, "is_active": True, "last_name": "Lee"}
    return own | flags | {"last_login": None, "date_joined": JOINED} | fields


TABLES: dict[str, list[Row]] = {
    "__schema__": [{"name": "auth_user", "auto": {"field_names": ["id"], "seq": 4}}],
    "auth_user": [
        row(1, "ann", email="ann@example.org", is_staff=True),
        row(2, "root", is_superuser=True, is_staff=True),
        row(3, "old", password="sha1$a$b"),
        row(4, "gone", is_active=False),
    ],
    "auth_group": [{"id": 1, "name": "operators"}],
    "django_content_type": [
        {"id": 1, "app_label": "auth", "model": "user"},
        {"id": 2, "app_label": "databroker_app", "model": "run"},
    ],
    "auth_permission": [
        {"id": 1, "content_type_id": 1, "codename": "view_user", "name": "Can view user"},
        {"id": 2, "content_type_id": 2, "codename": "view_run", "name": "Can view run"},
    ],
    "auth_user_groups": [{"id": 1, "user_id": 1, "group_id": 1}],
    "auth_user_user_permissions": [{"id": 1, "user_id": 1, "permission_id": 1}],
    "auth_group_permissions": [
        {"id": 1, "group_id": 1, "permission_id": 1},
        {"id": 2, "group_id": 1, "permission_id": 2},
    ],
}


@pytest.fixture
def stored(catalogs: dict[str, Catalog], settings: Settings) -> Callable[..., str]:
    """Writes djongo's tables, with changes, and returns the address of their database."""
    settings.PASSWORD_HASHERS = HASHERS

    def write(**changes: list[Row]) -> str:
        uri = f"{catalogs['csx'].metadata}_djongo"
        with MongoClient[Row](uri) as client:
            database = client.get_default_database()
            for name, rows in (TABLES | changes).items():
                database[name].delete_many({})
                if rows:
                    database[name].insert_many([dict(row) for row in rows])
        return uri

    return write


def run(uri: str, *options: str) -> str:
    output = StringIO()
    call_command("import_djongo", uri, *options, stdout=output)
    return output.getvalue()


def test_users_groups_and_permissions_are_brought(stored: Callable[..., str]) -> None:
    output = run(stored())
    ann = User.objects.get(username="ann")
    assert ann.check_password(PASSWORD)
    assert (ann.email, ann.first_name, ann.date_joined) == ("ann@example.org", "Ann", JOINED)
    assert ann.is_staff
    assert not User.objects.get(username="gone").is_active
    assert [group.name for group in ann.groups.all()] == ["operators"]
    assert ann.has_perm("policies.view_user")
    assert Group.objects.get(name="operators").permissions.count() == 1
    assert "note: permission databroker_app.view_run: not known here, left" in output
    assert (
        AuditEvent.objects.filter(
            kind="policy", details__what="policies.User", result="created"
        ).count()
        == 4
    )


def test_a_superuser_is_reported_and_made_one_only_when_asked(stored: Callable[..., str]) -> None:
    assert "root: was a superuser, not made one without --superusers" in run(stored())
    assert not User.objects.get(username="root").is_superuser
    User.objects.get(username="root").delete()
    assert "root: was a superuser, made one" in run(stored(), "--superusers")
    assert User.objects.get(username="root").is_superuser


def test_a_password_that_cannot_be_verified_is_left(stored: Callable[..., str]) -> None:
    assert "note: user old: no password that can be verified here" in run(stored())
    assert not User.objects.get(username="old").has_usable_password()


@pytest.mark.parametrize(
    "encoded",
    [
        None,
        "",
        "!",
        5,
        "plain",
        "pbkdf2_sha256$x$salt$hash",
        "pbkdf2_sha256$1$salt",
        "argon2$argon2id$v",
    ],
)
def test_what_is_no_hash_of_a_password(encoded: Any, settings: Settings) -> None:
    settings.PASSWORD_HASHERS = HASHERS
    assert not verifiable(encoded)
    assert verifiable(PBKDF2PasswordHasher().encode("x", "salt", iterations=10))


def test_a_second_time_there_is_nothing_to_change(stored: Callable[..., str]) -> None:
    run(stored())
    assert run(stored()).endswith("nothing to change\n")


def test_a_dry_run_says_the_same_and_changes_nothing(stored: Callable[..., str]) -> None:
    dry = run(stored(), "--dry-run")
    assert not User.objects.exists()
    assert not Group.objects.filter(name="operators").exists()
    assert dry.replace("would change", "changed") == run(stored())


def test_an_account_that_is_here_keeps_password_and_flags(
    stored: Callable[..., str], people: People
) -> None:
    before = User.objects.filter(username="alice").values().get()
    foreign = row(1, "alice", is_superuser=True, is_staff=True, email="x@example.org")
    assert "user alice: is here already" in run(stored(auth_user=[foreign]), "--superusers")
    assert User.objects.filter(username="alice").values().get() == before
    assert people.alice.groups.get().name == "operators"


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (row(9, "no spaces allowed"), "user 'no spaces allowed': username"),
        (row(9, "ann"), "auth_user has 'ann' twice"),
        (row(9, "zoe", email="nowhere"), "user 'zoe': email"),
        (row(9, "zoe", is_active="perhaps"), "user 'zoe': is_active"),
    ],
)
def test_one_row_that_is_wrong_keeps_all_away(
    last: Row, reason: str, stored: Callable[..., str]
) -> None:
    uri = stored(auth_user=[*TABLES["auth_user"], last])
    with pytest.raises(CommandError, match=reason):
        run(uri)
    assert not User.objects.exists()


def test_a_database_that_djongo_did_not_write_is_named(catalogs: dict[str, Catalog]) -> None:
    with pytest.raises(CommandError, match="has no collection auth_user"):
        run(catalogs["hxn"].metadata)


def test_a_mistaken_address_is_not_repeated_with_its_password() -> None:
    with pytest.raises(CommandError, match="cannot be read") as refused:
        run("mongodb://me:secret@127.0.0.1:1")
    assert "secret" not in str(refused.value)
