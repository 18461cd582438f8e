from django.apps import AppConfig


class RunIndexConfig(AppConfig):
    # An app of its own: models of the app `headers` follow the catalogs file, and have no tables.
    name = "headers.index"
    label = "run_index"
    verbose_name = "Index of runs"

    def ready(self) -> None:
        from headers.index.overrides import follow_overrides

        follow_overrides()
