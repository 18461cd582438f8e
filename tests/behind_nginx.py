"""A real nginx with deploy/nginx.conf before real instances of the service."""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.programs import free_port, program, wait_for_port

ROOT = Path(__file__).resolve().parent.parent
MAIN = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
{user}
events {{ worker_connections 2048; }}
http {{
  access_log off; include /etc/nginx/mime.types;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  include {folder}/data-broker.conf;
}}
"""


@contextmanager
def nginx(folder: Path, upstreams: Sequence[int], live: int = 8100) -> Iterator[int]:
    """The port of an nginx, without TLS, in front of instances on these ports of 127.0.0.1.

    `live` is the port of the process for live streams, `folder/static` what nginx serves itself.
    """
    port = free_port()
    text = (ROOT / "deploy" / "nginx.conf").read_text()
    text = text.replace("listen 443 ssl;", f"listen 127.0.0.1:{port};")
    text = re.sub(r"^ *ssl_.*\n", "", text, flags=re.M)
    for number, upstream in enumerate(upstreams, start=1):
        text = text.replace(f"127.0.0.1:800{number}", f"127.0.0.1:{upstream}")
    text = text.replace("127.0.0.1:8100", f"127.0.0.1:{live}")
    text = text.replace("/srv/data-broker", str(folder))
    (folder / "data-broker.conf").write_text(text)
    user = "user root;" if os.getuid() == 0 else ""
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder, user=user))
    server = subprocess.Popen(
        [program("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf")],
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for_port(port)
        yield port
    finally:
        server.terminate()
        server.wait(20)
