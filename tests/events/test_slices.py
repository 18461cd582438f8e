"""Slices as text equal numpy's, and are weighed before anything is read."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from events.files.slices import (
    OverBudget,
    Selection,
    SliceError,
    check_budget,
    compose,
    fitting,
    parse,
    resolve,
    whole,
)

shapes = hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=6)


def as_text(index: Any) -> str:
    """What a client would write for a numpy basic index."""
    if isinstance(index, tuple):
        return ",".join(as_text(item) for item in index)
    if isinstance(index, slice):
        start, stop, step = (
            "" if bound is None else str(bound) for bound in (index.start, index.stop, index.step)
        )
        return f"{start}:{stop}:{step}" if step else f"{start}:{stop}"
    return "..." if index is ... else str(index)


@st.composite
def arrays_and_indices(draw: st.DrawFn) -> tuple[np.ndarray, Any]:
    shape = draw(shapes)
    index = draw(hnp.basic_indices(shape, allow_newaxis=False, allow_ellipsis=True))
    return np.arange(math.prod(shape)).reshape(shape), index


@given(arrays_and_indices())
def test_a_slice_takes_what_numpy_takes(case: tuple[np.ndarray, Any]) -> None:
    array, index = case
    selection = resolve(parse(as_text(index)), array.shape)
    expected = array[index]
    assert selection.shape == expected.shape
    np.testing.assert_array_equal(array[selection.index], expected)


@given(arrays_and_indices())
def test_a_selection_written_as_text_selects_the_same(case: tuple[np.ndarray, Any]) -> None:
    array, index = case
    selection = resolve(parse(as_text(index)), array.shape)
    again = resolve(parse(str(selection)), array.shape)
    np.testing.assert_array_equal(array[again.index], array[index])


@given(st.text(alphabet="0123456789:,.-+ x", max_size=30), shapes)
def test_any_text_is_a_slice_or_a_clear_refusal(text: str, shape: tuple[int, ...]) -> None:
    array = np.zeros(shape)
    try:
        selection = resolve(parse(text), shape)
    except SliceError:
        return
    assert array[selection.index].shape == selection.shape


@given(st.data(), st.integers(0, 12))
def test_slicing_a_slice_is_composed_without_data(data: st.DataObject, length: int) -> None:
    array = np.arange(length)
    first = resolve([data.draw(st.slices(length))], (length,))
    second = resolve([data.draw(st.slices(len(array[first.index])))], first.shape)
    composed = Selection((compose(first.axes[0], second.axes[0]),))
    np.testing.assert_array_equal(array[composed.index], array[first.index][second.index])


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("::0", "step"),
        (",".join("0" * 33), "33 items"),
        ("...,...", "only once"),
        ("1" * 40, "64 bits"),
        ("0:" + "9" * 30, "64 bits"),
        (":" * 2000, "longer"),
        ("None", "no index"),
        ("1:2:3:4", "no index"),
        ("1,,2", "no index"),
        ("1:x", "whole number"),
        ("\u0661", "no index"),  # a digit, but not ASCII
        ("[0]", "no index"),
        ("True", "no index"),
    ],
)
def test_abuse_case_11_a_bad_slice_is_refused(text: str, hint: str) -> None:
    with pytest.raises(SliceError, match=hint):
        parse(text)


@pytest.mark.parametrize(
    ("text", "hint"), [("5", "out of range"), ("-6", "out of range"), ("0,0,0", "names 3 axes")]
)
def test_abuse_case_11_a_slice_that_does_not_fit_is_refused(text: str, hint: str) -> None:
    with pytest.raises(SliceError, match=hint):
        resolve(parse(text), (5, 4))


def test_abuse_case_11_a_slice_of_a_million_million_elements_is_refused_from_its_shape() -> None:
    with pytest.raises(OverBudget) as refusal:
        check_budget(whole((10**6, 10**6)), 2, 512 * 2**20)
    assert refusal.value.shape == (10**6, 10**6)
    assert refusal.value.nbytes == 2 * 10**12
    assert refusal.value.suggestion == "0:268,0:1000000"
    assert refusal.value.suggestion in str(refusal.value)


@given(arrays_and_indices(), st.integers(1, 400))
def test_the_suggested_slice_fits_and_is_part_of_what_was_asked(
    case: tuple[np.ndarray, Any], budget: int
) -> None:
    array, index = case
    asked = resolve(parse(as_text(index)), array.shape)
    try:
        check_budget(asked, 1, budget)
    except OverBudget as refusal:
        smaller = resolve(parse(refusal.suggestion), array.shape)
        assert 0 < math.prod(smaller.shape) <= budget
        assert set(array[smaller.index].flat) <= set(array[index].flat)
    else:
        assert array[index].size <= budget


def test_fitting_shortens_the_event_axis_first() -> None:
    assert str(fitting(whole((100, 10, 10)), 2, 1000)) == "0:5,0:10,0:10"
    assert str(fitting(whole((100, 10, 10)), 2, 100)) == "0:1,0:5,0:10"
