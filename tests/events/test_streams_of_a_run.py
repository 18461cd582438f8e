"""GET headers/{key}/streams/: streams, fields and numbers of events."""

from tests.conftest import Actor, Commands
from tests.documents import Recorder

URL = "/api/v1/headers/"


def test_a_stream_tells_its_fields(acting_as: Actor, recorder: Recorder) -> None:
    uid = recorder.run(events=0, exit_status=None)
    image = {"dtype": "array", "shape": [1, 5, 4], "source": "SIM:i", "external": "FILESTORE:"}
    lost = {"dtype": "array", "shape": [5], "source": "SIM:l", "external": "STREAM:"}
    other = recorder.descriptor(uid, name="images", data_keys={"image": image, "lost": lost})
    streams = acting_as("alice").get(f"{URL}{uid}/streams/").json()
    primary, images = sorted(streams, key=lambda stream: str(stream["name"]), reverse=True)
    assert primary["fields"]["det"] == {
        "dtype": "number",
        "shape": [],
        "units": "mm",
        "source": "SIM:x",
        "external": None,
        "available": True,
    }
    assert images["descriptors"] == [other]
    assert images["fields"]["image"]["external"] == "FILESTORE:"
    assert images["fields"]["image"]["available"] is True
    assert images["fields"]["lost"]["available"] is False


def test_numbers_of_events_come_from_the_stop_document(
    acting_as: Actor, recorder: Recorder, commands: Commands
) -> None:
    uid = recorder.run(events=4)
    alice = acting_as("alice")
    commands.sent.clear()
    (stream,) = alice.get(f"{URL}{uid}/streams/").json()
    assert stream["event_count"] == 4
    assert set(commands.names) == {"aggregate"}
    assert {event.command["aggregate"] for event in commands.sent} == {"run_start"}


def test_events_of_an_open_run_are_counted(acting_as: Actor, recorder: Recorder) -> None:
    uid = recorder.run(events=4, exit_status=None)
    second = recorder.descriptor(uid, time=1.0)
    recorder.events(second, 2)
    (stream,) = acting_as("alice").get(f"{URL}{uid}/streams/").json()
    assert stream["event_count"] == 6
    assert len(stream["descriptors"]) == 2


def test_a_stop_that_misses_a_stream_is_not_believed(acting_as: Actor, recorder: Recorder) -> None:
    uid = recorder.run(events=0, exit_status=None)
    recorder.events(recorder.descriptor(uid, name="baseline"), 2)
    recorder.stop(uid, exit_status="success", num_events={"primary": 0})
    streams = acting_as("alice").get(f"{URL}{uid}/streams/").json()
    counts = {stream["name"]: stream["event_count"] for stream in streams}
    assert counts == {"primary": 0, "baseline": 2}


def test_a_stream_without_name_is_the_primary_one(acting_as: Actor, recorder: Recorder) -> None:
    uid = recorder.run(events=0, exit_status=None)
    recorder.insert("csx", "event_descriptor", {"uid": "old", "run_start": uid, "time": 1.0})
    (stream,) = acting_as("alice").get(f"{URL}{uid}/streams/").json()
    assert stream["name"] == "primary"
    assert stream["descriptors"][0] == "old"


def test_a_run_without_descriptors_has_no_streams(acting_as: Actor, recorder: Recorder) -> None:
    recorder.insert(
        "csx", "run_start", {"uid": "empty", "time": 1.0, "data_session": "pass-310000"}
    )
    response = acting_as("alice").get(f"{URL}empty/streams/")
    assert (response.status_code, response.json()) == (200, [])


def test_streams_of_a_hidden_run_are_not_there(acting_as: Actor, recorder: Recorder) -> None:
    """ABUSE-CASES 6."""
    uid = recorder.run("310000")
    assert acting_as("bob").get(f"{URL}{uid}/streams/").status_code == 404
