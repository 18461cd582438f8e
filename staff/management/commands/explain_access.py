from dataclasses import replace
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.core.management.base import BaseCommand, CommandError, CommandParser

from headers.finding import AmbiguousKey, RunFinder, RunNotFound
from headers.index.runs import CatalogsUnavailable
from headers.repositories import Run
from policies.explain import explain
from policies.models import User
from policies.principals import access_of

NOBODY = ("anonymous", "-")


class Command(BaseCommand):
    help = "Tells whether somebody may read a run, and by which rule."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", help="a username, or 'anonymous' or '-' for nobody")
        parser.add_argument("run_uid", help="a uid, or enough of its first characters")

    def handle(self, *args: Any, user: str, run_uid: str, **options: Any) -> None:
        person = _person(user)
        run = _run(run_uid)
        decision = explain(person, run.catalog, run.start)
        verdict = "allowed" if decision.allowed else "denied"
        self.stdout.write(f"{verdict}: {decision.rule.value}\n{decision.text}")
        self.stdout.write(f"run {run.uid} of {run.catalog.name}, proposal {decision.proposal}")


def _person(name: str) -> User | AnonymousUser:
    if name in NOBODY:
        return AnonymousUser()
    user = User.objects.filter(username=name).first()
    if user is None:
        raise CommandError(f"There is no user {name!r}; 'anonymous' or '-' stands for nobody.")
    return user


def _run(key: str) -> Run:
    # Who runs management commands has the databases in their hands already.
    access = replace(access_of(AnonymousUser()), data_admin=True)
    runs = RunFinder(settings.CATALOGS, access)
    try:
        return runs.find(key)
    except RunNotFound:
        raise CommandError(f"There is no run {key!r} in any catalog.") from None
    except AmbiguousKey:
        raise CommandError(f"Several runs start with {key!r}; use more characters.") from None
    except CatalogsUnavailable as error:
        raise CommandError(f"No answer from {', '.join(error.names)}.") from None
