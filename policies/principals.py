"""From a user to their Access, read from the database at each request."""

from collections import defaultdict

from django.contrib.auth.models import AnonymousUser
from django.db import DEFAULT_DB_ALIAS, connections
from django.utils import timezone

from policies.models import User
from policies.rule.access import Access

# Every request asks this, and the ORM spends several times longer on composing four
# queries than the database on answering this one. `Proposal.objects.readable_by` and its
# like say the same; a test holds them equal.
RIGHTS = """
SELECT 'proposal', proposal_id, NULL, NULL FROM policies_proposal
WHERE NOT locked AND (
    (public_from <= %(now)s AND NOT proprietary)
    OR id IN (
        SELECT proposal_id FROM policies_membership
        WHERE user_id = %(user)s AND (expires IS NULL OR expires > %(now)s)
    )
)
UNION ALL
SELECT 'beamline', beamline.name, NULL, NULL
FROM policies_beamline AS beamline
JOIN policies_beamline_staff AS staff ON staff.beamline_id = beamline.id
WHERE staff.user_id = %(user)s
UNION ALL
SELECT 'locked', proposal_id, NULL, NULL FROM policies_proposal
WHERE locked AND EXISTS (SELECT 1 FROM policies_beamline_staff WHERE user_id = %(user)s)
UNION ALL
SELECT 'override', proposal.proposal_id, moved.catalog, moved.run_uid
FROM policies_runoverride AS moved
JOIN policies_proposal AS proposal ON proposal.id = moved.proposal_id
"""


def access_of(user: User | AnonymousUser) -> Access:
    """What this user may read now. Anonymous and inactive users read what is public."""
    known = user if isinstance(user, User) and user.is_active else None
    rights: dict[str, set[str]] = defaultdict(set)
    overrides: dict[str, dict[str, str]] = defaultdict(dict)
    database = connections[DEFAULT_DB_ALIAS]
    # As the columns hold it, which for SQLite is as a text.
    now = database.ops.adapt_datetimefield_value(timezone.now())
    with database.cursor() as cursor:
        cursor.execute(RIGHTS, {"user": known.pk if known else None, "now": now})
        for kind, name, catalog, run_uid in cursor.fetchall():
            if kind == "override":
                overrides[catalog][run_uid] = name
            else:
                rights[kind].add(name)
    return Access(
        data_admin=known is not None and known.reads_everything,
        beamlines=frozenset(rights["beamline"]),
        proposals=frozenset(rights["proposal"]),
        locked=frozenset(rights["locked"]),
        overrides=dict(overrides),
    )
