"""What Django's admin looks for: importing these registers them."""

from staff import audit_trail, people, runs

__all__ = ["audit_trail", "people", "runs"]
