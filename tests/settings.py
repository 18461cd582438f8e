"""Settings of the tests: the real ones, in debug mode's keys, with the tests' own catalogs.

`var/tests/catalogs.toml` is written here, before the settings are read, because Django
needs the catalogs' addresses when it starts. The databases behind them are made and
filled by the fixtures in conftest.py.
"""

import os
import socket
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "var" / "tests" / str(os.getpid())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


os.environ.pop("BROKER_SECRET_KEY_FILE", None)
MONGO_URI = os.environ.get("BROKER_TEST_MONGO_URI")
PREFIX = f"broker_test_{os.getpid()}"
if MONGO_URI is None:
    MONGO_PORT = _free_port()
    MONGO_URI = f"mongodb://127.0.0.1:{MONGO_PORT}"

CATALOGS_TOML = f"""
[catalogs.csx]
title = "CSX 23-ID-1"
beamline = "csx"
metadata = "{MONGO_URI}/{PREFIX}_csx"
assets = "{MONGO_URI}/{PREFIX}_csx_assets"
metadata_write = "{MONGO_URI}/{PREFIX}_csx"
assets_write = "{MONGO_URI}/{PREFIX}_csx_assets"
timezone = "America/New_York"
proposal = [
  {{ path = "data_session", pattern = '^pass-(\\d+)$' }},
  {{ path = "proposal.proposal_id" }},
]
root_map = {{ "/facility/data" = "{FOLDER}/data" }}
allowed_roots = ["{FOLDER}/data"]
handlers = ["AD_HDF5", "AD_TIFF", "NPY_SEQ"]

[catalogs.hxn]
title = "HXN 3-ID"
beamline = "hxn"
metadata = "{MONGO_URI}/{PREFIX}_hxn"
assets = "{MONGO_URI}/{PREFIX}_hxn"
timezone = "America/New_York"
proposal = [{{ path = "proposal.proposal_id" }}, {{ path = "proposal" }}]
"""
FOLDER.mkdir(parents=True, exist_ok=True)
(FOLDER / "catalogs.toml").write_text(CATALOGS_TOML)
os.environ |= {
    "BROKER_DEBUG": "false",
    "BROKER_SECRET_KEY": "tests-only-0123456789-abcdefghijkl",
    "BROKER_JWT_KEY": "tests-only-jwt-0123456789-abcdefgh",
    "BROKER_CATALOGS": str(FOLDER / "catalogs.toml"),
    "BROKER_RATE_USER": "0",
    "BROKER_RATE_ANON": "0",
    "DATABASE_URL": os.environ.get(
        "BROKER_TEST_DATABASE_URL", f"sqlite:///{FOLDER}/policies.sqlite3"
    ),
}

from broker_site.settings import *  # noqa: E402, F403

# Cheap on purpose: tests sign in often, and the strength of the hash is not theirs to test.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# Written at once: a thread of its own would wait for the transaction that a test runs in.
AUDIT_IN_BACKGROUND = False
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":  # noqa: F405
    # In a file, because threads cannot wait for each other's locks on one in memory.
    DATABASES["default"]["TEST"] = {"NAME": f"{FOLDER}.sqlite3"}  # noqa: F405
