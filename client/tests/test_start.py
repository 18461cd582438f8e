"""What is loaded when, and what works without the optional libraries."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import BASELINE, FRAMES, password_of

import dbservice

HEAVY = ("numpy", "pandas", "xarray", "dask", "pyarrow", "IPython", "bluesky", "keyring", "tqdm")
OPTIONAL = (*HEAVY, "zstandard", "segno", "tiled", "dateutil")


def _python(script: str, *arguments: str, options: tuple[str, ...] = ()) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, *options, "-c", script, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def _imported(script: str, *arguments: str) -> set[str]:
    _, times = _python(script, *arguments, options=("-X", "importtime"))
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in times.splitlines()}


def test_nothing_heavy_is_loaded_at_the_start() -> None:
    imported = _imported("import dbservice; dbservice.connect")
    assert "httpx" in imported
    assert not imported.intersection(HEAVY)
    assert "httpx" not in _imported("import dbservice")


def test_nothing_heavy_is_loaded_for_metadata(site: str) -> None:
    script = (
        "import sys, dbservice; db = dbservice.connect(sys.argv[1], anonymous=True);"
        " run = db[-1]; run.streams; run._repr_html_(); db.records('uid'); list(run.documents())"
    )
    assert not _imported(script, site).intersection(HEAVY)


WITHOUT = f"""
import sys
for name in {OPTIONAL!r}:
    sys.modules[name] = None
import dbservice
db = dbservice.connect(sys.argv[1], anonymous=True)
run = db.search(plan_name="scan")[-1]
print(len(list(run.documents())), len(db.records("scan_id")), run.streams["primary"].event_count)
for step in (run.table, run.read, lambda: run.data("diode")[:], lambda: db.table("uid"), db.tiled):
    try:
        step()
    except ImportError as error:
        print(error)
"""


def test_httpx_and_msgpack_are_enough_for_runs_and_documents(site: str) -> None:
    counts, *told = _python(WITHOUT, site)[0].splitlines()
    assert all(int(count) > 10 for count in counts.split())
    assert len(told) == 5
    assert "pip install 'databroker-service[pandas]'" in told[0]
    assert "pip install 'databroker-service[xarray]'" in told[1]


def test_tables_come_without_pyarrow(site: str) -> None:
    script = f"""
import sys
sys.modules["pyarrow"] = sys.modules["dask"] = None
import dbservice
db = dbservice.connect(sys.argv[1], timezone="UTC")
db.login("dan", {password_of("dan")!r}, remember=False)
run = db[{BASELINE!r}]
print(run.table()["diode"].sum(), run.table(fields=["theta"]).shape)
print(run.read()["diode"].sum().item(), list(run.read().coords))
print(db["695a9d00"].read(fields=["xs_channel1"])["xs_channel1"].shape)
print(type(db[{FRAMES!r}].read()["fccd_image"].data).__module__)
"""
    first, second, third, fourth = _python(script, site)[0].splitlines()
    assert first.split()[0] == second.split()[0]
    assert first.endswith("(31, 2)")
    assert "theta" in second
    assert third == "(30, 1024)"
    assert fourth == "numpy"


def test_the_installed_package_is_typed_and_says_what_it_needs() -> None:
    from importlib.metadata import requires, version

    assert version("databroker-service") == dbservice.__version__
    needed = [text for text in requires("databroker-service") or [] if "extra" not in text]
    assert sorted(re.split(r"\W", text)[0] for text in needed) == ["httpx", "msgpack"]
    folder = Path(dbservice.__file__).parent
    assert (folder / "py.typed").exists()
    assert "site-packages" in str(folder), "the tests try the wheel, not the sources"


def test_what_there_is_not_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="writer"):
        dbservice.writer  # noqa: B018
