from django.apps import AppConfig


class TiledConfig(AppConfig):
    name = "tiled"
