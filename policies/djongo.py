"""Users, groups and permissions out of a database that djongo kept Django's own tables in.

djongo stores a table as a collection of its name, a row as a document with the columns as keys;
`__schema__` holds its counters, which nothing here needs. All is brought in one transaction,
or nothing. An account that is here already keeps its password and its flags: what somebody wrote
elsewhere must not open it. It only gains groups and permissions.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import pymongo
from bson.codec_options import CodecOptions
from django.contrib.auth.hashers import identify_hasher, is_password_usable
from django.contrib.auth.models import Group, Permission
from django.core.exceptions import ValidationError
from django.db import transaction
from pymongo.errors import PyMongoError

from policies import audit
from policies.models import User

Row = dict[str, Any]
Tables = Mapping[str, list[Row]]

TABLES = (
    "auth_user",
    "auth_group",
    "auth_permission",
    "django_content_type",
    "auth_user_groups",
    "auth_user_user_permissions",
    "auth_group_permissions",
)
SECONDS = 5
FIELDS = ("first_name", "last_name", "email", "is_staff", "is_active", "last_login", "date_joined")
USER_MODEL = ("policies", "user")
"""of this service; djongo's was auth.user"""


class DjongoError(ValueError):
    """The database cannot be read, or holds what cannot be brought. Nothing was changed."""


@dataclass
class ImportOutcome:
    """What an import did, and what it left for a person to decide; one line each."""

    changes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_tables(uri: str) -> Tables:
    """The rows of djongo's tables by collection. DjongoError says why there are none."""
    try:
        with pymongo.MongoClient[Row](uri, serverSelectionTimeoutMS=SECONDS * 1000) as client:
            options: CodecOptions[Row] = CodecOptions(tz_aware=True)
            database = client.get_default_database(codec_options=options)
            if "auth_user" not in database.list_collection_names():
                raise DjongoError(f"{database.name} has no collection auth_user, as djongo makes")
            return {name: list(database[name].find({}, {"_id": 0})) for name in TABLES}
    except PyMongoError as error:
        # Its text may repeat the address, and with it a password.
        raise DjongoError(f"cannot be read: {type(error).__name__}") from error


def import_tables(
    tables: Tables, *, superusers: bool = False, dry_run: bool = False
) -> ImportOutcome:
    """Brings what `read_tables` gave, in one transaction. A dry run keeps none of it."""
    outcome = ImportOutcome()
    with transaction.atomic():
        with audit.in_bulk():
            permissions = _permissions(tables, outcome)
            groups = dict(_groups(tables, permissions, outcome))
            users = dict(_users(tables, superusers, outcome))
            _give_groups(tables, users, groups, outcome)
            _give_permissions(tables, users, permissions, outcome)
        transaction.set_rollback(dry_run)
    return outcome


def _permissions(tables: Tables, outcome: ImportOutcome) -> dict[Any, Permission]:
    """djongo's id → the permission of this service."""
    known = {
        (p.content_type.app_label, p.content_type.model, p.codename): p
        for p in Permission.objects.select_related("content_type")
    }
    types = {row.get("id"): _model(row) for row in tables["django_content_type"]}
    found, used = {}, _used_permissions(tables)
    for row in tables["auth_permission"]:
        label, model = types.get(row.get("content_type_id"), ("?", "?"))
        permission = known.get((label, model, str(row.get("codename"))))
        if permission is not None:
            found[row.get("id")] = permission
        elif row.get("id") in used:
            outcome.notes.append(f"permission {label}.{row.get('codename')}: not known here, left")
    return found


def _model(row: Row) -> tuple[str, str]:
    named = str(row.get("app_label")), str(row.get("model"))
    return USER_MODEL if named == ("auth", "user") else named


def _used_permissions(tables: Tables) -> set[Any]:
    links = tables["auth_user_user_permissions"] + tables["auth_group_permissions"]
    return {link.get("permission_id") for link in links}


