from django.apps import AppConfig


class BrokerSiteConfig(AppConfig):
    name = "broker_site"

    def ready(self) -> None:
        # Both register themselves: the system checks, and what the schema says of sign-in.
        from broker_site import checks, openapi  # noqa: F401
