"""People, proposals and permissions, in the SQL database."""

import uuid
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import AbstractUser, Group, UserManager
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone

from policies.tracking import Tracked, TrackedQuerySet

identifier = RegexValidator(
    r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z",
    "Use letters, digits, '.', '_' and '-', beginning with a letter or a digit.",
)


class People(UserManager["User"]):
    """Django's manager, whose bulk changes are reported too."""

    def get_queryset(self) -> TrackedQuerySet["User"]:
        return TrackedQuerySet(self.model, using=self._db)


class User(Tracked, AbstractUser):
    untracked = frozenset({"last_login"})
    hidden = frozenset({"password"})

    data_admin = models.BooleanField(
        default=False, help_text="May read every run of every beamline, as superusers may."
    )
    max_token_days = models.PositiveSmallIntegerField(
        default=90, help_text="API tokens that they make live at most this many days."
    )
    bound_to = models.CharField(
        max_length=40,
        blank=True,
        editable=False,
        help_text="ldap: the directory has signed this account in. Empty: it has not yet.",
    )

    objects: ClassVar[People] = People()

    @property
    def reads_everything(self) -> bool:
        return self.is_active and (self.is_superuser or self.data_admin)


class Beamline(Tracked):
    name = models.CharField(
        max_length=100,
        unique=True,
        validators=[identifier],
        help_text="As in `beamline` of the catalogs file, e.g. csx.",
    )
    title = models.CharField(max_length=200, blank=True)
    staff = models.ManyToManyField(
        settings.AUTH_USER_MODEL,
        blank=True,
        related_name="staffed_beamlines",
        help_text="May read every run of this beamline that is not in a locked proposal.",
    )

    objects = TrackedQuerySet["Beamline"].as_manager()

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.title or self.name


class ProposalQuerySet(TrackedQuerySet["Proposal"]):
    def public(self) -> "ProposalQuerySet":
        """Proposals that everybody may read now."""
        return self.filter(public_from__lte=timezone.now(), proprietary=False, locked=False)

    def readable_by(self, user_id: int | None) -> "ProposalQuerySet":
        """Proposals that are public, or that the user is a current member of; none is locked."""
        if user_id is None:
            return self.public()
        current = Membership.objects.current().filter(user_id=user_id).values("proposal")
        public = Q(public_from__lte=timezone.now(), proprietary=False)
        return self.filter(public | Q(pk__in=current), locked=False)


class Proposal(Tracked):
    proposal_id = models.CharField(max_length=100, unique=True, validators=[identifier])
    title = models.CharField(max_length=500, blank=True)
    beamlines = models.ManyToManyField(Beamline, blank=True, related_name="proposals")
    public_from = models.DateTimeField(
        null=True, blank=True, help_text="Everybody may read its runs from then on. Empty: never."
    )
    proprietary = models.BooleanField(default=False, help_text="Never public, whatever the date.")
    locked = models.BooleanField(default=False, help_text="Only data admins may read its runs.")
    cycle = models.CharField(
        max_length=50, blank=True, help_text="The latest cycle it has beam time in, e.g. 2026-2."
    )
    members = models.ManyToManyField(
        settings.AUTH_USER_MODEL, through="Membership", related_name="proposals", blank=True
    )

    objects = ProposalQuerySet.as_manager()

    class Meta:
        ordering = ("proposal_id",)

    def __str__(self) -> str:
        return f"{self.proposal_id} {self.title}".strip()

    @property
    def is_public(self) -> bool:
        released = self.public_from is not None and self.public_from <= timezone.now()
        return released and not self.proprietary and not self.locked


class MembershipQuerySet(TrackedQuerySet["Membership"]):
    def current(self) -> "MembershipQuerySet":
        return self.filter(Q(expires=None) | Q(expires__gt=timezone.now()))


class Membership(Tracked):
    class Role(models.TextChoices):
        PI = "pi", "Principal investigator"
        MEMBER = "member", "Member"

    class Source(models.TextChoices):
        MANUAL = "manual", "Set by a person"
        SYNC = "sync", "From the proposal service"

    proposal = models.ForeignKey(Proposal, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships"
    )
    role = models.CharField(max_length=20, choices=Role.choices, default=Role.MEMBER)
    expires = models.DateTimeField(
        null=True, blank=True, help_text="The membership ends then. Empty: it does not end."
    )
    source = models.CharField(
        max_length=20,
        choices=Source.choices,
        default=Source.MANUAL,
        editable=False,
        help_text="The sync never touches what a person has set.",
    )

    objects = MembershipQuerySet.as_manager()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("proposal", "user"), name="one_membership_each"),
        )

    def __str__(self) -> str:
        return f"{self.user} in {self.proposal.proposal_id}"

    @property
    def is_current(self) -> bool:
        return self.expires is None or self.expires > timezone.now()


