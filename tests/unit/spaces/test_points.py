"""Points as data: what they accept, how they are called, and that they survive a file."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from spaces.points import Identity, Interpolation, Member, Point, Pruning, Soup, Transform

SHARES = st.floats(0, 1, exclude_min=True)
MEMBERS = st.builds(Member, st.integers(0, 99), st.integers(1, 999))
TRANSFORMS: st.SearchStrategy[Transform] = st.one_of(
    st.just(Identity()),
    st.builds(Interpolation, st.floats(0, 1)),
    st.builds(Pruning, SHARES),
    st.builds(Soup, st.lists(MEMBERS, min_size=1, max_size=4).map(tuple)),
)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, math.nan, math.inf])
def test_alpha_lies_between_base_and_tuned(alpha: float) -> None:
    with pytest.raises(ValueError, match=r"alpha must be in \[0, 1\], got"):
        Interpolation(alpha)


@pytest.mark.parametrize("keep", [0.0, -0.5, 1.5, math.nan])
def test_something_is_kept_and_no_more_than_all(keep: float) -> None:
    with pytest.raises(ValueError, match=r"keep must be in \(0, 1\], got"):
        Pruning(keep)


def test_a_soup_has_members() -> None:
    with pytest.raises(ValueError, match="at least one member"):
        Soup(())


@pytest.mark.parametrize(
    ("transform", "label"),
    [
        (Identity(), "step 50"),
        (Interpolation(0.9), "alpha 0.9"),
        (Pruning(0.1), "keep 0.1"),
        (Soup((Member(3, 50), Member(1, 100))), "soup of 2"),
    ],
)
def test_its_label_names_the_transform(transform: Transform, label: str) -> None:
    assert Point(3, 50, transform).label == label


def test_it_is_made_of_its_trial_or_of_a_soup_s_members() -> None:
    members = (Member(3, 50), Member(1, 100))
    assert Point(3, 50, Interpolation(0.5)).members == (Member(3, 50),)
    assert Point(3, 50, Soup(members)).members == members


def test_as_plain_values() -> None:
    assert Point(3, 50, Interpolation(0.9)).to_dict() == {
        "trial": 3,
        "step": 50,
        "transform": "interpolation",
        "alpha": 0.9,
    }
    assert Point(3, 50, Soup((Member(3, 50),))).to_dict() == {
        "trial": 3,
        "step": 50,
        "transform": "soup",
        "members": [{"trial": 3, "step": 50}],
    }


@given(st.integers(0, 99), st.integers(1, 999), TRANSFORMS)
def test_a_file_gives_it_back(trial: int, step: int, transform: Transform) -> None:
    point = Point(trial, step, transform)
    assert Point.from_dict(yaml.safe_load(yaml.safe_dump(point.to_dict()))) == point


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"trial": 1, "step": 2}, "a point lacks the field 'transform'"),
        ({"step": 2, "transform": "identity"}, "a point lacks the field 'trial'"),
        ({"trial": 1, "step": 2, "transform": "pruning"}, "a point lacks the field 'keep'"),
        (
            {"trial": 1, "step": 2, "transform": "prunning"},
            "unknown transform 'prunning': did you mean 'pruning'?",
        ),
        (
            {"trial": 1, "step": 2, "transform": "identity", "alpha": 1},
            "a point by identity has no field 'alpha'",
        ),
        (
            {"trial": 1, "step": 2, "transform": "interpolation", "alpha": 2},
            r"alpha must be in \[0, 1\], got 2",
        ),
        ({"trial": "1", "step": 2, "transform": "identity"}, "trial must be a whole number, got '1'"),
        (
            {"trial": 1, "step": 2, "transform": "interpolation", "alpha": "0.5"},
            "alpha must be a number, got '0.5'",
        ),
        (
            {"trial": 1, "step": 2, "transform": "soup", "members": 3},
            "members must be a list of trial and st",
        ),
        (
            {"trial": 1, "step": 2, "transform": "soup", "members": [{"trial": 1, "step": 2, "recipe": 0}]},
            "members must be a list of trial and step, got",
        ),
        (
            {"trial": 1, "step": 2, "transform": "soup", "members": [{"trial": 1, "step": True}]},
            "a point's step must be a whole number, got True",
        ),
    ],
)
def test_what_is_no_point_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        Point.from_dict(fields)
