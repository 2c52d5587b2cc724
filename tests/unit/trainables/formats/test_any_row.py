"""Whatever a row holds, it becomes samples or one line with its file and row."""

from __future__ import annotations

from typing import Any

from format_rows import WHERE, read
from hypothesis import event, given, settings
from hypothesis import strategies as st

from trainables.data.bad_samples import SampleError
from trainables.data.samples import Sample
from trainables.formats import COLUMNS

KNOWN = sorted({column for fields in COLUMNS.values() for names in fields.values() for column in names})
INNER = ["role", "content", "from", "value", "type", "text", "image", "image_url", "url", "label", "answer"]
WORDS = st.sampled_from(
    ["", " ", "owl", "<image>", "user", "text", "image", "A", "1", "[", '["a", "b"]', "a.png"]
)
PLAIN = st.none() | st.booleans() | st.integers(-2, 40) | st.floats() | WORDS | st.binary(max_size=9)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*INNER, "A", "B"]), inner),
    max_leaves=6,
)
TEXTS = st.sampled_from(["owl", "a wren", "A", "2", "<image> Which?"])
SIDES = [st.sampled_from(["user", "human"]), st.sampled_from(["assistant", "gpt"])]
PAIR = st.tuples(*(st.fixed_dictionaries({"role": side, "content": TEXTS}) for side in SIDES))
TURNS = st.lists(PAIR, min_size=1, max_size=3).map(lambda pairs: [turn for pair in pairs for turn in pair])
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("messages", "conversations"), TURNS),
    **dict.fromkeys(("choices", "options", "answers"), st.lists(TEXTS, min_size=2, max_size=4)),
    **dict.fromkeys(("question", "prompt", "answer", "instruction", "output", "completion", "A", "B"), TEXTS),
}
OF_A_FORMAT = st.sampled_from(
    [
        ("messages",),
        ("conversations", "image"),
        ("question", "choices", "answer"),
        ("question", "A", "B", "answer"),
        ("question", "answers"),
        ("prompt", "completion", "image"),
        ("instruction", "input", "output"),
    ]
)


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a row of a format, some of whose columns hold anything, with columns that it has not."""
    columns = [*draw(OF_A_FORMAT), *draw(st.lists(st.sampled_from([*KNOWN, "other"]), max_size=2))]
    spoilt = draw(st.sets(st.sampled_from(columns), max_size=2))
    return {name: draw(VALUES if name in spoilt else FIELDS.get(name, st.none())) for name in columns}


@given(
    row=rows(),
    split=st.sampled_from(["train", "search"]),
    prompt=st.sampled_from([None, None, "{question} {other}", "{choices}"]),
)
@settings(max_examples=300, deadline=None)
def test_a_row_is_read_or_told(row: dict[str, Any], split: Any, prompt: str | None) -> None:
    error: ValueError | None = None
    samples: list[Sample] = []
    try:
        samples = read(row, split, prompt=prompt)
    except ValueError as raised:
        error = raised
    event("read" if samples else "told")
    assert bool(samples) != bool(error)
    if error is not None and not isinstance(error, SampleError):
        assert str(error).startswith("tasks.birds.prompt: ")
    elif isinstance(error, SampleError):
        assert error.label == WHERE
        assert "\n" not in str(error)
    for sample in samples:
        assert sample.prompt.strip()
        assert sample.answer.strip()
        assert not sample.choices or sample.answer in sample.choices
        assert not sample.references or sample.answer in sample.references
