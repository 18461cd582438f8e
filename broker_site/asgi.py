"""Entry point of the process that serves live streams; it answers everything else, too.

As `broker_site.wsgi`, it refuses to start when a system check fails.
"""

from broker_site.asgi_handler import Handler
from broker_site.wsgi import application as _checked  # noqa: F401

application = Handler()
