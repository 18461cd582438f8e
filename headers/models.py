"""The runs of each catalog as models without tables: what the admin asks of a model.

That is a name, an address and a permission. They read and write nothing: runs are listed
by the index, and their documents come from the repositories (decision 8).
"""

from typing import Any

from django.conf import settings
from django.db import models

from headers.catalogs import Catalog


class RunQuerySet(models.QuerySet["RunStart"]):
    """Empty, and stays so: who asks for a run is known to the repositories only."""

    def _refuse(self, *args: Any, **options: Any) -> Any:
        raise PermissionError("runs are read-only")

    delete = update = bulk_create = bulk_update = create = _refuse


class RunManager(models.Manager["RunStart"]):
    def get_queryset(self) -> RunQuerySet:
        return RunQuerySet(self.model).none()


class RunStart(models.Model):
    uid = models.CharField(max_length=100, primary_key=True)

    objects = RunManager()
    catalog: Catalog

    class Meta:
        managed = False
        db_table = "run_start"
        default_permissions = ("view",)
        verbose_name = "run"

    def __str__(self) -> str:
        return str(self.uid)

    def save(self, *args: Any, **options: Any) -> None:
        raise PermissionError("runs are read-only")

    def delete(self, *args: Any, **options: Any) -> tuple[int, dict[str, int]]:
        raise PermissionError("runs are read-only")


def _of_catalog(catalog: Catalog) -> type[RunStart]:
    """The model of one catalog's runs. All share the permission of `RunStart`."""
    meta = {"proxy": True, "default_permissions": (), "verbose_name": "run"}
    titled = {"verbose_name_plural": f"runs of {catalog.title}"}
    content = {
        "__module__": __name__,
        "catalog": catalog,
        "Meta": type("Meta", (), meta | titled),
    }
    return type(f"{catalog.name.replace('-', '_')}_run", (RunStart,), content)


RUNS_OF_CATALOGS = tuple(_of_catalog(catalog) for catalog in settings.CATALOGS)
