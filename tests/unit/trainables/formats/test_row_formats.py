"""Each format: what a row of it becomes, and what is wrong with one that is not as it should be."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, get_args

import pytest
from format_rows import WHERE, one, picture, read

from trainables.data.bad_samples import SampleError
from trainables.data.samples import Turn
from trainables.data.task_spec import Format, TaskSpec
from trainables.formats import COLUMNS, detect_format, to_samples
from trainables.sources.row import Row

LETTER = "Answer with the option's letter from the given choices directly."


def said(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def lava(side: str, value: str) -> dict[str, str]:
    return {"from": side, "value": value}


class TestMessages:
    def test_a_question_and_its_answer(self) -> None:
        sample = one({"messages": [said("user", "Which bird?"), said("assistant", "owl")]})
        assert (sample.prompt, sample.answer, sample.history, sample.where) == (
            "Which bird?",
            "owl",
            (),
            WHERE,
        )
        assert sample.id == ""

    def test_parts_of_text_and_images_in_their_order(self, tmp_path: Path) -> None:
        (tmp_path / "b.png").write_bytes(picture(2))
        url = "data:image/png;base64," + base64.b64encode(picture(1)).decode()
        content = [
            {"type": "text", "text": "From "},
            {"type": "image_url", "image_url": {"url": url}},
            {"type": "text", "text": " to "},
            {"type": "image", "image": "b.png"},
            {"type": "text", "text": "?"},
        ]
        sample = one({"messages": [said("user", content), said("assistant", "owl")]}, folder=tmp_path)
        assert sample.prompt == "From <image> to <image>?"
        assert sample.images == (picture(1), tmp_path / "b.png")

    def test_parts_without_an_image_of_their_own_take_the_row_s(self) -> None:
        """As data sets of Hugging Face's trainers have it; Arrow fills in what a part has not as null."""
        content = [
            {"type": "image", "text": None, "index": 0},
            {"type": "text", "text": "Which?", "index": None},
        ]
        row = {"messages": [said("user", content), said("assistant", "owl")], "images": [picture(5)]}
        sample = one(row)
        assert (sample.prompt, sample.images) == ("<image>Which?", (picture(5),))

    def test_own_images_and_the_row_s_come_in_the_order_of_their_marks(self) -> None:
        content = ["<image> and ", {"type": "image", "bytes": picture(1)}, {"type": "image"}]
        row = {
            "messages": [said("user", content), said("assistant", "x")],
            "images": [picture(2), picture(3)],
        }
        sample = one(row)
        assert sample.prompt == "<image> and <image><image>"
        assert sample.images == (picture(2), picture(1), picture(3))

    def test_several_turns_with_a_system_s(self) -> None:
        turns = [said("developer", "Be brief."), said("user", "Hi"), said("assistant", "Hello")]
        turns += [said("user", "Which?"), said("assistant", "owl")]
        sample = one({"messages": turns})
        assert (sample.prompt, sample.answer, sample.teaches_history) == ("Which?", "owl", False)
        assert sample.history == (
            Turn(role="system", text="Be brief."),
            Turn(role="user", text="Hi"),
            Turn(role="assistant", text="Hello"),
        )
        assert one({"messages": turns}, "train").teaches_history

    def test_a_system_column_comes_first(self) -> None:
        row = {"system": "Be brief.", "messages": [said("user", "Hi"), said("assistant", "Hello")]}
        assert one(row).history == (Turn(role="system", text="Be brief."),)

    def test_a_table_of_text_has_them_as_json(self) -> None:
        assert one({"messages": json.dumps([said("user", "Hi"), said("assistant", "yo")])}).answer == "yo"

    @pytest.mark.parametrize(
        ("turns", "message"),
        [
            ([said("user", "Hi")], "it ends with the user's turn: there is no answer"),
            ([], "it has no turn of a user and an assistant"),
            ("Hi", "'messages' must be a list of turns, got str 'Hi'"),
            (["Hi"], "turn 1 of 'messages' must be a mapping, got str 'Hi'"),
            ([{"role": "user"}], "turn 1 of 'messages' must have 'role' and 'content'"),
            ([said("asistant", "Hi")], "unknown role str 'asistant': did you mean 'assistant'?"),
            ([said("tool", "Hi")], "unknown role str 'tool'"),
            ([said("user", "Hi"), said("user", "Ho")], "turn 2 is the user's, where the assistant's is due"),
            ([said("assistant", "Hi")], "turn 1 is the assistant's, where the user's is due"),
            ([said("system", "S"), said("assistant", "Hi")], "turn 2 is the assistant's"),
            ([said("user", "Hi"), said("assistant", " ")], r"turn 2 \(assistant\) is empty"),
            ([said("user", "Hi"), said("assistant", "<image>")], "has <image>, which only a user's may have"),
            (
                [said("user", 3), said("assistant", "x")],
                "its content must be a text or a list of parts, got int 3",
            ),
            ([said("user", [{"type": "audio"}])], "type must be text, image or image_url, got str 'audio'"),
            ([said("user", [{"type": "image_url"}])], "must have an image_url with a url"),
            (
                [said("user", [{"type": "image"}]), said("assistant", "x")],
                "marks <image> in its texts: 1, .*: 0",
            ),
        ],
    )
    def test_what_is_no_conversation_is_told(self, turns: Any, message: str) -> None:
        with pytest.raises(SampleError, match=f"^{WHERE}: .*{message}"):
            one({"messages": turns})

    def test_more_images_than_marks_are_told(self) -> None:
        row = {
            "messages": [said("user", "<image> <image>"), said("assistant", "x")],
            "images": [picture()] * 3,
        }
        with pytest.raises(SampleError, match="marks <image> in its texts: 2, and its images: 3"):
            one(row)

    def test_unmarked_images_come_first(self) -> None:
        row = {
            "messages": [said("user", "Which?"), said("assistant", "x")],
            "images": [picture(1), picture(2)],
        }
        assert (one(row).prompt, one(row).images) == ("Which?", (picture(1), picture(2)))


