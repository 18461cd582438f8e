from django.apps import AppConfig


class BrokerSiteConfig(AppConfig):
    name = "broker_site"

    def ready(self) -> None:
        from broker_site import checks  # noqa: F401  (registers the system checks)
