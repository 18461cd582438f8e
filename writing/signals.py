"""What the rest of this process is told of documents that came in."""

from django.dispatch import Signal

documents_written = Signal()
"""New documents of a run are stored. catalog: its name; run: its uid; closed: it has its stop."""
