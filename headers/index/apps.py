from django.apps import AppConfig


class RunIndexConfig(AppConfig):
    # An app of its own: models of the app `headers` follow the catalogs file, and have no tables.
    name = "headers.index"
    label = "run_index"
    verbose_name = "Index of runs"

    def ready(self) -> None:
        from broker_site.metrics import add_collector
        from headers.index.metrics import IndexCollector
        from headers.index.overrides import follow_overrides

        follow_overrides()
        add_collector(IndexCollector())