class EmbargoChange(models.Model):
    """Somebody moved the day from which a proposal is public, and said why."""

    proposal = models.ForeignKey(
        Proposal, on_delete=models.CASCADE, related_name="embargo_changes", editable=False
    )
    before = models.DateTimeField(null=True, editable=False)
    after = models.DateTimeField(null=True, editable=False)
    reason = models.CharField(max_length=500, editable=False)
    made = models.DateTimeField(auto_now_add=True)
    made_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, editable=False
    )

    class Meta:
        ordering = ("-made",)

    def __str__(self) -> str:
        return f"{self.proposal.proposal_id} on {self.made:%Y-%m-%d}: {self.reason}"


class ProposalSync(models.Model):
    """One run of `sync_proposals`, whether it changed anything or not."""

    class Outcome(models.TextChoices):
        DONE = "done", "Done"
        REFUSED = "refused", "Refused: too much would end"
        FAILED = "failed", "Failed"

    made = models.DateTimeField(auto_now_add=True)
    source = models.CharField(max_length=500)
    outcome = models.CharField(max_length=20, choices=Outcome.choices)
    added = models.PositiveIntegerField(default=0)
    ended = models.PositiveIntegerField(default=0)
    restored = models.PositiveIntegerField(default=0)
    changes = models.TextField(blank=True, help_text="one line each")

    class Meta:
        ordering = ("-made",)

    def __str__(self) -> str:
        return f"{self.made:%Y-%m-%d %H:%M} {self.get_outcome_display()}"


class RunOverride(Tracked):
    """The proposal a run really belongs to, where its document names another one."""

    catalog = models.CharField(max_length=100, validators=[identifier])
    run_uid = models.CharField(max_length=100)
    proposal = models.ForeignKey(Proposal, on_delete=models.PROTECT, related_name="overrides")
    reason = models.CharField(max_length=500)
    created = models.DateTimeField(auto_now_add=True, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, editable=False
    )

    objects = TrackedQuerySet["RunOverride"].as_manager()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("catalog", "run_uid"), name="one_override_per_run"),
        )

    def __str__(self) -> str:
        return f"{self.run_uid} → {self.proposal.proposal_id}"


