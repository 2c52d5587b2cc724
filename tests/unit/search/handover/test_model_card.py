"""The card says what was measured, in a head that Hugging Face's own reader takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from made_study import BASE, LORA, config, record, trial

from search.decision.evidence import Estimate, Estimates
from search.handover.licences import licence_of
from search.handover.model_card import hub_data_sets, model_card, plain
from search.handover.recipe_document import RecipeDocument
from search.handover.study_files import recipe_document
from search.reuse.applied_document import applied_card
from search.reuse.comparison import Compared
from search.selection import select
from search.settings.task_config import TaskConfig

# Gain (30 + 20) / 2 = 25; colour drops by 5, shape by 1.
VALUES = {"count": 40.0, "clock": 40.0, "colour": 85.0, "shape": 79.0}


def document(**evidence: object) -> RecipeDocument:
    study = record([trial(0, [VALUES], **LORA)])
    fields = recipe_document(study, select(study.trials, study.objective))
    fields["evidence"] |= evidence
    fields["data"] = {"count/train": "d1"}
    return RecipeDocument.from_dict(fields, "test")


def rows(card: str, title: str) -> list[list[str]]:
    section = card.split(f"\n## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if "|" in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_head_is_read_by_hugging_face() -> None:
    read = ModelCard(model_card("made", document(), licence="mit")).data
    head = {"base_model": "tiny-llava", "license": "mit", "library_name": "transformers"}
    assert read.to_dict() | head == read.to_dict()
    # The tasks' names are no data sets of the hub.
    assert read.datasets is None
    found = {each.dataset_name: each.metric_value for each in read.eval_results}
    assert found == VALUES
    unknown = ModelCard(model_card("made", document())).data
    assert (unknown.license, unknown.to_dict()["license_name"]) == ("other", "unknown")


def test_data_sets_are_those_of_the_hub() -> None:
    own = config()
    sources = {"count": "owner/counting", "clock": "/data/clock", "colour": "owner/colours"}
    tasks = {task: TaskConfig(source=source) for task, source in sources.items()}
    made = own.model_copy(update={"tasks": tasks})
    # Of the targets, one comes from the hub; the other is a folder, and colour is held out.
    assert hub_data_sets(made) == ("owner/counting",)
    assert hub_data_sets(own) == ()
    read = ModelCard(model_card("made", document(), data_sets=hub_data_sets(made))).data
    assert read.datasets == ["owner/counting"]


def test_the_head_has_the_values_of_samples_that_chose_nothing() -> None:
    """The weights score their own 33 of count, where the mean of the seeds is 36; the base has 12 there."""
    confirm = {
        "split": "confirm",
        "targets": {"count": {"base": 12.0, "tuned": 36.0, "n": 50}},
        "held_out": {"shape": {"base": 79.0, "tuned": 77.0, "n": 50}},
    }
    own = {"seed": 7, "search": VALUES, "confirm": {"count": 33.0, "shape": 76.0}}
    found = ModelCard(model_card("made", document(confirm=confirm, selected=own))).data.eval_results
    assert [(e.dataset_name, e.dataset_split, e.metric_value) for e in found] == [
        ("count", "confirm", 33.0),
        ("shape", "confirm", 76.0),
    ]
    assert found[0].metric_name == "points (0 to 100), target, confirm split; the base has 12"
    # What was applied has no runs: its one training was scored on both splits.
    alone = ModelCard(model_card("made", document(confirm=confirm))).data.eval_results
    assert [(e.dataset_split, e.metric_value) for e in alone] == [("confirm", 36.0), ("confirm", 77.0)]
    # The weights were not scored there: a mean over other seeds is none of theirs.
    beside = document(confirm=confirm, selected=own | {"confirm": {}})
    splits = {e.dataset_split for e in ModelCard(model_card("made", beside)).data.eval_results}
    assert splits == {"search"}


def test_values_and_losses() -> None:
    card = model_card("made", document())
    measured = rows(card, "What was measured")
    assert measured[2:6] == [
        ["count", "target", "10.0", "40.0", "+30.0", "100"],
        ["clock", "target", "20.0", "40.0", "+20.0", "100"],
        ["colour", "held-out", "90.0", "85.0", "-5.0", "100"],
        ["shape", "held-out", "80.0", "79.0", "-1.0", "100"],
    ]
    assert measured[-1] == ["score", "+22.0"]
    lost = card.split("## What it lost")[1].split("##")[0]
    assert lost.split("\n\n")[1:3] == [
        "Of 2 held-out tasks, 2 scored less than the base did.",
        "- colour: -5.0 points\n- shape: -1.0 points",
    ]
    assert ["lora rank", "8"] in rows(card, "Recipe")
    assert ["count/train", "`d1`"] in rows(card, "Made with")
    assert "The licence is the base's: unknown: see the base model." in card
    assert "The values are the best of 1 trials" in card


def estimates(shift: float) -> Estimates:
    def around(value: float) -> Estimate:
        return Estimate(value=value + shift, low=value + shift - 2, high=value + shift + 2)

    changes = {task: around(VALUES[task] - BASE[task]) for task in VALUES}
    return Estimates(
        target_gain=around(25),
        held_out_forgetting=around(3),
        worst_forgetting=around(5),
        score=around(22),
        changes=changes,
    )


def test_intervals_and_the_confirm_split() -> None:
    card = model_card("made", document(), estimates=estimates(0), confirmed=estimates(-4))
    measured = rows(card, "What was measured")
    first, again = "+30.0 (+28.0 to +32.0)", "+26.0 (+24.0 to +28.0)"
    assert measured[2] == ["count", "target", "10.0", "40.0", first, again, "100"]
    assert measured[-1] == ["score", "+22.0 (+20.0 to +24.0)", "+18.0 (+16.0 to +20.0)"]
    assert "expect somewhat less" not in card


def test_weights_of_another_seed_are_told_by_their_own_values() -> None:
    own = {"seed": 7, "search": VALUES | {"count": 35.0}, "confirm": {}}
    card = model_card("made", document(selected=own), estimates=estimates(0))
    # No interval: that one is of the first training.
    assert rows(card, "What was measured")[2] == ["count", "target", "10.0", "35.0", "+25.0", "100"]
    assert "on the new seed 7" in card
    assert "Seed: 7." in card
    # The study's own seed is that of weights that the search trained.
    assert "Seed: 5." in model_card("made", document())
    assert {e.metric_value for e in ModelCard(card).data.eval_results} == {35.0, 40.0, 85.0, 79.0}


def test_applied_weights_have_a_card_with_both_splits_and_the_caveats() -> None:
    """They are of the one training that was measured, so that its intervals are theirs."""
    applied = replace(document(), trials={}, applied={"seed": 3, "caveats": ["40 steps instead of 400"]})
    compared = [
        Compared(split=split, base={}, tuned={}, estimates=estimates(shift))
        for split, shift in (("search", 0), ("confirm", -4))
    ]
    card = applied_card(config("made-applied"), applied, compared)
    assert ModelCard(card).data.base_model == "tiny-llava"
    first, again = "+30.0 (+28.0 to +32.0)", "+26.0 (+24.0 to +28.0)"
    assert rows(card, "What was measured")[2] == ["count", "target", "10.0", "40.0", first, again, "100"]
    limits = card.split("## Limits")[1]
    assert (
        "- The learning rate 1.0e-3 was found under other circumstances (40 steps instead of 400)" in limits
    )
    assert "The values are the best of" not in limits
    without = applied_card(config(), replace(applied, applied={"caveats": []}), compared[:1])
    assert "other circumstances" not in without
    assert "confirm split" not in without


def test_text_of_users_is_no_markup() -> None:
    assert plain("a|b\n<b>*x*</b> [l](u) `c`") == r"a\|b \<b\>\*x\*\</b\> \[l\](u) \`c\`"
    card = model_card("x | <script>", document(), notes=("only *half* done",))
    assert r"# x \| \<script\>" in card
    assert r"- only \*half\* done" in card


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: mit\ntags: [a]\n---\n# Card\n", "mit"),
        ("# Card without a head\n", None),
        ("---\nlicense: [a, b]\n---\n", None),
        ("---\n: : {\n---\n", None),
        (None, None),
    ],
)
def test_the_licence_is_the_base_s_own_word(tmp_path: Path, card: str | None, licence: str | None) -> None:
    if card is not None:
        (tmp_path / "README.md").write_text(card, encoding="utf-8")
    assert licence_of(str(tmp_path)) == licence


def test_the_embedded_model_has_a_licence() -> None:
    assert licence_of("tiny-llava") == "apache-2.0"