def _groups(
    tables: Tables, permissions: Mapping[Any, Permission], outcome: ImportOutcome
) -> Iterator[tuple[Any, Group]]:
    for row in tables["auth_group"]:
        name = str(row.get("name", ""))
        group = Group.objects.filter(name=name).first()
        if group is None:
            group = Group(name=name)
            _check(group, f"group {name!r}")
            group.save()
            outcome.changes.append(f"+ group {name}")
        links = [r for r in tables["auth_group_permissions"] if r.get("group_id") == row.get("id")]
        wanted = {permissions[id] for r in links if (id := r.get("permission_id")) in permissions}
        for permission in sorted(wanted - set(group.permissions.all()), key=str):
            group.permissions.add(permission)
            outcome.changes.append(f"+ permission {permission.codename} of the group {name}")
        yield row.get("id"), group


def _users(tables: Tables, superusers: bool, outcome: ImportOutcome) -> Iterator[tuple[Any, User]]:
    names = Counter(row.get("username") for row in tables["auth_user"])
    if twice := [name for name, count in names.items() if count > 1]:
        raise DjongoError(f"auth_user has {twice[0]!r} twice")
    there = {user.username: user for user in User.objects.all()}
    for row in tables["auth_user"]:
        name = str(row.get("username", ""))
        if name in there:
            outcome.notes.append(f"user {name}: is here already, keeps password and flags")
            yield row.get("id"), there[name]
        else:
            yield row.get("id"), _new_user(name, row, superusers, outcome)


def _new_user(name: str, row: Row, superusers: bool, outcome: ImportOutcome) -> User:
    given = {key: row[key] for key in FIELDS if row.get(key) is not None}
    user = User(username=name, **given)
    password = row.get("password")
    if verifiable(password):
        user.password = str(password)
    else:
        user.set_unusable_password()
        outcome.notes.append(f"user {name}: no password that can be verified here")
    if row.get("is_superuser"):
        user.is_superuser = superusers
        given_or_not = "made one" if superusers else "not made one without --superusers"
        outcome.notes.append(f"user {name}: was a superuser, {given_or_not}")
    _check(user, f"user {name!r}")
    user.save()
    outcome.changes.append(f"+ user {name}")
    return user


def verifiable(encoded: Any) -> bool:
    """Whether Django can verify a password by this hash: known, complete, its library here."""
    if not isinstance(encoded, str) or not is_password_usable(encoded):
        return False
    try:
        hasher = identify_hasher(encoded)
        library = hasher.library
        module = library if isinstance(library, str) or library is None else library[-1]
        if module is not None and find_spec(module) is None:
            return False
        return bool(hasher.decode(encoded)["hash"])
    except (ValueError, AssertionError, KeyError, IndexError):
        return False


def _give_groups(
    tables: Tables, users: Mapping[Any, User], groups: Mapping[Any, Group], outcome: ImportOutcome
) -> None:
    for link in tables["auth_user_groups"]:
        user, group = users.get(link.get("user_id")), groups.get(link.get("group_id"))
        if user and group and not user.groups.filter(pk=group.pk).exists():
            user.groups.add(group)
            outcome.changes.append(f"+ user {user.username} in the group {group.name}")


def _give_permissions(
    tables: Tables,
    users: Mapping[Any, User],
    permissions: Mapping[Any, Permission],
    outcome: ImportOutcome,
) -> None:
    for link in tables["auth_user_user_permissions"]:
        user = users.get(link.get("user_id"))
        permission = permissions.get(link.get("permission_id"))
        if user and permission and permission not in user.user_permissions.all():
            user.user_permissions.add(permission)
            outcome.changes.append(f"+ permission {permission.codename} of user {user.username}")


def _check(instance: User | Group, label: str) -> None:
    try:
        instance.full_clean()
    except ValidationError as error:
        first = next(iter(error.message_dict.items()))
        raise DjongoError(f"{label}: {first[0]}: {' '.join(first[1])}") from error
