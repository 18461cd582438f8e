"""What people write about runs, and the searches that they keep, in the SQL database.

MongoDB is not touched: a run is named by its catalog and uid, and may be gone.
"""

from django.conf import settings
from django.db import models

MAX_NOTE = 4000
MAX_TAG = 50
MAX_NAME = 80
MAX_QUERY = 8000


class OfRun(models.Model):
    """Something about one run."""

    catalog = models.CharField(max_length=100)
    run_uid = models.CharField(max_length=500)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True


class RunStar(OfRun):
    """Somebody wants to find a run again. Nobody else sees it."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, db_index=False)

    class Meta:
        default_permissions = ()
        constraints = (
            models.UniqueConstraint(fields=("user", "catalog", "run_uid"), name="one_star_each"),
        )

    def __str__(self) -> str:
        return f"{self.user_id} {self.run_uid}"


class RunTag(OfRun):
    """A word about a run, for all who may read it."""

    name = models.CharField(max_length=MAX_TAG, help_text="case folded")
    author = models.CharField(max_length=150, help_text="user name, as it was then")

    class Meta:
        default_permissions = ()
        constraints = (
            models.UniqueConstraint(fields=("run_uid", "catalog", "name"), name="one_tag_each"),
        )
        indexes = (models.Index(fields=("name",), name="tags_by_name"),)

    def __str__(self) -> str:
        return self.name


class RunNote(OfRun):
    """A text about a run, for all who may read it."""

    text = models.TextField(max_length=MAX_NOTE)
    author = models.CharField(max_length=150, help_text="user name, as it was then")
    author_pk = models.BigIntegerField()

    class Meta:
        default_permissions = ()
        indexes = (models.Index(fields=("run_uid", "catalog", "created"), name="notes_of_run"),)

    def __str__(self) -> str:
        return f"{self.author}, {self.created:%Y-%m-%d}"


class SavedSearch(models.Model):
    """Filters of the list of runs under a name that somebody gave them."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, db_index=False)
    name = models.CharField(max_length=MAX_NAME)
    query = models.CharField(max_length=MAX_QUERY, help_text="of the list's address")
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        default_permissions = ()
        constraints = (
            models.UniqueConstraint(fields=("user", "name"), name="one_search_of_a_name"),
        )

    def __str__(self) -> str:
        return self.name
