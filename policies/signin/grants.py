"""What group claims give: beamline staff and data admin, kept apart from what people gave.

At each sign-in a provider's grants become what its claims say. Only rights that a provider
gave are ever taken away by one; what an administrator gave by hand stays.
"""

from collections.abc import Collection

from django.db import transaction
from django.db.models import QuerySet

from policies.audit import with_reason
from policies.models import Beamline, ProviderGrant, User
from policies.signin.sso_config import GroupRules

DATA_ADMIN = None
"""stands where the id of a beamline would"""


def apply_grants(user: User, provider: str, rules: GroupRules, groups: Collection[str]) -> None:
    """Makes the provider's grants to the user what its groups mean by the rules."""
    beamlines = Beamline.objects.filter(name__in=rules.beamlines(groups))
    wanted: set[int | None] = set(beamlines.values_list("pk", flat=True))
    if rules.data_admin(groups):
        wanted.add(DATA_ADMIN)
    with with_reason(f"the claims of {provider} at a sign-in"), transaction.atomic():
        # The lock lets two sign-ins of one person follow each other.
        person = User.objects.select_for_update().get(pk=user.pk)
        given = ProviderGrant.objects.filter(user=person, provider=provider)
        held = set(given.values_list("beamline", flat=True))
        for place in wanted:
            _give(person, provider, place)
        for place in held - wanted:
            _take(person, provider, place)
    user.data_admin = person.data_admin


def has_rights_by_hand(user: User, provider: str) -> bool:
    """Whether somebody here, not this provider, made the user a data admin or staff of the admin.

    Who did so meant the person who signs in to this account. A provider that has not signed
    that person in yet may know somebody else by its name.
    """
    granted = _grants_of(user, DATA_ADMIN).filter(provider=provider).exists()
    return user.is_staff or (user.data_admin and not granted)


def _give(user: User, provider: str, place: int | None) -> None:
    given_by_hand = _holds(user, place) and not _grants_of(user, place).exists()
    if given_by_hand:
        return
    if not _grants_of(user, place).filter(provider=provider).exists():
        ProviderGrant.objects.create(user=user, provider=provider, beamline_id=place)
    _set(user, place, holds=True)


def _take(user: User, provider: str, place: int | None) -> None:
    _grants_of(user, place).filter(provider=provider).delete()
    if not _grants_of(user, place).exists():
        _set(user, place, holds=False)


def _grants_of(user: User, place: int | None) -> QuerySet[ProviderGrant]:
    """Of all providers. (A filter by `beamline=None` would find nothing.)"""
    if place is DATA_ADMIN:
        return ProviderGrant.objects.filter(user=user, beamline__isnull=True)
    return ProviderGrant.objects.filter(user=user, beamline=place)


def _holds(user: User, place: int | None) -> bool:
    if place is DATA_ADMIN:
        return user.data_admin
    return user.staffed_beamlines.filter(pk=place).exists()


def _set(user: User, place: int | None, *, holds: bool) -> None:
    if _holds(user, place) == holds:
        return
    if place is not DATA_ADMIN:
        change = user.staffed_beamlines.add if holds else user.staffed_beamlines.remove
        change(place)
        return
    user.data_admin = holds
    user.save(update_fields=["data_admin"])
