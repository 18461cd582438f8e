"""Two certified OpenID providers that run on 127.0.0.1: node_modules/oidc-provider."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.programs import free_port, program, wait_for_port

FOLDER = Path(__file__).parent / "oidc_provider"


@dataclass(frozen=True)
class Providers:
    issuers: Mapping[str, str]

    def account(self, sub: str, provider: str = "facility", **claims: Any) -> None:
        """Whoever comes to the provider from now on is this person; "nobody" cancels."""
        url = f"{self.issuers[provider]}/account"
        requests.put(url, json={"sub": sub, **claims}, timeout=5).raise_for_status()


@contextmanager
def openid_providers(service: str) -> Iterator[Providers]:
    """ "facility" and "partner", which know the service at this address."""
    node, npm = program("node"), program("npm")
    if not (FOLDER / "node_modules" / "oidc-provider").exists():
        quiet = [npm, "ci", "--no-audit", "--no-fund", "--silent"]
        path = f"{Path(node).parent}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(quiet, cwd=FOLDER, check=True, env=os.environ | {"PATH": path}, timeout=300)
    ports = {name: free_port() for name in ("facility", "partner")}
    command = [node, "server.mjs", service, *map(str, ports.values())]
    nowhere = subprocess.DEVNULL
    server = subprocess.Popen(command, cwd=FOLDER, stdout=nowhere, stderr=nowhere)
    try:
        for port in ports.values():
            wait_for_port(port)
        yield Providers({name: f"http://127.0.0.1:{port}" for name, port in ports.items()})
    finally:
        server.terminate()
        server.wait(10)
