"""The race of finalists: who runs, who is dropped, and what it may take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.finalists.racing import Entrant, after_round, fresh_seeds, needed, runners

entrants = st.lists(
    st.dictionaries(st.integers(0, 4), st.integers(1, 40), min_size=1, max_size=3), min_size=1, max_size=6
).map(lambda all_needs: [Entrant(key=f"c{i}", needs=needs) for i, needs in enumerate(all_needs)])


def of(*needs: Mapping[int, int]) -> list[Entrant]:
    return [Entrant(key="abcdef"[number], needs=own) for number, own in enumerate(needs)]


def keys(field: Sequence[Entrant]) -> str:
    return "".join(each.key for each in field)


def kept(**scores: float) -> dict[str, tuple[bool, float]]:
    """Return means of who keeps the bound."""
    return {key: (True, score) for key, score in scores.items()}


class TestSeeds:
    @given(st.integers(0, 2**32 - 1), st.integers(0, 6), st.integers(0, 6))
    def test_are_new_all_different_and_always_the_same(self, seed: int, few: int, more: int) -> None:
        seeds = fresh_seeds(seed, few + more)
        assert len({seed, *seeds}) == few + more + 1
        assert all(0 <= each < 2**32 for each in seeds)
        assert fresh_seeds(seed, few) == seeds[:few]

    def test_differ_between_studies(self) -> None:
        assert not set(fresh_seeds(0, 5)) & set(fresh_seeds(1, 5))


class TestWhatARoundTakes:
    def test_what_several_need_is_trained_once_and_as_long_as_any_needs(self) -> None:
        """Trial 1 goes on to step 100 for the first one, which the second takes from it at step 50."""
        assert needed(of({1: 100}, {1: 50, 2: 100}, {2: 100})) == {1: 100, 2: 100}

    @given(entrants)
    def test_is_no_more_than_all_take_alone_and_no_less_than_any(self, field: list[Entrant]) -> None:
        alone = [sum(needed([each]).values()) for each in field]
        assert max(alone) <= sum(needed(field).values()) <= sum(alone)


class TestWhoRuns:
    def test_all_do_where_there_is_enough(self) -> None:
        """300 steps of this round, and 100 of the next for the first one."""
        field = of({1: 100}, {2: 100}, {3: 100})
        assert keys(runners(field, rounds=2, left=400)) == "abc"
        assert keys(runners(field, rounds=2, left=399)) == "ab"

    def test_a_soup_of_others_trials_is_free(self) -> None:
        field = of({1: 100}, {2: 100}, {1: 100, 2: 100})
        assert keys(runners(field, rounds=1, left=200)) == "abc"

    def test_who_needs_no_other_run_rides_along(self) -> None:
        """There is enough for one training: what is made of it runs, though it stands behind another."""
        field = of({1: 100}, {2: 100}, {1: 100}, {1: 50}, {1: 100, 2: 100})
        assert keys(runners(field, rounds=1, left=100)) == "acd"
        assert keys(runners(field, rounds=1, left=200)) == "abcde"

    def test_the_first_one_runs_as_long_as_it_can(self) -> None:
        field = of({1: 100}, {2: 100})
        assert keys(runners(field, rounds=3, left=100)) == "a"
        assert keys(runners(field, rounds=3, left=99)) == ""

    def test_nobody_is_left(self) -> None:
        assert runners((), rounds=1, left=100) == ()

    @given(entrants, st.integers(1, 4), st.integers(0, 400))
    def test_the_budget_holds_and_the_first_one_gets_its_seeds(
        self, standing: list[Entrant], rounds: int, budget: int
    ) -> None:
        """Nobody is dropped here, so the same one stays first."""
        first, left, ran = standing[0], budget, 0
        before = [each.key for each in standing]
        for number in range(rounds):
            running = runners(standing, rounds=rounds - number, left=left)
            left -= sum(needed(running).values())
            assert left >= 0
            own = [each.key for each in running]
            assert own == [key for key in before if key in own], "who did not run once does not come back"
            trained = needed(running)
            free = [each.key for each in standing if needed((*running, each)) == trained]
            assert own == free, "who needs no other run rides along"
            before = own
            ran += first.key in own
            standing = list(running)
        assert ran == min(rounds, budget // sum(first.needs.values()))


class TestWhoIsDropped:
    def test_only_who_is_clearly_behind_the_best_on_the_new_seeds(self) -> None:
        field = of({1: 1}, {2: 1}, {3: 1})
        told: list[tuple[str, str]] = []

        def behind(one: str, other: str) -> bool:
            told.append((one, other))
            return one == "a"

        left, dropped = after_round(field, kept(a=5, b=20, c=19), behind)
        assert (keys(left), keys(dropped)) == ("bc", "a")
        assert told == [("c", "b"), ("a", "b")]

    def test_who_has_no_run_is_out_but_not_dropped(self) -> None:
        left, dropped = after_round(of({1: 1}, {2: 1}), kept(b=1), lambda *_: True)
        assert (keys(left), keys(dropped)) == ("b", "")
        assert after_round(of({1: 1}), {}, lambda *_: True) == ((), ())

    def test_who_forgets_too_much_knocks_nobody_out(self) -> None:
        """The first one scores more and breaks the bound: it is the second that others are compared with."""
        field = of({1: 1}, {2: 1}, {3: 1})
        worth = {"a": (False, 30.0), "b": (True, 20.0), "c": (True, 10.0)}
        left, dropped = after_round(field, worth, lambda one, other: other == "b" and one == "c")
        assert (keys(left), keys(dropped)) == ("ba", "c")

    @pytest.mark.parametrize("order", ["ab", "ba"])
    def test_a_tie_goes_to_who_stood_first(self, order: str) -> None:
        field = sorted(of({1: 1}, {2: 1}), key=lambda each: order.index(each.key))
        assert keys(after_round(field, kept(a=1, b=1), lambda *_: False)[0]) == order

    @given(entrants, st.data())
    def test_the_best_stays_and_all_who_ran_are_accounted_for(
        self, field: list[Entrant], data: st.DataObject
    ) -> None:
        scores = {each.key: data.draw(st.tuples(st.booleans(), st.floats(-100, 100))) for each in field}
        marked = data.draw(st.sets(st.sampled_from([each.key for each in field])))
        left, dropped = after_round(field, scores, lambda one, _: one in marked)
        assert scores[left[0].key] == max(scores.values())
        assert sorted(keys(left) + keys(dropped)) == sorted(keys(field))
        assert {each.key for each in dropped} == marked - {left[0].key}
