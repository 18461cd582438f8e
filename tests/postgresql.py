"""A PostgreSQL server of the tests' own, from Debian's package."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

from tests.programs import lacking

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))

WITHOUT_INDEX = "--exclude-table-data=run_index_*"


class PostgreSQL:
    """Runs inside a `with` block; reachable over a socket in a folder of its own only."""

    def __enter__(self) -> Self:
        if not PROGRAMS:
            lacking("Debian's postgresql")
        self._folder = Path(tempfile.mkdtemp(prefix="broker-postgresql-"))
        self._folder.chmod(0o755)
        if os.getuid() == 0:
            shutil.chown(self._folder, "postgres", "postgres")  # it refuses to run as root
        self._data = str(self._folder / "data")
        _run("initdb", "--username=broker", "--auth=trust", "--no-sync", self._data)
        self.start()
        _run("createdb", "--username=broker", f"--host={self._folder}", "broker")
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    @property
    def url(self) -> str:
        """For DATABASE_URL."""
        return f"postgres://broker@/broker?host={self._folder}"

    def start(self) -> None:
        options = f"-c listen_addresses='' -c unix_socket_directories={self._folder} -c fsync=off"
        log = f"--log={self._folder}/log"
        _run("pg_ctl", "start", "--wait", f"--pgdata={self._data}", log, "-o", options)

    def stop(self) -> None:
        _run("pg_ctl", "stop", "--wait", "--mode=fast", f"--pgdata={self._data}")

    def copy(self, database: str, to: str) -> None:
        """Dumps a database and restores it as another, as docs/OPERATIONS.md tells operators.

        Without what is in the index of runs.
        """
        where = ["--username=broker", f"--host={self._folder}"]
        dump = str(self._folder / "policies.dump")
        _run("pg_dump", *where, "--format=custom", WITHOUT_INDEX, f"--file={dump}", database)
        _run("createdb", *where, to)
        _run("pg_restore", *where, "--no-owner", f"--dbname={to}", dump)


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
