from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import pytest
from anls import anls_score
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.api.metrics import bleu as lm_eval_bleu
from lm_eval.tasks.qasper.metrics import f1_abstractive
from lm_eval.tasks.qasper.metrics import normalize_answer as squad_form

from trainables.scoring.text_metrics import (
    anls,
    bleu,
    contains,
    normalize_answer,
    normalized_exact_match,
    token_f1,
)

TEXT = st.text(alphabet="the an A.,'-é\n", max_size=12)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("The  Cat!", "cat"),
        ("a dog, an apple", "dog apple"),
        # Punctuation goes without leaving space, and before articles are looked for.
        ("1:45", "145"),
        ("a.m.", "am"),
        ("(the) end", "end"),
        ("theatre", "theatre"),
        ("", ""),
    ],
)
def test_normal_form_of_answers(text: str, form: str) -> None:
    assert normalize_answer(text) == form


@given(TEXT)
def test_the_normal_form_is_squad_s(text: str) -> None:
    assert normalize_answer(text) == squad_form(text)


@pytest.mark.parametrize(
    ("text", "points"), [("The Red Cat.", 100.0), ("a dog", 100.0), ("cat red", 0.0), ("", 0.0)]
)
def test_normalized_exact_match(text: str, points: float) -> None:
    assert normalized_exact_match(text, ["red cat", "dog"], {}) == points


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("It says STOP\nhere.", 100.0),
        ("exit", 100.0),
        ("sto p", 0.0),
        ("", 0.0),
        # Full-width letters, and the space of their width.
        ("\uff33\uff54\uff4f\uff50\u3000here\uff01", 100.0),
    ],
)
def test_contains(text: str, points: float) -> None:
    assert contains(text, [" Stop here ", "exit"], {}) == points


@pytest.mark.parametrize(
    ("text", "accepted", "points"),
    [
        # Of two words one is among the three: precision 1/2, recall 1/3, their harmonic mean 2/5.
        ("red bird", ["big red dog"], 40.0),
        # `the` is no word; a word counts as often as both have it: 2 of 3 and 2 of 2, so 4/5.
        ("the dog dog dog", ["dog dog"], 80.0),
        ("red bird", ["no", "a red bird!"], 100.0),
        ("cat", ["dog"], 0.0),
        ("", ["dog"], 0.0),
        # Answers without words, as in SQuAD 2.
        ("the", ["..."], 100.0),
    ],
)
def test_token_f1(text: str, accepted: Sequence[str], points: float) -> None:
    assert token_f1(text, accepted, {}) == pytest.approx(points)


@given(TEXT, TEXT)
def test_token_f1_is_squad_s(text: str, answer: str) -> None:
    """SQuAD 1.1's script, which gives nothing where neither has a word."""
    if normalize_answer(text) or normalize_answer(answer):
        assert token_f1(text, [answer], {}) == pytest.approx(100.0 * f1_abstractive([text], [answer]))


@pytest.mark.parametrize(
    ("text", "accepted", "points"),
    [
        ("hello", ["Hello"], 100.0),
        # One letter of five is missing, and one of six is too many: 1 - 1/5, 1 - 1/6.
        ("helo", ["hello"], 80.0),
        ("hello!", ["hello"], 100.0 * 5 / 6),
        # The best of several counts.
        ("helo", ["bye", "hello", "help"], 80.0),
        # From half on it is another answer: of `ab` one letter is wrong, 1/2; of `abc` one, 1/3.
        ("ax", ["ab"], 0.0),
        ("abx", ["abc"], 100.0 * 2 / 3),
        ("a  \n b ", ["A b"], 100.0),
        ("", ["ab"], 0.0),
    ],
)
def test_anls(text: str, accepted: Sequence[str], points: float) -> None:
    assert anls(text, accepted, {}) == pytest.approx(points)


@given(TEXT, st.lists(TEXT, min_size=1, max_size=3))
def test_anls_is_the_package_s(text: str, accepted: list[str]) -> None:
    assert anls(text, accepted, {}) == pytest.approx(100.0 * anls_score(text, accepted))


@pytest.mark.parametrize(
    ("text", "accepted", "points"),
    [
        ("the cat sat on the mat", ["the cat sat on the mat"], 100.0),
        # n-grams no longer than the text: 2 of 2 words and 1 of 1 pair are right. It lacks two of four words,
        # for which exp(1 - 4/2) is taken off.
        ("the cat", ["the cat sat down"], 100.0 * math.exp(-1)),
        # 3 of 4 words and 1 of 3 pairs; of 2 triples and 1 quadruple none, for which smoothing takes 1/2 of
        # one and then 1/4 of one.
        ("a b x d", ["a b c d"], 100.0 * (3 / 4 * 1 / 3 * (1 / 2) / 2 * (1 / 4) / 1) ** (1 / 4)),
        ("the cat", ["dogs bark", "the cat"], 100.0),
        ("cat", ["dog"], 0.0),
        ("", ["dog"], 0.0),
    ],
)
def test_bleu(text: str, accepted: Sequence[str], points: float) -> None:
    assert bleu(text, accepted, {}) == pytest.approx(points)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("the cat sat on the mat", "the cat sat on a mat"),
        ("there are 1,000 red-blue birds, I think.", "There are 1,000 red birds in it, I think!"),
    ],
)
def test_bleu_of_one_long_enough_sentence_is_lm_eval_s_of_a_corpus(text: str, answer: str) -> None:
    assert bleu(text, [answer], {}) == pytest.approx(lm_eval_bleu([([answer], text)]))


@pytest.mark.parametrize("metric", [normalized_exact_match, contains, token_f1, anls, bleu])
@given(text=st.from_regex(r"[b-z][b-z .,é]{0,11}", fullmatch=True), other=TEXT)
def test_a_text_is_right_where_it_is_the_reference(
    metric: Callable[[str, Sequence[str], Mapping[str, float]], float], text: str, other: str
) -> None:
    assert metric(text, [other, text], {}) == pytest.approx(100.0)
    assert 0.0 <= metric(other, [text], {}) <= 100.0
