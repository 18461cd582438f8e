from django.apps import AppConfig


class HeadersConfig(AppConfig):
    name = "headers"
    verbose_name = "Runs"
