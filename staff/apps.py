from django.apps import AppConfig, apps
from django.db.models.signals import post_migrate


class StaffConfig(AppConfig):
    name = "staff"
    verbose_name = "For facility staff"

    def ready(self) -> None:
        from policies.roles import make_staff_group

        # After all migrations, as the group holds permissions of several apps; this one has no
        # models, for which the signal is not sent.
        post_migrate.connect(make_staff_group, sender=apps.get_app_config("headers"))
