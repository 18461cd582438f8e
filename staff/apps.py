from django.apps import AppConfig
from django.db.models.signals import post_migrate


class StaffConfig(AppConfig):
    name = "staff"
    verbose_name = "For facility staff"

    def ready(self) -> None:
        from policies.roles import make_staff_group

        # After all migrations: the group holds permissions of several apps.
        post_migrate.connect(make_staff_group, sender=self)
