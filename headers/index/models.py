"""The tables of the run index: what lists need to know of each run, in the SQL database.

The index answers which runs there are; their documents come from MongoDB, by `_id`. Rows
hang from a Source, one for each catalog and way of reading it. A changed catalogs file makes
a new Source, so that rows made by another rule are seen by nobody.
"""

from django.db import models

OPEN = "open"
"""exit status of a run of which no stop document has been seen"""


class Source(models.Model):
    """A catalog, read in one way, and how far the index of it reaches."""

    catalog = models.CharField(max_length=100)
    fingerprint = models.CharField(max_length=64, help_text="of all that decides what rows hold")
    filled_to = models.BinaryField(
        null=True, help_text="key of the oldest document that the first fill has come to"
    )
    filled = models.BooleanField(default=False, help_text="the first fill is done")
    reaches = models.FloatField(null=True, help_text="time of the oldest run of the first fill")
    newest_start = models.BinaryField(null=True, help_text="key of the newest run_start seen")
    newest_stop = models.BinaryField(null=True, help_text="key of the newest run_stop seen")
    available = models.BooleanField(default=True, help_text="it answered the last time")

    class Meta:
        default_permissions = ()
        constraints = (
            models.UniqueConstraint(fields=("catalog", "fingerprint"), name="one_source_each"),
        )

    def __str__(self) -> str:
        return self.catalog


class Turn(models.Model):
    """Whose turn it is to catch up: one row, changed by whoever takes it."""

    taken = models.FloatField(default=0.0, help_text="epoch seconds")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.taken)


class IndexedRun(models.Model):
    """What lists need of one run."""

    source = models.ForeignKey(Source, on_delete=models.CASCADE, db_index=False)
    catalog = models.CharField(max_length=100)
    document = models.BinaryField(help_text="key of the start document, ordered as `_id` is")
    uid = models.TextField(null=True, help_text="null where it is no text")  # noqa: DJ001
    time = models.FloatField(null=True, help_text="epoch seconds; null: no number, never listed")
    named_proposal = models.TextField(help_text="what the document says; empty: none")
    proposal = models.TextField(help_text="with the override; empty: none")
    plan_name = models.TextField(null=True)  # noqa: DJ001
    scan_id = models.BigIntegerField(null=True)
    exit_status = models.TextField(default=OPEN)
    duration = models.FloatField(null=True, help_text="seconds")
    events = models.BigIntegerField(null=True)
    sample = models.TextField(help_text="case folded")
    owner = models.TextField()

    class Meta:
        default_permissions = ()
        constraints = (
            models.UniqueConstraint(fields=("source", "document"), name="one_row_per_document"),
        )
        # All but the first hold what decides who may read, so that pages and counts are
        # answered from an index alone.
        indexes = (
            models.Index(fields=("uid", "source"), name="run_by_uid"),
            models.Index(
                fields=("time", "catalog", "document", "source", "proposal"), name="run_by_time"
            ),
            models.Index(
                fields=("source", "time", "catalog", "document", "proposal"), name="run_by_source"
            ),
            models.Index(
                fields=("proposal", "time", "catalog", "document", "source"),
                name="run_by_proposal",
            ),
            models.Index(
                fields=("scan_id", "time", "catalog", "document", "source", "proposal"),
                name="run_by_scan_id",
            ),
            models.Index(
                fields=("plan_name", "time", "catalog", "document", "source", "proposal"),
                name="run_by_plan_name",
            ),
            models.Index(
                fields=("exit_status", "time", "catalog", "document", "source", "proposal"),
                name="run_by_exit_status",
            ),
            models.Index(fields=("sample",), name="run_by_sample"),
        )

    def __str__(self) -> str:
        return str(self.uid)


class RunValue(models.Model):
    """One of possibly many values of a run at a path: motors, detectors and further facets."""

    run = models.ForeignKey(IndexedRun, on_delete=models.CASCADE, db_index=False)
    source = models.ForeignKey(Source, on_delete=models.CASCADE, db_index=False)
    path = models.CharField(max_length=256)
    value = models.TextField(help_text='as JSON, so that 1 and "1" differ')

    class Meta:
        default_permissions = ()
        indexes = (
            models.Index(fields=("path", "value", "source", "run"), name="runs_by_value"),
            models.Index(fields=("run", "path", "value"), name="values_of_run"),
        )

    def __str__(self) -> str:
        return f"{self.path}: {self.value}"


class RunCount(models.Model):
    """How many listed runs of a source and proposal have a value: what sums are answered from.

    `store` changes it in the transactions that change the runs. The table is made by hand, so
    that all of a row is in its only index.
    """

    pk = models.CompositePrimaryKey("path", "source", "proposal", "value")
    path = models.TextField(
        help_text="of values; of a column: .name; empty: every run; over all proposals: .* before"
    )
    source = models.ForeignKey(Source, on_delete=models.DO_NOTHING, db_index=False)
    value = models.TextField(help_text="as in RunValue, or in the column; empty for every run")
    proposal = models.TextField(help_text="as in IndexedRun")
    runs = models.BigIntegerField()

    class Meta:
        default_permissions = ()
        db_table = "run_index_count"

    def __str__(self) -> str:
        return f"{self.path}: {self.value}: {self.runs}"