class TestConversations:
    def test_llava_s_marks_take_the_row_s_images(self, tmp_path: Path) -> None:
        (tmp_path / "owl.png").write_bytes(picture())
        row = {
            "id": "000123",
            "image": "owl.png",
            "conversations": [lava("human", "<image>\nWhich?"), lava("gpt", "owl")],
        }
        sample = one(row, folder=tmp_path)
        assert (sample.id, sample.prompt, sample.answer) == ("000123", "<image>\nWhich?", "owl")
        assert sample.images == (tmp_path / "owl.png",)

    def test_white_space_around_turns_is_dropped(self) -> None:
        sample = one({"conversations": [lava("human", " Which?\n"), lava("gpt", "\nan owl\n")]})
        assert (sample.prompt, sample.answer) == ("Which?", "an owl")

    def test_turns_may_have_roles_and_contents(self) -> None:
        row = {"conversation": [said("user", "Which?"), said("assistant", "owl")]}
        assert one(row).answer == "owl"

    def test_an_unknown_speaker_is_told(self) -> None:
        with pytest.raises(SampleError, match=r"unknown from str 'humn': did you mean 'human'\?"):
            one({"conversations": [lava("humn", "Which?"), lava("gpt", "owl")]})


class TestPromptCompletion:
    @pytest.mark.parametrize(
        "row",
        [
            {"prompt": "Which?", "completion": "owl"},
            {"prompt": "Which?", "answer": "owl"},
            {"instruction": "Which?", "input": "", "output": "owl"},
            {"instruction": "Which?", "output": "owl"},
            {"input": "Which?", "output": "owl"},
        ],
    )
    def test_names_that_are_known(self, row: dict[str, str]) -> None:
        assert (one(row).prompt, one(row).answer) == ("Which?", "owl")

    def test_alpaca_s_input_follows_its_instruction(self) -> None:
        row = {"instruction": "Translate.", "input": "Eule", "output": "owl"}
        assert one(row).prompt == "Translate.\nEule"

    def test_both_may_be_turns(self) -> None:
        row = {
            "prompt": [said("system", "S"), said("user", "Which?")],
            "completion": [said("assistant", "owl")],
        }
        sample = one(row)
        assert (sample.prompt, sample.answer) == ("Which?", "owl")
        assert sample.history == (Turn(role="system", text="S"),)
        assert one(row | {"completion": "owl"}) == sample

    def test_a_text_that_looks_like_a_list_stays_text(self) -> None:
        sample = one({"prompt": '[{"a": 1}]', "completion": "[1, 2]"})
        assert (sample.prompt, sample.answer) == ('[{"a": 1}]', "[1, 2]")

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ({"prompt": " ", "completion": "owl"}, "'prompt' is empty"),
            ({"prompt": "Which?", "completion": ""}, "'completion' is empty"),
            ({"prompt": 3, "completion": {"a": 1}}, "'completion' must be a text, got dict"),
            ({"prompt": "Which?", "completion": True}, "'completion' must be a text, got bool True"),
            ({"prompt": "Which?", "completion": float("nan")}, "'completion' must be a text, got float nan"),
        ],
    )
    def test_what_is_wrong_is_told(self, row: dict[str, Any], message: str) -> None:
        with pytest.raises(SampleError, match=f"^{WHERE}: {message}"):
            one(row)


