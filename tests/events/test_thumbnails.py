"""GET headers/{key}/thumbnail/: a run at a glance, for who may read it."""

import io
import re
from base64 import b64decode
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from events import repositories, thumbnails
from events.thumbnails import HEIGHT, WIDTH, curve, map_picture
from headers.mongo import database
from tests.conftest import Actor, Commands
from tests.documents import EPOCH, Recorder
from tests.frames import record_frames

ACCEPT: Any = {"HTTP_ACCEPT": "image/avif,image/webp,image/svg+xml,image/*,*/*;q=0.8"}


def drawn(acting_as: Actor, run: str, actor: str = "alice") -> tuple[str | None, str]:
    response = acting_as(actor).get(f"/api/v1/headers/{run}/thumbnail/", **ACCEPT)
    assert response.status_code == 200
    assert response["Content-Type"] == "image/svg+xml"
    assert len(response.content) < 200_000
    return ElementTree.fromstring(response.content).get("data-kind"), response.content.decode()


def points(svg: str) -> list[tuple[float, float]]:
    found = re.search(r'points="([^"]*)"', svg)
    assert found
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in found[1].split())]


def picture(svg: str) -> Any:
    found = re.search(r"base64,([^\"]*)", svg)
    assert found
    return np.asarray(Image.open(io.BytesIO(b64decode(found[1]))))


def test_a_scan_is_its_first_signal_over_its_motor(acting_as: Actor, recorder: Recorder) -> None:
    run = recorder.run(events=5, hints={"dimensions": [[["motor"], "primary"]]}, motors=["motor"])
    kind, svg = drawn(acting_as, run)
    assert kind == "curve"
    across, up = zip(*points(svg), strict=True)
    # motor falls from -1, det is the square of it: drawn upwards, from right to left.
    assert across == pytest.approx(sorted(across, reverse=True))
    assert [y - HEIGHT + 4 for y in up] == pytest.approx([-3 * (n * n - 1) for n in range(1, 6)])


def test_a_map_has_each_value_in_its_place(acting_as: Actor, recorder: Recorder) -> None:
    dimensions = [[["slow"], "primary"], [["fast"], "primary"]]
    run = recorder.run(
        events=0, hints={"dimensions": dimensions}, motors=["slow", "fast"], shape=[2, 3]
    )
    number = {"dtype": "number", "shape": [], "source": "x"}
    keys = dict.fromkeys(("slow", "fast", "det"), number)
    descriptor = recorder.descriptor(run, data_keys=keys, name="primary")
    store = database(recorder.catalogs["csx"].metadata).event
    for n, (slow, fast) in enumerate([(0, 0), (0, 1), (0, 2), (1, 2), (1, 1), (1, 0)]):
        data = {"slow": slow, "fast": fast + n * 1e-4, "det": float(10 * slow + fast)}
        event = {"uid": f"{descriptor}-{n}", "descriptor": descriptor, "seq_num": n + 1}
        store.insert_one(event | {"time": EPOCH + n, "data": data, "timestamps": {}, "filled": {}})
    kind, svg = drawn(acting_as, run)
    assert kind == "map"
    image = picture(svg)
    assert image.shape == (2, 3, 4)
    brightness = image[..., :3].astype(int).sum(axis=-1)
    assert brightness[1].tolist() == sorted(brightness[1].tolist())  # the first row is below
    assert brightness[0].min() > brightness[1].max()


def test_frames_are_the_first_one_made_small(acting_as: Actor, recorder: Recorder) -> None:
    run = record_frames(recorder, "thumbnail", 2)
    kind, svg = drawn(acting_as, run)
    assert kind == "frame"
    assert picture(svg).shape == (256, 256)


def test_what_cannot_be_drawn_is_an_empty_picture(acting_as: Actor, recorder: Recorder) -> None:
    image = {"dtype": "array", "shape": [2, 2], "source": "x", "external": "FILESTORE:"}
    for keys in ({}, {"image": image}, {"a": {"dtype": "string", "shape": [], "source": "x"}}):
        run = recorder.run(events=0)
        recorder.descriptor(run, name="other", data_keys=keys)
        assert drawn(acting_as, run)[0] == "none"
    assert drawn(acting_as, recorder.run(events=0, exit_status=None))[0] == "none"


def test_a_complete_run_is_drawn_once_for_a_browser_and_an_open_one_anew(
    acting_as: Actor, recorder: Recorder
) -> None:
    alice = acting_as("alice")
    complete, running = recorder.run(), recorder.run(exit_status=None)
    first = alice.get(f"/api/v1/headers/{complete}/thumbnail/")
    assert "private" in first["Cache-Control"]
    again = alice.get(f"/api/v1/headers/{complete}/thumbnail/", HTTP_IF_NONE_MATCH=first["ETag"])
    assert again.status_code == 304
    # Whoever may not read the run is not told that their copy is still good.
    hidden = acting_as("bob").get(
        f"/api/v1/headers/{complete}/thumbnail/", HTTP_IF_NONE_MATCH=first["ETag"]
    )
    assert hidden.status_code == 404
    assert "ETag" not in alice.get(f"/api/v1/headers/{running}/thumbnail/")


def test_of_long_runs_the_first_events_are_read(
    acting_as: Actor,
    recorder: Recorder,
    commands: Commands,
    index_stands: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(repositories, "BATCH_EVENTS", 100)
    monkeypatch.setattr(thumbnails, "READ_BYTES", 1000)
    run = recorder.run(events=500)
    index_stands()
    commands.sent.clear()
    kind, svg = drawn(acting_as, run)
    assert kind == "curve"
    assert len(points(svg)) < 500 // 2
    assert "getMore" not in commands.names


def test_a_token_for_metadata_sees_no_data(acting_as: Actor, recorder: Recorder) -> None:
    run = recorder.run()
    alice = acting_as("alice")
    limits = {"name": "m", "scopes": ["read:metadata"], "expires_in": 3600}
    token = alice.post("/api/v1/auth/api-tokens/", limits, format="json").json()["token"]
    alice.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    assert alice.get(f"/api/v1/headers/{run}/thumbnail/").status_code == 403


numbers = st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=400).map(np.array)


@given(numbers, numbers, numbers)
def test_any_numbers_are_drawn_inside_of_the_picture(x: Any, y: Any, z: Any) -> None:
    length = min(len(x), len(y), len(z))
    x, y, z = (values[:length].astype(float) for values in (x, y, z))
    svg = curve(x, y)
    for across, up in points(svg) if svg else ():
        assert 0 <= across <= WIDTH
        assert 0 <= up <= HEIGHT
    image = map_picture(x, y, z, [3, 10**9])
    assert not image or picture(image).shape[0] <= 3
