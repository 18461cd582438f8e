"""Passwords of a directory, checked against Debian's slapd on 127.0.0.1."""

import subprocess
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import authenticate
from django.core.cache import caches
from django.test import Client, RequestFactory
from rest_framework.test import APIClient

from policies.models import Beamline, ProviderGrant, User
from policies.signin.sso_config import load_ldap
from tests.conftest import PASSWORD, People
from tests.programs import free_port, lacking, program, wait_for_port

pytestmark = pytest.mark.django_db

SERVER = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/slapd.pid
database mdb
suffix "dc=example,dc=org"
rootdn "cn=broker,dc=example,dc=org"
rootpw broker-secret
directory {folder}/db
"""
ENTRIES = """
dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=example,dc=org
objectClass: organizationalUnit
ou: groups

dn: uid=carol,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: carol
givenName: Carol
cn: Carol Ng
sn: Ng
mail: carol@example.org
userPassword: directory-password

dn: uid=alice,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: alice
cn: Another Alice
sn: Other
userPassword: directory-password

dn: cn=csx-staff,ou=groups,dc=example,dc=org
objectClass: groupOfNames
cn: csx-staff
member: uid=carol,ou=people,dc=example,dc=org
"""
FILE = """
uri = "ldap://127.0.0.1:{port}"
bind_dn = "cn=broker,dc=example,dc=org"
bind_password = "env:DIRECTORY_PASSWORD"
user_base = "ou=people,dc=example,dc=org"
group_base = "ou=groups,dc=example,dc=org"
beamline_staff = {{ "csx-staff" = ["csx"] }}
data_admin_groups = ["data-office"]
"""

Directory = Callable[[str], None]
"""changes entries, as an LDIF says"""


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def directory(port: int, tmp_path: Path) -> Iterator[Directory]:
    if find_spec("ldap") is None:
        lacking("python-ldap (requirements-ldap.txt)")
    (tmp_path / "db").mkdir()
    (tmp_path / "slapd.conf").write_text(SERVER.format(folder=tmp_path))
    config = ["-f", str(tmp_path / "slapd.conf")]
    subprocess.run([program("slapadd"), *config], input=ENTRIES, text=True, check=True)
    url = f"ldap://127.0.0.1:{port}"
    server = subprocess.Popen([program("slapd"), *config, "-h", url, "-d", "0"])

    def change(ldif: str) -> None:
        who = ["-D", "cn=broker,dc=example,dc=org", "-w", "broker-secret"]
        modify = [program("ldapmodify"), "-x", "-H", url, *who]
        subprocess.run(modify, input=ldif, text=True, check=True, stdout=subprocess.DEVNULL)

    try:
        wait_for_port(port)
        yield change
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture
def configured(
    directory: Directory, people: People, settings: Any, port: int, tmp_path: Path
) -> Directory:
    configure(settings, port, tmp_path)
    return directory


def configure(settings: Any, port: int, folder: Path) -> None:
    caches["counters"].clear()
    (folder / "ldap.toml").write_text(FILE.format(port=port))
    settings.LDAP = load_ldap(folder / "ldap.toml", {"DIRECTORY_PASSWORD": "broker-secret"})
    backends = [*settings.AUTHENTICATION_BACKENDS, "policies.signin.ldap.DirectoryBackend"]
    settings.AUTHENTICATION_BACKENDS = backends


def sign_in(username: str, password: str = "directory-password") -> Any:
    return authenticate(RequestFactory().post("/login/"), username=username, password=password)


def test_a_person_of_the_directory_becomes_a_user_without_a_password_here(
    configured: Directory,
) -> None:
    carol = sign_in("carol")
    assert carol == User.objects.get(username="carol")
    assert (carol.get_full_name(), carol.email) == ("Carol Ng", "carol@example.org")
    assert not carol.has_usable_password()
    assert not carol.is_staff
    assert sign_in("CAROL") == carol


def test_the_directory_works_at_every_door(configured: Directory) -> None:
    given = {"username": "carol", "password": "directory-password"}
    assert APIClient().post("/api/v1/auth/token/", given, format="json").status_code == 200
    page = Client().post("/login/", {"login": "carol", "password": "directory-password"})
    assert page.status_code == 302


@pytest.mark.parametrize("password", ["wrong", "", "*"])
def test_a_wrong_or_empty_password_is_refused(configured: Directory, password: str) -> None:
    assert sign_in("carol", password) is None
    assert not User.objects.filter(username="carol").exists()


@pytest.mark.parametrize("name", ["*", "carol)(uid=*", "car*", "carol\x00", "nobody"])
def test_a_user_name_is_no_filter(configured: Directory, name: str) -> None:
    """ABUSE 1: an operator where a value is expected."""
    assert sign_in(name) is None


def test_groups_give_and_take_staff_rights(configured: Directory) -> None:
    carol = sign_in("carol")
    assert list(Beamline.objects.filter(staff=carol)) == [Beamline.objects.get(name="csx")]
    configured(
        "dn: cn=csx-staff,ou=groups,dc=example,dc=org\nchangetype: modify\nreplace: member\n"
        "member: uid=alice,ou=people,dc=example,dc=org\n"
    )
    sign_in("carol")
    assert not Beamline.objects.filter(staff=carol).exists()
    assert not ProviderGrant.objects.exists()


def test_the_directory_does_not_take_over_a_local_account(
    configured: Directory, people: People
) -> None:
    """ABUSE 22: alice here has her own password; the directory's alice is somebody else."""
    assert sign_in("alice") is None
    assert sign_in("alice", PASSWORD) == people.alice


@pytest.mark.parametrize("right", ["is_superuser", "data_admin", "is_staff"])
def test_the_directory_does_not_get_rights_that_were_given_to_a_name(
    configured: Directory, right: str
) -> None:
    """ABUSE 22: the account is made here, with rights; its name is somebody's in the directory."""
    carol = User(username="carol", **{right: True})
    carol.set_unusable_password()
    carol.save()
    assert sign_in("carol") is None
    assert APIClient().get("/api/v1/auth/whoami/").json()["user"] is None
    User.objects.filter(pk=carol.pk).update(**{right: False})
    assert sign_in("carol") == carol


def test_rights_given_after_the_first_sign_in_stay(configured: Directory) -> None:
    carol = sign_in("carol")
    assert carol.bound_to == "ldap"
    User.objects.filter(pk=carol.pk).update(data_admin=True, is_staff=True)
    assert sign_in("carol").data_admin
    User.objects.filter(pk=carol.pk).update(is_superuser=True)
    assert sign_in("carol") is None


def test_a_data_admin_by_the_directorys_own_group_is_signed_in(configured: Directory) -> None:
    configured(
        "dn: cn=data-office,ou=groups,dc=example,dc=org\nchangetype: add\n"
        "objectClass: groupOfNames\ncn: data-office\n"
        "member: uid=carol,ou=people,dc=example,dc=org\n"
    )
    assert sign_in("carol").data_admin
    User.objects.update(bound_to="")
    assert sign_in("carol").data_admin


def test_a_deactivated_user_does_not_get_in(configured: Directory) -> None:
    carol = sign_in("carol")
    User.objects.filter(pk=carol.pk).update(is_active=False)
    assert sign_in("carol") is None


def test_local_passwords_work_while_the_directory_is_down(
    people: People, settings: Any, port: int, tmp_path: Path
) -> None:
    if find_spec("ldap") is None:
        lacking("python-ldap (requirements-ldap.txt)")
    configure(settings, port, tmp_path)
    assert sign_in("alice", PASSWORD) == people.alice
    assert sign_in("carol") is None