class TestQuestionAnswer:
    @pytest.mark.parametrize("deep", ["[" * 101 + "]" * 101, "[" * 100_000, "[" + "-" * 100_000 + "1]"])
    def test_a_table_s_json_is_nested_within_reason(self, deep: str) -> None:
        with pytest.raises(SampleError, match=f"^{WHERE}: "):
            one({"question": "Which?", "answers": deep, "images": deep})

    @pytest.mark.parametrize(
        ("answers", "answer", "references"),
        [
            (["cat", "dog", "dog"], "dog", ("cat", "dog", "dog")),
            (["cat", "dog"], "cat", ("cat", "dog")),  # the first of equals
            (["owl"], "owl", ()),
            ("owl", "owl", ()),
            (7, "7", ()),
            ([7.0, 7.5, 7.5], "7.5", ("7", "7.5", "7.5")),
            ([{"answer": "no", "answer_id": 1}, {"answer": "yes", "answer_id": 2}], "no", ("no", "yes")),
            ({"text": ["an owl", "owl", "owl"], "answer_start": [3, 6, 6]}, "owl", ("an owl", "owl", "owl")),
            ({"answer": ["a", "b"], "answer_confidence": ["yes", "no"]}, "a", ("a", "b")),
            (["", "", "owl"], "owl", ()),  # a blank one would be found in any text
            (["owl", "", None, " ", "cat"], "owl", ("owl", "cat")),
            ([1e-05, 0.1], "0.00001", ("0.00001", "0.1")),
            ('["cat", "dog", "dog"]', "dog", ("cat", "dog", "dog")),  # in a table of text
        ],
    )
    def test_the_most_frequent_reference_is_taught(
        self, answers: Any, answer: str, references: tuple[str, ...]
    ) -> None:
        sample = one({"question": "Which?", "answers": answers})
        assert (sample.prompt, sample.answer, sample.references) == ("Which?", answer, references)

    def test_one_answer_may_look_like_a_list(self) -> None:
        assert one({"question": "Interval?", "answer": "[1, 2]"}).answer == "[1, 2]"

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ({"question": "", "answer": "x"}, "'question' is empty"),
            ({"question": "q", "answers": []}, "'answers' is empty"),
            ({"question": "q", "answers": {"text": [], "answer_start": []}}, "'answers' is empty"),
            ({"question": "q", "answers": [" ", ""]}, "'answers' is empty"),
            (
                {"question": "q", "answers": [["x"]]},
                r"an answer in 'answers' must be a text, got list \['x'\]",
            ),
            (
                {"question": "q", "answers": [{"score": 1}]},
                "'answers' must have 'text' or 'answer', got score",
            ),
        ],
    )
    def test_what_is_wrong_is_told(self, row: dict[str, Any], message: str) -> None:
        with pytest.raises(SampleError, match=f"^{WHERE}: {message}"):
            one(row)


