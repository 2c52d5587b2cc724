"""Layer ranges: every way to write one, and the laws that hold for any number of layers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaces.layers import check_layers, layer_indices

COUNTS = st.integers(1, 100)


@pytest.mark.parametrize(
    ("layers", "count", "expected"),
    [
        ("all", 3, {0, 1, 2}),
        ("first:2", 5, {0, 1}),
        ("middle:1", 5, {2}),
        ("middle:2", 5, {1, 2}),  # one layer before, two after
        ("last:2", 5, {3, 4}),
        ("last:5", 5, {0, 1, 2, 3, 4}),
        ("first:1/2", 5, {0, 1, 2}),  # 2.5 layers are 3
        ("last:1/3", 7, {5, 6}),  # 2.33 layers are 2
        ("last:1/3", 8, {5, 6, 7}),  # 2.67 layers are 3
        ("first:1/9", 3, {0}),  # 0.33 layers: at least one
        ("last:2/2", 4, {0, 1, 2, 3}),
        ("0-3,8", 9, {0, 1, 2, 3, 8}),
        ("8, 0-1", 9, {0, 1, 8}),
        ("4", 5, {4}),
    ],
)
def test_the_layers_of_a_range(layers: str, count: int, expected: set[int]) -> None:
    assert layer_indices(layers, count) == expected


@given(COUNTS, st.data())
def test_the_first_and_the_rest_partition_the_layers(count: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(1, count))
    head = layer_indices(f"first:{first}", count)
    rest = layer_indices(f"last:{count - first}", count) if first < count else frozenset()
    assert (len(head), len(rest)) == (first, count - first)
    assert sorted([*head, *rest]) == list(range(count))


@given(COUNTS, st.data())
def test_the_middle_is_as_far_from_both_ends(count: int, data: st.DataObject) -> None:
    taken = data.draw(st.integers(1, count))
    middle = sorted(layer_indices(f"middle:{taken}", count))
    assert middle == list(range(middle[0], middle[0] + taken))
    before, after = middle[0], count - 1 - middle[-1]
    assert after - before in (0, 1)


@given(COUNTS, st.integers(1, 60), st.integers(1, 60), st.sampled_from(["first", "middle", "last"]))
def test_a_fraction_is_off_by_half_a_layer_at_most(count: int, a: int, b: int, place: str) -> None:
    size, over = sorted((a, b))
    taken = len(layer_indices(f"{place}:{size}/{over}", count))
    assert taken == 1 or abs(taken - count * size / over) <= 0.5


@given(COUNTS, st.data())
def test_indices_are_taken_as_they_are_written(count: int, data: st.DataObject) -> None:
    chosen = data.draw(st.sets(st.integers(0, count - 1), min_size=1))
    assert layer_indices(",".join(map(str, chosen)), count) == chosen


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ("last:5", "layer range 'last:5' goes beyond the 4 layers of the model"),
        ("2-4", "layer range '2-4' goes beyond the 4 layers of the model, which are 0 to 3"),
    ],
)
def test_beyond_the_layers(layers: str, message: str) -> None:
    check_layers(layers)  # without a model nothing is wrong with it
    with pytest.raises(ValueError, match="beyond") as caught:
        layer_indices(layers, 4)
    assert str(caught.value) == message


NO_RANGE = (
    "is no layer range: expected all, first:N, middle:N or last:N with N a number of layers or a fraction "
    "such as 1/2, or indices such as 0-3,8"
)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ("last:0", "layer range 'last:0': last must take at least one layer"),
        ("first:0/2", "layer range 'first:0/2': first must take a fraction above 0 and up to 1"),
        ("first:3/2", "layer range 'first:3/2': first must take a fraction above 0 and up to 1"),
        ("lsat:3", "layer range 'lsat:3': unknown place 'lsat': did you mean 'last'?"),
        ("3-1", "layer range '3-1': '3-1' runs backwards"),
        ("0-3,2", "layer range '0-3,2' names layer 2 twice"),
        ("first:1/0", "layer range 'first:1/0': first must take a fraction above 0 and up to 1"),
        ("last", f"'last' {NO_RANGE}"),
        ("last:0.5", f"'last:0.5' {NO_RANGE}"),
        ("first:-1", f"'first:-1' {NO_RANGE}"),
        ("", f"'' {NO_RANGE}"),
        ("1,,2", f"'1,,2' {NO_RANGE}"),
    ],
)
def test_what_is_no_range(layers: str, message: str) -> None:
    with pytest.raises(ValueError, match="layer range") as caught:
        check_layers(layers)
    assert str(caught.value) == message
