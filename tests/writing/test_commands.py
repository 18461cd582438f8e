"""What writing costs, as commands sent to MongoDB: a baseline, changed only on purpose."""

from tests.conftest import Commands
from tests.test_commands_per_route import sent
from tests.writing.conftest import Writer
from tests.writing.runs import a_run

KNOWN = ["find event_descriptor", "find run_start", "find run_stop"]
"""what is stored of a run, asked once for a body"""
BASELINE = {
    "start and descriptor": ["find run_start", "insert event_descriptor", "insert run_start"],
    # One more finds the run by a descriptor, where no document of the body names it.
    "events": [*KNOWN, "find event_descriptor", "insert event"],
    "events again": [*KNOWN, "find event", "find event_descriptor", "insert event"],
    "stop": [*KNOWN, "insert run_stop"],
}


def test_a_body_costs_these_commands_however_many_documents_it_holds(
    writer: Writer, commands: Commands
) -> None:
    documents = a_run(events=500)
    parts = {
        "start and descriptor": documents[:2],
        "events": documents[2:-1],
        "events again": documents[2:-1],
        "stop": documents[-1:],
    }
    assert writer(*a_run(events=0)).status_code == 200  # now the indexes were looked at
    for part, some in parts.items():
        commands.sent.clear()
        assert writer(*some).status_code == 200
        assert sent(commands) == sorted(BASELINE[part]), part