class TestMultipleChoice:
    @pytest.mark.parametrize(
        ("choices", "answer"),
        [
            (["cat", "owl", "dog"], 1),
            (["cat", "owl", "dog"], 1.0),
            (["cat", "owl", "dog"], "1"),
            (["cat", "owl", "dog"], "B"),
            (["cat", "owl", "dog"], "(b)"),
            (["cat", "owl", "dog"], "owl"),
            (["cat", "owl", "dog"], " Owl"),
            ({"A": "cat", "B": "owl", "C": "dog", "D": None}, "B"),
            ({"text": ["cat", "owl", "dog"], "label": ["A", "B", "C"]}, "B"),
            ('["cat", "owl", "dog"]', "B"),
            ("['cat', 'owl', 'dog']", "B"),  # as Python writes it
        ],
    )
    def test_choices_and_the_answer_in_every_form(self, choices: Any, answer: Any) -> None:
        sample = one({"question": "Which?", "choices": choices, "answer": answer})
        assert sample.prompt == f"Which?\nA. cat\nB. owl\nC. dog\n{LETTER}"
        assert (sample.answer, sample.choices) == ("B", ("A", "B", "C"))

    def test_choices_in_columns(self) -> None:
        sample = one({"question": "Which?", "A": "cat", "B": "owl", "C": None, "D": "dog", "answer": "D"})
        # A letter that is left out leaves the others theirs.
        assert sample.prompt == f"Which?\nA. cat\nB. owl\nD. dog\n{LETTER}"
        assert (sample.answer, sample.choices) == ("D", ("A", "B", "D"))

    def test_choices_in_columns_of_any_name(self) -> None:
        row = {"q": "Which?", "one": "cat", "two": "owl", "right": "owl"}
        columns = {"question": "q", "choices": ("one", "two"), "answer": "right"}
        assert one(row, columns=columns).answer == "B"

    def test_answers_as_text(self) -> None:
        sample = one({"question": "Which?", "choices": ["cat", "owl"], "answer": 1}, answer="text")
        assert sample.prompt == "Which?\nA. cat\nB. owl\nAnswer with the text of the right option."
        assert (sample.answer, sample.choices) == ("owl", ("cat", "owl"))

    def test_own_labels_are_the_letters(self) -> None:
        """Some of ARC's questions number their choices from 1."""
        choices = {"text": ["cat", "owl"], "label": ["1", "2"]}
        sample = one({"question": "Which?", "choices": choices, "answerKey": "2"})
        assert (sample.answer, sample.choices) == ("2", ("1", "2"))

    @pytest.mark.parametrize(
        ("field", "letter"), [("answer_index", "B"), ("answer_letter", "C"), ("answer_text", "A")]
    )
    def test_a_column_can_say_how_the_answer_is_meant(self, field: str, letter: str) -> None:
        """`1` is the text of the first, the index of the second, and the letter of the third choice."""
        choices = {"text": ["1", "7", "9"], "label": ["x", "y", "1"]}
        row = {"question": "How many?", "choices": choices, "label": "1"}
        sample = one(row, columns={field: "label"})
        assert sample.answer == {"A": "x", "B": "y", "C": "1"}[letter]
        with pytest.raises(
            SampleError, match="may mean the choice x or y or 1: give its column under columns"
        ):
            one(row)

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ({"choices": ["a", "b"], "answer": 2}, "'answer' is int 2, which is no choice: .* one of A, B"),
            ({"choices": ["a", "b"], "answer": "c d"}, "'answer' is str 'c d', which is no choice"),
            ({"choices": ["cat"], "answer": 0}, "'choices' must be at least two choices"),
            ({"choices": ["cat", " "], "answer": 0}, "choice B of 'choices' is empty"),
            ({"choices": 4, "answer": 0}, "'choices' must be a list of choices or a mapping"),
            ({"choices": ["x"] * 27, "answer": 0}, "has 27 choices; there are letters for 26"),
            ({"choices": {"A": "cat", "B": None}, "answer": "B"}, "at least two choices"),
            ({"choices": {"A": "x", "B": None, "C": "y"}, "answer": "B"}, "no choice: .* one of A, C"),
            ({"choices": {"text": ["a"], "label": ["A", "B"]}, "answer": 0}, "as many labels as texts"),
        ],
    )
    def test_what_is_wrong_is_told(self, row: dict[str, Any], message: str) -> None:
        with pytest.raises(SampleError, match=f"^{WHERE}: .*{message}"):
            one({"question": "Which?"} | row)

    def test_two_choices_that_are_the_same_can_t_be_told_apart_by_text(self) -> None:
        row = {"question": "Which?", "choices": ["owl", "owl"], "answer": 1}
        assert one(row).answer == "B"
        with pytest.raises(SampleError, match="two of the choices are the same"):
            one(row, answer="text")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1e-05, "0.00001"),
        (-2.5e-7, "-0.00000025"),
        (0.1, "0.1"),
        (3.0, "3"),
        (1e16, "10000000000000000"),
        (7, "7"),
    ],
)
def test_numbers_are_written_with_digits_alone(number: float, text: str) -> None:
    assert one({"question": "How much?", "answer": number}).answer == text


