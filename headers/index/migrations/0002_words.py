from django.db import migrations

TEXTS = {"catalog": "varchar(100)", "uid": "text", "proposal": "text"}


def forwards(apps, editor):
    if editor.connection.vendor == "postgresql":
        for column, kind in TEXTS.items():
            # Ordered by code point, as MongoDB, SQLite and Python do.
            editor.execute(
                f'ALTER TABLE run_index_indexedrun ALTER COLUMN {column} TYPE {kind} COLLATE "C"'
            )
        editor.execute(
            "CREATE TABLE run_index_words (run_id bigint PRIMARY KEY, words tsvector NOT NULL)"
        )
        editor.execute("CREATE INDEX runs_by_word ON run_index_words USING gin (words)")
    else:
        # No word is left out and none is reduced to a stem; words come case folded.
        editor.execute(
            "CREATE VIRTUAL TABLE run_index_words USING fts5("
            "words, detail=none, tokenize='unicode61 remove_diacritics 0')"
        )


def backwards(apps, editor):
    editor.execute("DROP TABLE run_index_words")


class Migration(migrations.Migration):
    dependencies = [("run_index", "0001_initial")]
    operations = [migrations.RunPython(forwards, backwards)]
