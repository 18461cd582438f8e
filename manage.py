#!/usr/bin/env python
"""Command line of the service: `python manage.py help`."""

import os
import sys

from broker_site.environment import ConfigurationError


def main() -> None:
    os.umask(0o077)  # what is written is for this account only
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "broker_site.settings")
    from django.core.management import execute_from_command_line
    from django.db import DatabaseError

    from broker_site.database import advice

    try:
        execute_from_command_line(sys.argv)
    except ConfigurationError as error:
        sys.exit(f"Configuration error: {error}")
    except DatabaseError as error:
        if "--traceback" in sys.argv:
            raise
        sys.exit(advice(error))


if __name__ == "__main__":
    main()
