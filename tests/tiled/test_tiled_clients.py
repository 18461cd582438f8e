"""The stock clients of Tiled, in an environment of their own, against the running service."""

import hashlib
import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from demo.load import catalogs_toml, load
from demo.people import password_of
from tests.documents import Recorder
from tests.programs import lacking
from tests.running import PASSWORD, ROOT, Installation, Instance

PYTHON = ROOT / ".venv-tiled" / "bin" / "python"
HABITS = ROOT / "tests" / "tiled" / "read_with_tiled.py"
WALK = ROOT / "tests" / "tiled" / "walk_with_tiled.py"


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory, mongo_uri: str) -> Installation:
    return Installation.make(tmp_path_factory.mktemp("tiled"))


@pytest.fixture(scope="module")
def service(installation: Installation) -> Iterator[Instance]:
    with installation.instance() as instance:
        yield instance


def printed(script: Path, home: Path, *arguments: str) -> list[Any]:
    """The lines of JSON that a script prints in the environment of the stock clients."""
    if not PYTHON.exists():
        lacking(".venv-tiled, which `make test` installs,")
    done = subprocess.run(
        [PYTHON, script, *arguments],
        env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def test_a_members_habits_work_unchanged(
    recorder: Recorder, service: Instance, tmp_path: Path
) -> None:
    uid, hidden = recorder.run("310000", scan_id=7), recorder.run("310001", scan_id=8)
    (found,) = printed(HABITS, tmp_path, service.address, "alice", PASSWORD, uid)
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


@pytest.fixture(scope="module")
def demo(mongo_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """The service over the demo's runs, with its people."""
    folder = tmp_path_factory.mktemp("demo")
    load(mongo_uri, folder / "data")
    catalogs = folder / "catalogs.toml"
    catalogs.write_text(catalogs_toml(mongo_uri, folder / "data"))
    installation = Installation.make(folder, BROKER_CATALOGS=str(catalogs))
    people = "from demo.people import create_people; create_people()"
    installation.manage("shell", "--verbosity", "0", "-c", people)
    with installation.instance() as instance:
        yield instance


@pytest.mark.parametrize("user", ["", "alice"])
def test_what_the_client_reads_is_what_the_services_own_routes_serve(
    user: str, demo: Instance, tmp_path: Path
) -> None:
    password = password_of(user) if user else ""
    runs = printed(WALK, tmp_path, demo.address, user, password)
    own = Own(demo, user)
    assert len(runs) == own.json("headers/count/")["count"] > 10
    arrays = 0
    for run in runs:
        route = f"headers/{run['uid']}"
        lines = own.body(f"{route}/documents/?format=ndjson").splitlines()
        assert run["documents"] == Counter(json.loads(line)[0] for line in lines)
        names = [stream["name"] for stream in own.json(f"{route}/streams/")]
        assert sorted(run["streams"]) == sorted(names)
        for stream, variables in run["streams"].items():
            for name, (dtype, _, digest) in variables.items():
                if name != "time" and np.dtype(dtype if dtype != "text" else "U").kind in "iuf":
                    content = own.body(f"{route}/streams/{stream}/data/{name}/?format=octet-stream")
                    assert digest == hashlib.sha256(content).hexdigest(), (run["uid"], name)
                    arrays += 1
    assert arrays > 30


class Own:
    """The service's own routes, as a person."""

    def __init__(self, service: Instance, user: str) -> None:
        self._client = httpx.Client(base_url=f"{service.address}/api/v1/", timeout=60)
        if user:
            given = {"username": user, "password": password_of(user)}
            token = self._client.post("auth/token/", json=given).json()["access"]
            self._client.headers["Authorization"] = f"Bearer {token}"

    def body(self, path: str) -> bytes:
        response = self._client.get(path)
        assert response.status_code == 200, (path, response.text[:300])
        return response.content

    def json(self, path: str) -> Any:
        return json.loads(self.body(path))
