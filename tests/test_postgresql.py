"""People and policies on PostgreSQL, as in production: the tests of policies once more."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgresql import PostgreSQL

ROOT = Path(__file__).resolve().parent.parent
SUITES = [
    "tests/policies/test_access_rule.py",
    "tests/policies/test_api_tokens.py",
    "tests/policies/test_device_flow.py",
    "tests/headers/test_facets_and_count.py",
    "tests/headers/test_header_detail.py",
    "tests/headers/test_headers_filters.py",
    "tests/headers/test_headers_list.py",
    "tests/policies/test_import_policies.py",
    "tests/headers/test_index_catch_up.py",
    "tests/headers/test_index_counts.py",
    "tests/headers/test_index_listing.py",
    "tests/headers/test_index_rule.py",
    "tests/headers/test_index_runs.py",
    "tests/headers/test_search.py",
    "tests/policies/test_revocation.py",
    "tests/policies/test_sync.py",
    "tests/staff/test_access_desk.py",
]


@pytest.fixture
def database_url() -> Iterator[str]:
    with PostgreSQL() as server:
        yield server.url


def test_the_policies_hold_on_postgresql(database_url: str) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-x", *SUITES]
    environment = os.environ | {"BROKER_TEST_DATABASE_URL": database_url}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