def test_only_a_choice_is_written_as_text_or_letter() -> None:
    with pytest.raises(
        ValueError, match=r"^tasks\.birds\.answer: only multiple_choice has it, .* question_answer"
    ):
        one({"question": "q", "answer": "a"}, answer="letter")


class TestTemplate:
    def test_fields_and_columns(self) -> None:
        row = {"q": "Which?", "answer": "owl", "meta": {"hint": "It flies.", "n": 2}, "none": None}
        sample = one(row, columns={"question": "q"}, prompt="{{{meta.n}}} {meta.hint}{none} {question}")
        assert sample.prompt == "{2} It flies. Which?"

    def test_choices_are_lettered(self) -> None:
        row = {"question": "Which?", "choices": ["cat", "owl"], "answer": 1}
        assert one(row, prompt="{choices}\n{question}").prompt == "A. cat\nB. owl\nWhich?"

    def test_marks_place_the_images(self) -> None:
        row = {"question": "Which?", "answer": "owl", "images": [picture(1), picture(2)]}
        sample = one(row, prompt="First <image>, then <image>: {question}")
        assert sample.prompt == "First <image>, then <image>: Which?"

    @pytest.mark.parametrize(
        ("template", "message"),
        [
            ("{qestion}", "prompt: no column 'qestion': did you mean 'question'?"),
            ("{question", "prompt: not a template: expected '}'"),
            ("{question:>9}", "prompt: 'question' has a format of its own"),
            ("{list}", "column 'list' must be a text, got list"),
        ],
    )
    def test_what_is_wrong_is_told(self, template: str, message: str) -> None:
        with pytest.raises(SampleError, match=message):
            one({"question": "q", "answer": "a", "list": [1]}, prompt=template)

    def test_conversations_have_none(self) -> None:
        with pytest.raises(ValueError, match=r"^tasks\.birds\.prompt: messages say themselves") as error:
            one({"messages": []}, prompt="{question}")
        assert not isinstance(error.value, SampleError)


class TestColumns:
    def test_paths_lead_into_nested_values(self) -> None:
        row = {"qa": {"q": "Which?"}, "answers": [{"text": "cat"}, {"text": "owl"}], "meta": [{"id": 9}]}
        columns = {"question": "qa.q", "answers": "answers.text", "id": "meta.0.id"}
        sample = one(row, columns=columns)
        assert (sample.id, sample.prompt, sample.references) == ("9", "Which?", ("cat", "owl"))

    def test_images_may_lie_in_several_columns(self) -> None:
        row = {"question": "q", "answer": "a", "one": picture(1), "two": None, "three": {"bytes": picture(3)}}
        sample = one(row, columns={"images": ("one", "two", "three")})
        assert sample.images == (picture(1), picture(3))

    def test_what_the_user_names_comes_before_what_is_known(self) -> None:
        row = {"question": "q", "answers": ["x"], "label": "y"}
        assert one(row, columns={"answer": "label"}).answer == "y"

    def test_a_column_that_is_not_there_is_told(self) -> None:
        with pytest.raises(
            SampleError, match=r"columns\.question: no column 'zz': expected one of: answer, q"
        ):
            one({"q": "Which?", "answer": "a"}, columns={"question": "zz"})
        with pytest.raises(SampleError, match=r"columns\.question: no column 'qa\.w'"):
            one({"qa": {"q": "Which?"}, "answer": "a"}, columns={"question": "qa.w"})

    def test_a_field_that_the_format_has_not_is_the_task_s_mistake(self) -> None:
        with pytest.raises(
            ValueError, match=r"^tasks\.birds\.columns: .* no field 'promt': did you mean"
        ) as error:
            one({"prompt": "q", "answer": "a"}, columns={"promt": "prompt"})
        assert not isinstance(error.value, SampleError)

    def test_one_text_lies_in_one_column(self) -> None:
        with pytest.raises(SampleError, match=r"columns\.question: takes one column, got 2"):
            one({"a": "x", "b": "y", "answer": "a"}, columns={"question": ("a", "b")})


