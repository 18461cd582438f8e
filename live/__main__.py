"""The process that serves live streams: `python -m live`, beside the production server.

A front server gives it the addresses that are followed; see deploy/nginx.conf.
"""

import asyncio
import os
import sys

import uvicorn

GRACE_SECONDS = 5
"""for streams to end when the process is to end; their readers go on with the next one"""


def config(host: str, port: int, **options: object) -> uvicorn.Config:
    return uvicorn.Config(
        "broker_site.asgi:application",
        host=host,
        port=port,
        http="httptools",
        ws="none",
        # The service itself decides which headers of proxies it believes, and writes its own log.
        proxy_headers=False,
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        **options,  # type: ignore[arg-type]
    )


def main() -> None:
    host, _, port = os.environ.get("BROKER_LIVE_BIND", "127.0.0.1:8100").rpartition(":")
    # Threads that wait for the interpreter get it sooner, and streams their turn.
    sys.setswitchinterval(0.001)
    server = uvicorn.Server(config(host, int(port)))
    asyncio.run(server.serve())


if __name__ == "__main__":
    main()
