from django.apps import AppConfig
from django.db.models.signals import m2m_changed, post_delete, post_migrate


class PoliciesConfig(AppConfig):
    name = "policies"
    verbose_name = "People and policies"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from allauth.mfa.signals import authentication_failed
        from axes.signals import user_locked_out
        from django.contrib.auth import signals

        from policies import append_only, audit, models, tracking
        from policies.signin import second_factor

        tracking.row_changed.connect(audit.on_row_changed)
        post_delete.connect(audit.on_row_deleted)
        for through in models.links_of_policy():
            m2m_changed.connect(audit.on_links_changed, sender=through)
        signals.user_logged_in.connect(audit.on_signed_in)
        signals.user_logged_out.connect(audit.on_signed_out)
        signals.user_login_failed.connect(audit.on_sign_in_failed)
        user_locked_out.connect(audit.on_locked_out)
        authentication_failed.connect(second_factor.on_wrong_factor)
        post_migrate.connect(append_only.after_migrate, sender=self)
