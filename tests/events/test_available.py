"""`available` of streams/: can the field be served, or not?"""

import pytest

from headers.mongo import database
from tests.conftest import Actor, Commands
from tests.documents import EPOCH, Doc, Recorder

KEY = {"dtype": "array", "shape": [2, 2], "source": "x", "external": "FILESTORE:"}


def recorded(recorder: Recorder, specs: dict[str, str], descriptors: int = 1) -> str:
    """A run whose fields are in files of these specs; of "" nothing is recorded."""
    run = recorder.run(events=0)
    keys = dict.fromkeys(specs, KEY) | {"number": {"dtype": "number", "shape": [], "source": "x"}}
    for n in range(descriptors):
        descriptor = recorder.descriptor(run, name=f"frames{n}", data_keys=keys)
        data: Doc = {"number": 1.0}
        for field, spec in specs.items():
            data[field] = f"{descriptor}/{field}"
            if spec:
                resource = {"uid": f"{descriptor}-{field}", "spec": spec, "root": "/"}
                recorder.insert("csx", "resource", resource | {"resource_path": "a"})
                datum = {"datum_id": data[field], "resource": resource["uid"], "datum_kwargs": {}}
                recorder.insert("csx", "datum", datum)
        event = {"uid": f"{descriptor}-1", "descriptor": descriptor, "seq_num": 1, "time": EPOCH}
        events = database(recorder.catalogs["csx"].metadata).event
        events.insert_one(event | {"data": data, "timestamps": {}, "filled": {}})
    return run


def available(acting_as: Actor, run: str, stream: int) -> dict[str, bool]:
    content = acting_as("alice").get(f"/api/v1/headers/{run}/streams/").json()
    fields = content[stream]["fields"]
    return {name: field["available"] for name, field in fields.items()}


def test_a_field_in_files_needs_a_handler_that_is_installed_and_enabled(
    acting_as: Actor, recorder: Recorder
) -> None:
    specs = {"native": "AD_HDF5", "enabled": "NPY_SEQ", "disabled": "XSP3", "unknown": "NO_SUCH"}
    run = recorded(recorder, specs | {"lost": ""})
    assert available(acting_as, run, 1) == {
        "native": True,
        "enabled": True,
        "disabled": False,
        "unknown": False,
        "lost": False,
        "number": True,
    }


def test_nothing_speaks_against_a_field_before_its_first_event(
    acting_as: Actor, recorder: Recorder
) -> None:
    run = recorder.run(events=0, exit_status=None)
    recorder.descriptor(run, name="frames", data_keys={"image": KEY})
    assert available(acting_as, run, 1) == {"image": True}


def test_data_outside_of_the_database_are_not_available(
    acting_as: Actor, recorder: Recorder
) -> None:
    run = recorder.run(events=0)
    recorder.descriptor(run, name="frames", data_keys={"image": KEY | {"external": "STREAM:x"}})
    assert available(acting_as, run, 1) == {"image": False}


@pytest.mark.parametrize("descriptors", [1, 5])
def test_however_many_fields_there_are_three_commands_tell(
    descriptors: int, acting_as: Actor, recorder: Recorder, commands: Commands
) -> None:
    run = recorded(recorder, {f"image{n}": "AD_HDF5" for n in range(6)}, descriptors)
    client = acting_as("alice")
    commands.sent.clear()
    client.get(f"/api/v1/headers/{run}/streams/")
    sent = [event.command[event.command_name] for event in commands.sent]
    assert sorted(sent) == ["datum", "event", "event", "resource", *["run_start"] * 2]
