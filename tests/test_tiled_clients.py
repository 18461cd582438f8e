"""The stock clients of Tiled, in an environment of their own, against the running service."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.documents import Recorder
from tests.running import PASSWORD, ROOT, Installation, Instance

PYTHON = ROOT / ".venv-tiled" / "bin" / "python"
SCRIPT = ROOT / "tests" / "tiled" / "read_with_tiled.py"


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, mongo_uri: str) -> Installation:
    return Installation.make(tmp_path_factory.mktemp("tiled"))


@pytest.fixture(scope="module")
def service(installation: Installation) -> Iterator[Instance]:
    with installation.instance() as instance:
        yield instance


def read(service: Instance, user: str, uid: str, home: Path) -> dict[str, Any]:
    done = subprocess.run(
        [PYTHON, SCRIPT, service.address, user, PASSWORD, uid],
        env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.skipif(not PYTHON.exists(), reason="run `make .venv-tiled/clients`")
def test_a_members_habits_work_unchanged(
    recorder: Recorder, service: Instance, tmp_path: Path
) -> None:
    uid, hidden = recorder.run("310000", scan_id=7), recorder.run("310001", scan_id=8)
    found = read(service, "alice", uid, tmp_path)
    assert found["length"] == 1
    assert found["newest"] == found["by uid"] == found["by prefix"] == found["by scan id"] == uid
    assert found["uids"] == found["tail"] == [uid]
    assert found["streams"] == ["primary"]
    assert found["stop"]["exit_status"] == "success"
    assert found["fields"] == ["time", "det", "motor"]
    assert found["read"]["det"] == ["float64", [3], 14.0]
    assert found["documents"] == ["start", "descriptor", "event_page", "stop"]
    assert found["whoami"] == "alice"
    assert found["api key"] is True
    assert found["distinct"] == {"start.plan_name": [{"value": "scan", "count": 1}]}
    assert {"time", "det", "motor"} <= set(found["table"])
    assert hidden not in json.dumps(found)