class Session(models.Model):
    """One sign-in of a program: its access and refresh tokens work as long as it does."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_sessions"
    )
    refresh_id = models.UUIDField(help_text="jti of the one refresh token that is not spent")
    spent_id = models.UUIDField(null=True, help_text="jti of the refresh token before that one")
    password_hash = models.CharField(
        max_length=128, help_text="ends the session when the password changes"
    )
    created = models.DateTimeField(auto_now_add=True)
    refreshed = models.DateTimeField(auto_now=True)
    expires = models.DateTimeField()
    ended = models.DateTimeField(null=True, blank=True)
    end_reason = models.CharField(max_length=50, blank=True)

    def __str__(self) -> str:
        return f"{self.user} since {self.created:%Y-%m-%d %H:%M}"


def links_of_policy() -> list[type[models.Model]]:
    """The many-to-many relations that give rights."""
    return [
        Beamline.staff.through,
        Proposal.beamlines.through,
        User.groups.through,
        User.user_permissions.through,
        Group.permissions.through,
    ]


class APIToken(Tracked):
    """A long-lived token of a script. It can only narrow what its owner may do."""

    class Scope(models.TextChoices):
        METADATA = "read:metadata", "Read metadata"
        DATA = "read:data", "Read data"
        WRITE = "write:documents", "Write documents of new runs"

    untracked = frozenset({"last_used"})
    hidden = frozenset({"digest"})

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens"
    )
    name = models.CharField(max_length=100)
    key = models.CharField(max_length=16, unique=True, help_text="the part that is not secret")
    digest = models.CharField(max_length=64, help_text="HMAC-SHA256 of the secret part")
    scopes = models.JSONField()
    proposals = models.JSONField(null=True, help_text="null: not narrowed")
    catalogs = models.JSONField(null=True, help_text="null: not narrowed")
    allowed_ips = models.JSONField(null=True, help_text="networks; null: from anywhere")
    created = models.DateTimeField(auto_now_add=True)
    expires = models.DateTimeField()
    last_used = models.DateTimeField(null=True)
    revoked = models.DateTimeField(null=True)

    objects = TrackedQuerySet["APIToken"].as_manager()

    class Meta:
        ordering = ("-created",)

    def __str__(self) -> str:
        return f"{self.name} ({self.key})"


class ReadOnlyRowError(TypeError):
    """Somebody tried to change or to remove an audit event."""


class AppendOnlyQuerySet(models.QuerySet["AuditEvent"]):
    def update(self, **values: Any) -> int:
        raise ReadOnlyRowError("Audit events are never changed.")

    def delete(self) -> tuple[int, dict[str, int]]:
        raise ReadOnlyRowError("Audit events are removed by 'manage.py prune_audit' only.")


class AuditEvent(models.Model):
    """Something that happened, for good. Names people and tokens as they were then."""

    class Kind(models.TextChoices):
        SIGN_IN = "sign-in", "Sign-in"
        SIGN_IN_FAILED = "sign-in-failed", "Sign-in failed"
        LOCKED_OUT = "locked-out", "Locked out"
        SESSION_ENDED = "session-ended", "Session ended"
        REFUSED = "refused", "Refused"
        READ = "read", "Read of restricted data"
        WRITTEN = "written", "Documents written or refused"
        POLICY = "policy", "Change of policy"
        TOKEN = "token", "Change of an API token"
        PRUNED = "pruned", "Old audit events removed"

    time = models.DateTimeField(default=timezone.now)
    kind = models.CharField(max_length=20, choices=Kind.choices)
    actor = models.CharField(max_length=150, blank=True, help_text="user name; empty: nobody")
    actor_pk = models.BigIntegerField(null=True)
    credential = models.CharField(max_length=100, blank=True, help_text="token, session, browser")
    address = models.GenericIPAddressField(null=True)
    route = models.CharField(max_length=300, blank=True, help_text="method and path, no query")
    catalog = models.CharField(max_length=100, blank=True)
    run_uid = models.CharField("run", max_length=100, blank=True)
    proposal = models.CharField(max_length=100, blank=True)
    bytes = models.BigIntegerField(null=True)
    status = models.PositiveSmallIntegerField(null=True)
    result = models.CharField(max_length=100, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    details = models.JSONField(default=dict)

    objects = AppendOnlyQuerySet.as_manager()

    class Meta:
        ordering = ("-time", "-pk")
        indexes = (
            models.Index(fields=("time",), name="audit_by_time"),
            models.Index(fields=("actor", "time"), name="audit_by_actor"),
            models.Index(fields=("run_uid", "time"), name="audit_by_run"),
            models.Index(fields=("kind", "time"), name="audit_by_kind"),
        )

    def __str__(self) -> str:
        return f"{self.time:%Y-%m-%d %H:%M:%S} {self.kind} {self.actor or 'nobody'}"

    def save(self, *args: Any, **options: Any) -> None:
        if not self._state.adding:
            raise ReadOnlyRowError("Audit events are never changed.")
        super().save(*args, **options)

    def delete(self, *args: Any, **options: Any) -> tuple[int, dict[str, int]]:
        raise ReadOnlyRowError("Audit events are removed by 'manage.py prune_audit' only.")


class ProviderGrant(models.Model):
    """A right that the claims of an identity provider gave, and only they take away."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="provider_grants"
    )
    provider = models.CharField(max_length=40, help_text="its id in the sign-on file, or ldap")
    beamline = models.ForeignKey(
        Beamline, on_delete=models.CASCADE, null=True, help_text="Empty: data admin."
    )
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("user", "provider", "beamline"), name="one_staff_grant_each"
            ),
            models.UniqueConstraint(
                fields=("user", "provider"),
                condition=Q(beamline=None),
                name="one_data_admin_grant_each",
            ),
        )

    def __str__(self) -> str:
        return f"{self.user}: {self.beamline or 'data admin'} by {self.provider}"


class DeviceRequest(models.Model):
    """A program waits for somebody to confirm its code in the browser (RFC 8628)."""

    class Answer(models.TextChoices):
        PENDING = "pending", "Not answered yet"
        CONFIRMED = "confirmed", "Confirmed"
        DENIED = "denied", "Denied"

    device_code_hash = models.CharField(max_length=64, unique=True)
    user_code_hash = models.CharField(max_length=64, unique=True)
    client_name = models.CharField(max_length=80, blank=True)
    address = models.GenericIPAddressField(null=True, help_text="where the program asked from")
    network = models.GenericIPAddressField(help_text="what open requests are counted for")
    answer = models.CharField(max_length=10, choices=Answer.choices, default=Answer.PENDING)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True)
    interval = models.PositiveSmallIntegerField(help_text="seconds between two questions")
    asked = models.DateTimeField(null=True, help_text="when the program asked last")
    created = models.DateTimeField(auto_now_add=True)
    expires = models.DateTimeField(db_index=True)

    class Meta:
        indexes = (models.Index(fields=("network", "expires"), name="device_requests_of_network"),)

    def __str__(self) -> str:
        return f"{self.client_name or 'a program'} at {self.address}: {self.answer}"


class SharedValue(models.Model):
    """A small value that all workers share for a while; see `policies.shared_cache`."""

    key = models.CharField(max_length=250, primary_key=True)
    value = models.JSONField()
    expires = models.DateTimeField(null=True, db_index=True)

    def __str__(self) -> str:
        return self.key
