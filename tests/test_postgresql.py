"""People and policies on PostgreSQL, as in production: the tests of policies once more."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs import lacking

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
SUITES = [
    "tests/test_access_rule.py",
    "tests/test_api_tokens.py",
    "tests/test_device_flow.py",
    "tests/test_headers_list.py",
    "tests/test_import_policies.py",
    "tests/test_revocation.py",
]


@pytest.fixture
def database_url() -> Iterator[str]:
    """A PostgreSQL of our own, reachable over a socket in a folder of its own only."""
    if not PROGRAMS:
        lacking("Debian's postgresql")
    folder = Path(tempfile.mkdtemp(prefix="broker-postgresql-"))
    folder.chmod(0o755)
    if os.getuid() == 0:
        shutil.chown(folder, "postgres", "postgres")  # the server refuses to run as root
    data, socket = folder / "data", folder
    _run("initdb", "--username=broker", "--auth=trust", "--no-sync", str(data))
    options = f"-c listen_addresses='' -c unix_socket_directories={socket} -c fsync=off"
    _run("pg_ctl", "start", "--wait", f"--pgdata={data}", f"--log={folder}/log", "-o", options)
    try:
        _run("createdb", "--username=broker", f"--host={socket}", "broker")
        yield f"postgres://broker@/broker?host={socket}"
    finally:
        _run("pg_ctl", "stop", "--wait", "--mode=fast", f"--pgdata={data}")
        shutil.rmtree(folder)


def _run(program: str, *arguments: str) -> None:
    user = "postgres" if os.getuid() == 0 else None
    # Not captured by a pipe: the server that pg_ctl starts would keep it open.
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(
            [str(PROGRAMS[-1] / program), *arguments],
            user=user,
            cwd="/",
            stdout=output,
            stderr=output,
        )
        output.seek(0)
        assert done.returncode == 0, output.read().decode()


def test_the_policies_hold_on_postgresql(database_url: str) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-x", *SUITES]
    environment = os.environ | {"BROKER_TEST_DATABASE_URL": database_url}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
