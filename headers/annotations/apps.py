from django.apps import AppConfig


class RunAnnotationsConfig(AppConfig):
    # Tables of its own beside the index, which may be emptied and filled anew at any time.
    name = "headers.annotations"
    label = "run_annotations"
    verbose_name = "Notes, stars and tags of runs"