class TestDetection:
    @pytest.mark.parametrize(
        ("columns", "name"),
        [
            ("messages images", "messages"),
            ("id image conversations", "conversations"),
            ("prompt completion", "prompt_completion"),
            ("prompt answer image", "prompt_completion"),
            ("instruction input output", "prompt_completion"),
            ("question answer", "question_answer"),
            ("question answers image", "question_answer"),
            ("question choices answer", "multiple_choice"),
            ("question options answer hint", "multiple_choice"),
            ("question A B C D answer", "multiple_choice"),
            ("question choices answerKey id", "multiple_choice"),
            ("messages prompt completion", "messages"),
        ],
    )
    def test_the_columns_tell_the_format(self, columns: str, name: str) -> None:
        row = Row(WHERE, dict.fromkeys(columns.split(), "x"), None)
        assert detect_format(row, TaskSpec(name="birds", origins={})) == name

    def test_every_format_is_known(self) -> None:
        assert {"auto", *COLUMNS} == set(get_args(Format))

    def test_a_null_column_is_none(self) -> None:
        row = Row(WHERE, {"question": "q", "choices": None, "answer": "a"}, None)
        assert detect_format(row, TaskSpec(name="birds", origins={})) == "question_answer"

    def test_unknown_columns_are_told_with_those_of_the_formats(self) -> None:
        with pytest.raises(SampleError) as error:
            one({"promt": "p", "answer": "a"})
        message = str(error.value)
        assert message.startswith(f"{WHERE}: its columns, promt, answer, are those of no format: ")
        for each in ("messages has messages", "question_answer has question and answers|answer"):
            assert each in message
        assert "For 'promt': did you mean 'prompt'? Otherwise say under columns" in message

    def test_a_format_can_be_said(self) -> None:
        row = {"question": "q", "choices": ["a", "b"], "answer": "a"}
        sample = one(row, format="question_answer")
        assert (sample.prompt, sample.choices) == ("q", ())
        with pytest.raises(
            SampleError, match="no column 'messages', which the format messages needs; there are: q"
        ):
            one({"q": 1}, format="messages")

    def test_a_row_of_another_format_than_the_file_s_is_told(self) -> None:
        task = TaskSpec(name="birds", origins={})
        first = Row("f:1", {"question": "q", "answers": ["a"]}, None)
        name = detect_format(first, task)
        # A column of another name is no other format.
        (sample,) = to_samples(Row("f:2", {"question": "q", "answer": "a"}, None), task, "search", name)
        assert sample.answer == "a"
        with pytest.raises(
            SampleError, match=r"^f:3: its format is prompt_completion, .* is question_answer"
        ):
            to_samples(Row("f:3", {"prompt": "q", "answer": "a"}, None), task, "search", name)

    def test_ids_are_texts(self) -> None:
        assert one({"id": 7, "prompt": "p", "answer": "a"}).id == "7"
        with pytest.raises(SampleError, match="'id' must be a text or a number"):
            one({"id": [7], "prompt": "p", "answer": "a"})


def test_a_row_that_makes_several_samples_numbers_them() -> None:
    turns = [said("user", "a"), said("assistant", "b"), said("user", "<image>"), said("assistant", "c")]
    samples = read({"id": 4, "messages": turns, "image": picture()}, "train")
    assert [(s.id, s.answer, len(s.images)) for s in samples] == [("4#1", "b", 0), ("4#2", "c", 1)]
    assert [(s.id, s.answer, len(s.images)) for s in read({"messages": turns, "image": picture()})] == [
        ("", "c", 1)
    ]


