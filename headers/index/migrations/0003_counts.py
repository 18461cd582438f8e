import django.db.models.deletion
from django.db import migrations, models

# All of a row is in its only index, which sums are read from in order.
POSTGRESQL = """
CREATE TABLE run_index_count (
    path text COLLATE "C", source_id bigint, proposal text COLLATE "C", value text COLLATE "C",
    runs bigint NOT NULL, PRIMARY KEY (path, source_id, proposal, value) INCLUDE (runs)
)
"""
SQLITE = """
CREATE TABLE run_index_count (
    path text NOT NULL, source_id bigint NOT NULL, proposal text NOT NULL, value text NOT NULL,
    runs bigint NOT NULL, PRIMARY KEY (path, source_id, proposal, value)
) WITHOUT ROWID
"""


def forwards(apps, editor):
    editor.execute(POSTGRESQL if editor.connection.vendor == "postgresql" else SQLITE)


def backwards(apps, editor):
    editor.execute("DROP TABLE run_index_count")


class Migration(migrations.Migration):
    dependencies = [("run_index", "0002_words")]
    operations = [
        migrations.SeparateDatabaseAndState(
            [migrations.RunPython(forwards, backwards)],
            [
                migrations.CreateModel(
                    name="RunCount",
                    fields=[
                        (
                            "pk",
                            models.CompositePrimaryKey(
                                "path",
                                "source",
                                "proposal",
                                "value",
                                blank=True,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        (
                            "path",
                            models.TextField(
                                help_text="of values; of a column: .name; empty: every run;"
                                " over all proposals: .* before"
                            ),
                        ),
                        (
                            "value",
                            models.TextField(
                                help_text="as in RunValue, or in the column; empty for every run"
                            ),
                        ),
                        ("proposal", models.TextField(help_text="as in IndexedRun")),
                        ("runs", models.BigIntegerField()),
                        (
                            "source",
                            models.ForeignKey(
                                db_index=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                to="run_index.source",
                            ),
                        ),
                    ],
                    options={"db_table": "run_index_count", "default_permissions": ()},
                ),
            ],
        ),
    ]
