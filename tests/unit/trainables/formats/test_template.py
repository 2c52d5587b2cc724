from __future__ import annotations

from typing import Any

import pytest

from trainables.formats.template import fill

CONTEXT = "Context: {hint}\n{question}\nAnswer briefly."


@pytest.mark.parametrize(
    ("template", "values", "text"),
    [
        (CONTEXT, {"hint": "It is a map."}, "Context: It is a map.\nWhere?\nAnswer briefly."),
        (CONTEXT, {"hint": ""}, "Where?\nAnswer briefly."),
        (CONTEXT, {"hint": " \n"}, "Where?\nAnswer briefly."),
        (CONTEXT, {"hint": None}, "Where?\nAnswer briefly."),
        ("{unit} {hint}: {question}", {"unit": None, "hint": None}, " : Where?"),
        ("{unit}{hint}\n{question}", {"unit": "m", "hint": None}, "m\nWhere?"),
        ("One.\n\n{question}", {}, "One.\n\nWhere?"),
        ("{{{hint}}}", {"hint": 3}, "{3}"),
        ("{meta.topic}: {question}", {"meta": {"topic": "maps"}}, "maps: Where?"),
    ],
)
def test_a_line_is_left_out_where_all_its_columns_are_empty(template: str, values: Any, text: str) -> None:
    assert fill(template, {"question": "Where?"}, values) == text


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{hnit}", "prompt: no column 'hnit': did you mean 'hint'?"),
        ("{hint", "prompt: not a template: expected '}' before end of string"),
        ("{hint:>5}", "prompt: 'hint' has a format of its own, which templates do not know"),
    ],
)
def test_what_is_no_template(template: str, message: str) -> None:
    with pytest.raises(ValueError, match="prompt") as caught:
        fill(template, {"question": "Where?"}, {"hint": "a"})
    assert str(caught.value) == message
