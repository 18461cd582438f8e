"""The study of wire formats: every codec is honest, and its report is complete."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from bench import wire_formats, wire_study
from bench.wire_protobuf import CODEC
from bench.wire_study import CODECS, payloads, served

EXACT = CODECS | {"protobuf, packed": CODEC}


@pytest.mark.parametrize("payload", [name for name in payloads() if "2048" not in name])
@pytest.mark.parametrize("format", [name for name in EXACT if name != "raw"])
def test_what_is_decoded_is_what_was_encoded(format: str, payload: str) -> None:
    codec, arrays = EXACT[format], payloads()[payload]
    found: Any = codec.decode(codec.encode(arrays))
    if isinstance(found, np.ndarray):
        found = {"data": found}
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert found[name].shape == array.shape
        assert np.array_equal(found[name], array, equal_nan=True)


def test_the_body_is_fetched_from_another_process() -> None:
    with served(b"body" * 100_000) as fetch:
        assert fetch() == fetch() == b"body" * 100_000


def test_the_report_has_every_payload_and_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {name: arrays for name, arrays in payloads().items() if "scalars" in name}
    monkeypatch.setattr(wire_study, "payloads", lambda: small)
    monkeypatch.setattr(wire_study, "SECONDS", 0.001)
    wire_formats.write(tmp_path)
    report = (tmp_path / "wire-formats.md").read_text()
    assert all(f"| {name} |" in report for name in EXACT)
    picture = ElementTree.parse(tmp_path / "wire-20-scalars.svg")
    texts = [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert set(EXACT) <= set(texts)
