"""API tokens: `dbk_<key>_<secret>`, long-lived, for scripts.

One is a single word, which a double click selects and programs take that ask for letters, digits
and `_`. Tokens of an older spelling, `dbk_<key>.<secret>`, work on.

The key finds the row; of the secret only an HMAC is stored, under a pepper that is not
in the database, so that a dump of it holds no usable token. Peppers rotate: the first
one signs, the others still verify, and a token moves to the first at its next use.

A token never decides what may be read. Its owner's access does, at each request, and the
token narrows it. It outlives sign-out and a change of password, and ends when it expires,
is revoked or its owner is deactivated.
"""

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from ipaddress import ip_network

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from policies.addresses import Address
from policies.models import APIToken, Beamline, Proposal, User
from policies.rule.access import Access

PREFIX = "dbk_"
FORM = re.compile(r"dbk_([a-z0-9]{16})(?:_(?=[A-Za-z0-9]{43}\Z)|\.)([A-Za-z0-9_-]{43})")
LETTERS = string.ascii_letters + string.digits
SECRET_LENGTH = 43  # of 62 letters: 256 bits
USE_NOTED_EVERY = timedelta(minutes=1)
MAX_TOKENS = 100


# Asked at every request: composing them by the ORM takes several times longer than running them.
ROW_OF_KEY = "SELECT * FROM policies_apitoken WHERE key = %s"
OWNER = "SELECT * FROM policies_user WHERE id = %s"


class APITokenRefused(Exception):
    """The token does not work (any more). `reason` is for the audit trail, not the caller."""

    def __init__(self, reason: str, key: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.key = key


@dataclass(frozen=True)
class Limits:
    """What a new token may do. None: not narrowed."""

    scopes: Sequence[str]
    proposals: Sequence[str] | None = None
    catalogs: Sequence[str] | None = None
    allowed_ips: Sequence[str] | None = None


def make_token(user: User, name: str, limits: Limits, lifetime: timedelta) -> tuple[APIToken, str]:
    """A new token, and its text, which is told now and never again."""
    key = secrets.token_hex(8)
    secret = "".join(secrets.choice(LETTERS) for _ in range(SECRET_LENGTH))
    token = APIToken.objects.create(
        user=user,
        name=name,
        key=key,
        digest=_digest(settings.TOKEN_PEPPERS[0], key, secret),
        scopes=list(limits.scopes),
        proposals=limits.proposals,
        catalogs=limits.catalogs,
        allowed_ips=limits.allowed_ips,
        expires=timezone.now() + lifetime,
    )
    return token, f"{PREFIX}{key}_{secret}"


def token_of(text: str, address: Address | None) -> APIToken:
    """The token, with its owner, that this text is and that works from this address."""
    found = FORM.fullmatch(text)
    if found is None:
        raise APITokenRefused("malformed")
    key, secret = found.groups()
    token = _stored(key)
    pepper = None if token is None else _pepper_of(token, secret)
    if token is None or pepper is None:
        raise APITokenRefused("unknown", key)
    check_usable(token, address)
    _note_use(token, pepper, secret)
    return token


def _stored(key: str) -> APIToken | None:
    """The row with its owner."""
    token = next(iter(APIToken.objects.raw(ROW_OF_KEY, [key])), None)
    if token is not None:
        token.user = next(iter(User.objects.raw(OWNER, [token.user_id])))
    return token


def check_usable(token: APIToken, address: Address | None) -> None:
    """Raises APITokenRefused unless the token works now and from this address."""
    if token.revoked is not None:
        raise APITokenRefused("revoked", token.key)
    if token.expires <= timezone.now():
        raise APITokenRefused("expired", token.key)
    if not token.user.is_active:
        raise APITokenRefused("owner deactivated", token.key)
    if not _is_allowed_from(token, address):
        raise APITokenRefused("address not allowed", token.key)


def revoke_token(token: APIToken) -> None:
    """It stops working at once."""
    token.revoked = timezone.now()
    token.save(update_fields=["revoked"])


def narrowed(access: Access, token: APIToken) -> Access:
    """What the token leaves of its owner's access."""
    return replace(
        access, only_proposals=_frozen(token.proposals), only_catalogs=_frozen(token.catalogs)
    )


def unreadable(user: User, access: Access, proposals: Iterable[str]) -> list[str]:
    """Those of the proposals that the user may not read, or that do not exist."""
    wanted = set(proposals)
    known = Proposal.objects.filter(proposal_id__in=wanted)
    if not access.data_admin:
        here = Beamline.objects.filter(staff=user)
        known = known.filter(Q(proposal_id__in=access.proposals) | Q(beamlines__in=here))
        known = known.filter(locked=False)
    return sorted(wanted - set(known.values_list("proposal_id", flat=True)))


def unwritable(user: User, catalogs: Iterable[str]) -> list[str]:
    """Those of the catalogs that the user may not have documents written to now."""
    if user.reads_everything:
        return []
    staffed = set(user.staffed_beamlines.values_list("name", flat=True)) if user.is_active else ()
    own = {catalog.name for catalog in settings.CATALOGS if catalog.beamline in staffed}
    return sorted(set(catalogs) - own)


def longest(user: User) -> timedelta:
    """How long a token of this user may live."""
    return timedelta(days=user.max_token_days)


def _is_allowed_from(token: APIToken, address: Address | None) -> bool:
    if token.allowed_ips is None:
        return True
    return address is not None and any(address in ip_network(item) for item in token.allowed_ips)


def _frozen(items: list[str] | None) -> frozenset[str] | None:
    return None if items is None else frozenset(items)


def _digest(pepper: bytes, key: str, secret: str) -> str:
    # The key goes in, too, so that a digest copied to another row is worth nothing.
    return hmac.new(pepper, f"{key}.{secret}".encode(), hashlib.sha256).hexdigest()


def _pepper_of(token: APIToken, secret: str) -> bytes | None:
    """The pepper under which the stored digest is of this secret."""
    for pepper in settings.TOKEN_PEPPERS:
        if hmac.compare_digest(_digest(pepper, token.key, secret), token.digest):
            return bytes(pepper)
    return None


def _note_use(token: APIToken, pepper: bytes, secret: str) -> None:
    now = timezone.now()
    first: bytes = settings.TOKEN_PEPPERS[0]
    if pepper != first:
        _with_digest(token, _digest(first, token.key, secret), now)
    elif token.last_used is None or now - token.last_used >= USE_NOTED_EVERY:
        APIToken.objects.filter(pk=token.pk).update(last_used=now)


def _with_digest(token: APIToken, digest: str, now: datetime) -> None:
    token.digest, token.last_used = digest, now
    token.save(update_fields=["digest", "last_used"])