class TestEmptyColumns:
    """A column that is there and empty is not called missing."""

    @pytest.mark.parametrize(
        ("row", "column"),
        [
            ({"prompt": "Which?", "answer": None}, "answer"),
            ({"prompt": None, "completion": "owl", "id": None}, "prompt"),
            ({"question": "Which?", "answers": None, "answer": None}, "answers"),
            ({"question": None, "choices": ["a", "b"], "answer": 1}, "question"),
            ({"messages": None}, "messages"),
        ],
    )
    def test_of_the_first_row_and_of_others(self, row: dict[str, Any], column: str) -> None:
        with pytest.raises(SampleError, match=f"^{WHERE}: '{column}' is empty$"):
            one(row)
        with pytest.raises(SampleError, match=f"^{WHERE}: '{column}' is empty$"):
            detect_format(Row(WHERE, row, None), TaskSpec(name="birds", origins={}))

    def test_of_a_row_behind_others(self) -> None:
        spec = TaskSpec(name="birds", origins={})
        empty = Row(WHERE, {"prompt": "Which?", "answer": None}, None)
        with pytest.raises(SampleError, match=f"^{WHERE}: 'answer' is empty$"):
            to_samples(empty, spec, "train", "prompt_completion")
        with pytest.raises(SampleError, match="no column 'completion'"):
            to_samples(Row(WHERE, {"prompt": "Which?"}, None), spec, "train", "prompt_completion")


class TestTwoColumnsForOneField:
    @pytest.mark.parametrize(
        ("row", "told"),
        [
            (
                {"prompt": "Which?", "answer": "owl", "response": "jay"},
                "'answer' and 'response' both hold completion and differ: str 'owl' and str 'jay'; say "
                "under columns which one is meant: columns.completion",
            ),
            (
                {"question": "Which?", "prompt": "What?", "choices": ["a", "b"], "answer": 1},
                "'question' and 'prompt' both hold question and differ: str 'Which?' and str 'What?'; say "
                "under columns which one is meant: columns.question",
            ),
            (
                {"prompt": "Which?", "answer": "owl", "image": "a.png", "image_path": "b.png"},
                "'image' and 'image_path' both hold images and differ: str 'a.png' and str 'b.png'; say "
                "under columns which one is meant: columns.images",
            ),
            (
                {"prompt": "Which?", "answer": "owl", "images": ["a.png", "b.png"], "image": "b.png"},
                "'images' and 'image' both hold images and differ: list ['a.png', 'b.png'] and str 'b.png'; "
                "say under columns which one is meant: columns.images",
            ),
            (
                {"question": "Which?", "answers": ["owl", "jay"], "answer": "wren"},
                "'answers' and 'answer' both hold the answer, and str 'wren' is none of the former; say "
                "under columns which one is meant: columns.answers or columns.answer",
            ),
        ],
    )
    def test_that_differ(self, row: dict[str, Any], told: str) -> None:
        with pytest.raises(SampleError) as error:
            one(row)
        assert str(error.value) == f"{WHERE}: {told}"

    @pytest.mark.parametrize(
        ("row", "columns", "answer"),
        [
            ({"prompt": "Which?", "answer": "owl", "response": "jay"}, {"completion": "response"}, "jay"),
            ({"prompt": "Which?", "answer": "owl", "response": " owl"}, {}, "owl"),
            ({"instruction": "Name it.", "input": "a bird", "output": "owl"}, {}, "owl"),
            ({"question": "Which?", "answers": ["owl", "jay"], "answer": "jay"}, {}, "owl"),
            ({"question": "Which?", "answers": ["owl"], "answer": "jay"}, {"answer": "answer"}, "jay"),
            # By its letter and by its text.
            ({"question": "Which?", "choices": ["jay", "owl"], "answer": "owl", "label": "B"}, {}, "B"),
        ],
    )
    def test_that_agree_or_of_which_one_is_named(
        self, row: dict[str, Any], columns: dict[str, str], answer: str
    ) -> None:
        assert one(row, columns=columns).answer == answer
