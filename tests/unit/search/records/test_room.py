"""How much a study's weights may take on storage, and what goes where that is short."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from made_study import config, trial
from tiny_models import llava

from search.config import StudyConfig
from search.planning.placement import Placement
from search.records.ended_weights import without_weights
from search.records.room import Room, make_room, room_of
from search.records.study_folder import StudyFolder
from search.results import TrialResult, TrialState
from search.settings.user_input import InputError
from trainables.cost.memory import MemoryEstimate
from trainables.manifest import TrainableManifest, build_manifest
from trainables.workers.execution import Execution, GroupShape

FRONT_BOLD = {"count": 70.0, "clock": 80.0, "colour": 80.0, "shape": 70.0}  # gain 60, forgetting 10: +50
FRONT_MILD = {"count": 40.0, "clock": 30.0}  # gain 20, none forgotten: +20
BEATEN = {"count": 60.0, "clock": 70.0, "colour": 70.0, "shape": 60.0}  # gain 50, forgetting 20: +30
WORST = {"colour": 50.0}  # nothing gained, forgetting 20: -20
SIZE = 1000  # bytes of each trial's weights


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder(tmp_path)


@pytest.fixture
def trials(folder: StudyFolder) -> tuple[TrialResult, ...]:
    made = [trial(number, [found]) for number, found in enumerate((FRONT_BOLD, WORST, FRONT_MILD, BEATEN))]
    return tuple(_written(folder, each) for each in [*made, trial(4, [BEATEN], state=TrialState.PRUNED)])


def _written(folder: StudyFolder, made: TrialResult) -> TrialResult:
    path = folder.trials / made.trial_id / "step_000040.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(SIZE))
    return replace(made, rungs=tuple(replace(rung, weights=str(path)) for rung in made.rungs))


def having(trials: tuple[TrialResult, ...]) -> list[int]:
    """Return the numbers of the trials that have weights; in the record and on storage these are the same."""
    found = [each.number for each in trials if each.rungs[-1].weights is not None]
    kept = [Path(each.rungs[-1].weights or "").exists() for each in trials if each.number in found]
    assert all(kept)
    return found


@pytest.mark.parametrize(
    ("allowed", "left"),
    [
        (None, [0, 1, 2, 3, 4]),
        (5 * SIZE, [0, 1, 2, 3, 4]),
        (5 * SIZE - 1, [0, 1, 2, 3]),
        (3 * SIZE, [0, 2, 3]),
        (2 * SIZE, [0, 2]),
        # The best one is not for this to take.
        (0, [0]),
    ],
)
def test_what_is_worth_least_goes_first_and_the_front_last(
    folder: StudyFolder, trials: tuple[TrialResult, ...], allowed: int | None, left: list[int]
) -> None:
    for other in (folder.trials / "0005", folder.finalists / "trained" / "0000-7", folder.points / "0000"):
        other.mkdir(parents=True)
        (other / "step_000020.safetensors").write_bytes(bytes(SIZE))
    kept = make_room(folder, trials, {0}, allowed)
    assert having(kept) == left
    # What runs, finalists and points are not counted, and not touched.
    assert len(list(folder.root.rglob("*.safetensors"))) == len(left) + 3
    assert [each.last.score for each in kept] == [each.last.score for each in trials]


def test_a_trial_without_weights_is_otherwise_the_same(
    folder: StudyFolder, trials: tuple[TrialResult, ...]
) -> None:
    home = folder.trials / trials[0].trial_id
    for left in (
        "between_000030.safetensors",
        "between_000030.json",
        "step_000040.optimizer.safetensors",
        ".step_000040.safetensors.node.1.2.tmp",
        "manifest.json",
    ):
        (home / left).touch()
    bare = without_weights(folder.root, trials[0])
    assert bare == replace(trials[0], rungs=tuple(replace(rung, weights=None) for rung in trials[0].rungs))
    assert [path.name for path in home.iterdir()] == ["manifest.json"]


def _bounded(gib: float | None) -> StudyConfig:
    made = config()
    return made.model_copy(update={"selection": made.selection.model_copy(update={"max_disk_gib": gib})})


def _placement(concurrency: int) -> Placement:
    return Placement(
        executions={"full": Execution(shape=GroupShape())},
        estimates=dict[str, MemoryEstimate](),
        eval_batch=1,
        concurrency=concurrency,
        trial_resources={},
        nodes=[],
    )


def _manifest() -> TrainableManifest:
    manifest = build_manifest(llava(), "full")
    assert manifest.bytes == 4 * manifest.count
    return manifest


def _with_rungs(first: int, *, earlier_rungs: bool = False) -> StudyConfig:
    """Return a study bounded to 1 GiB, without presets, whose trials have rungs from a first one."""
    fields = _bounded(1.0).model_dump()
    fields["search"] |= {"presets": False, "pruning": {"first_rung": first, "reduction_factor": 2}}
    fields["points"]["earlier_rungs"] = earlier_rungs
    return StudyConfig.model_validate(fields)


def test_room_by_hand() -> None:
    """In units of the parameters, fp32: a checkpoint is 3, with its two moments.

    With rungs at 10, 20 and 40 steps, three checkpoints and one between them are 12, of two trials 24. Then
    `selected/` is 1, and 5 points are as many: 2 trials at 2 shares, and a soup. Finalists are 3 recipes on 3
    seeds, each with its rung and a copy, and 5 points: 3 (3 + 3 + 5) = 33. Two of them at a time have one
    rung, and perhaps one checkpoint before it: 2 x 2 x 3 = 12.
    """
    manifest, bound = _manifest(), 1024**3
    study = _with_rungs(10)
    assert study.rungs == (10, 20, 40)
    room = room_of(study, _placement(2), [build_manifest(llava(), "projector"), manifest])
    assert room == Room(
        while_searching=bound - 24 * manifest.bytes,
        while_confirming=bound - (1 + 5 + 33 + 12) * manifest.bytes,
    )
    assert room_of(_bounded(None), _placement(2), [manifest]) == Room()


def test_room_by_hand_where_earlier_rungs_stay() -> None:
    """With rungs at 5, 10, 20 and 40, four checkpoints at most, and the first rung's parameters, are 13.

    There are 5 points as before, and 2 trials at 3 earlier rungs: 3 (3 x 4 + 3 + 5 + 6) = 78 on three seeds.
    """
    manifest, bound = _manifest(), 1024**3
    study = _with_rungs(5, earlier_rungs=True)
    assert study.rungs == (5, 10, 20, 40)
    assert room_of(study, _placement(1), [manifest]) == Room(
        while_searching=bound - 13 * manifest.bytes,
        while_confirming=bound - (1 + 5 + 78 + 13) * manifest.bytes,
    )


def test_a_bound_below_what_a_study_takes_in_any_case_is_refused() -> None:
    manifest = build_manifest(llava(), "full")
    with pytest.raises(InputError, match=r"selection\.max_disk_gib: 1e-05 GiB are too little: 2 trials at"):
        room_of(_bounded(1e-5), _placement(2), [manifest])
