"""The log: what becomes of a line."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import logging, sys, structlog
from broker_site.logs import configure_logging
configure_logging(json_lines=True)
structlog.contextvars.bind_contextvars(request_id="r-1")
try:
    1 / 0
except ZeroDivisionError:
    structlog.get_logger("ours").exception("ours", odd="\\ud800", big=2**70, keys={1: b"x"})
    logging.getLogger("theirs").warning("theirs %s", 5)
print("went on")
"""


def run(stderr: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM]
    return subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True, check=False, timeout=60
    )


def test_lines_of_both_kinds_of_loggers_are_json_with_the_request() -> None:
    ours, theirs = map(json.loads, run(stderr=subprocess.PIPE).stderr.splitlines())
    assert (ours["event"], ours["level"], ours["request_id"]) == ("ours", "error", "r-1")
    assert "ZeroDivisionError" in ours["exception"]
    assert (theirs["event"], theirs["logger"]) == ("theirs 5", "theirs")
    assert theirs["request_id"] == "r-1"


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    ours, theirs = os.pipe()
    os.close(ours)  # as when what collected the log has died
    try:
        assert run(stderr=theirs).stdout == "went on\n"
    finally:
        os.close(theirs)
