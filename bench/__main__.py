"""`python -m bench`: the service against local scripts that read the same, as a table.

Both take turns in one run, because absolute times say little on a busy machine.
"""

import os
import subprocess
import sys
from pathlib import Path

from pymongo import MongoClient

from bench import events, headers
from bench.measuring import Row, table
from bench.servers import ROOT, mongo, service, service_environment

FOLDER = ROOT / "var" / "bench"

CATALOGS = """
[catalogs.{name}]
title = "Benchmark"
beamline = "bench"
metadata = "{uri}"
assets = "{uri}"
timezone = "UTC"
proposal = [{{ path = "data_session", pattern = '^pass-(\\d+)$' }}]
root_map = {{ "/facility/data" = "{folder}" }}
allowed_roots = ["{folder}"]
handlers = ["AD_HDF5"]
"""

PEOPLE = f"""
from policies.models import Membership, Proposal, User
for name in ({headers.MEMBER!r}, {headers.ADMIN!r}):
    if not User.objects.filter(username=name).exists():
        # Staff, because only they are told where the time of a request went.
        User.objects.create_user(
            name, password={headers.PASSWORD!r}, data_admin=name == "admin", is_staff=True
        )
proposal, _ = Proposal.objects.get_or_create(proposal_id={headers.PROPOSAL!r})
Membership.objects.get_or_create(proposal=proposal, user=User.objects.get(username="member"))
"""


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path in FOLDER.glob("policies.sqlite3*"):
        path.unlink()
    with mongo(FOLDER) as (base, kind):
        uri = f"{base}/bench"
        catalogs = CATALOGS.format(name="bench", uri=uri, folder=FOLDER / "data")
        uids = headers.fill(MongoClient(uri).get_default_database())
        prepare_policies(FOLDER, catalogs)
        with service(FOLDER, catalogs) as port:
            rows = headers.rows(uri, port, uids)
        rows += _event_rows(f"{base}/bench_events", FOLDER / "events")
    print(f"MongoDB: {kind}; {os.cpu_count()} cores; two gunicorn workers over loopback\n")
    print(table(rows))


def _event_rows(uri: str, folder: Path) -> list[Row]:
    """With a service of its own, because headers are measured with a single catalog."""
    folder.mkdir(exist_ok=True)
    catalogs = CATALOGS.format(name="bench", uri=uri, folder=folder / "data")
    events.fill(MongoClient(uri).get_default_database(), folder / "data")
    prepare_policies(folder, catalogs)
    with service(folder, catalogs) as port:
        return events.rows(uri, port, folder / "data")


def prepare_policies(folder: Path, catalogs: str) -> None:
    environment = os.environ | service_environment(folder, catalogs)
    manage = [sys.executable, str(ROOT / "manage.py")]
    subprocess.run([*manage, "migrate", "--verbosity", "0"], env=environment, check=True)
    shell = [*manage, "shell", "--verbosity", "0", "--command", PEOPLE]
    subprocess.run(shell, env=environment, check=True)


if __name__ == "__main__":
    main()
