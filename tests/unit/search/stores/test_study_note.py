"""What the run of a study says in MLflow of its verdict."""

from __future__ import annotations

from made_study import GOOD, HARMFUL, record, trial

from search.selection import select
from search.stores.study_note import verdict_tags


def test_the_note_says_what_to_train_and_what_it_is_worth() -> None:
    made = record([trial(0, [GOOD], learning_rate=3.1e-4)])
    tags = verdict_tags(made, select(made.trials, made.objective))
    assert (tags["verdict"], tags["selected"]) == ("use this recipe", "trial 0")
    note = tags["mlflow.note.content"]
    assert note.startswith("**Train gate_up at learning rate 3.1e-4**\n\n")
    # Gain (30 + 20) / 2, forgetting (2 + 4) / 2.
    assert "+25.0 points" in note
    assert "3.0 points" in note
    assert "\n- Each recipe was trained once" in note


def test_the_note_says_to_keep_the_base() -> None:
    made = record([trial(0, [HARMFUL])])
    tags = verdict_tags(made, select(made.trials, made.objective))
    assert (tags["verdict"], tags["selected"]) == ("keep the base", "base")
    assert tags["mlflow.note.content"].startswith("**Keep the base model**")
