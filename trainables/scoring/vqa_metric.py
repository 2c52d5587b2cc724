"""VQA accuracy: a text against the answers that several people gave (VQA, arXiv 1505.00468).

Texts are brought to the form in which EvalAI compares them, which scores the test sets of VQA and TextVQA.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Final

_ARTICLES: Final = ("a", "an", "the")
_NUMBERS: Final = {"none": "0"} | {
    word: str(value)
    for value, word in enumerate("zero one two three four five six seven eight nine ten".split())
}
_MARKS: Final = ';/[]"{}()=+\\_-><@`!'
_CONTRACTIONS: Final = (
    "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't "
    "haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't "
    "mightn't've must've mustn't needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've "
    "shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll "
    "someone's something'd something'd've something'll that's there'd there'd've there're there's they'd "
    "they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've "
    "when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't "
    "would've wouldn't wouldn't've y'all y'all'd've y'all'll you'd you'd've you'll you're you've"
).split()
# A contraction that lacks one of its apostrophes -> the contraction; and an oddity of the original table.
_MENDED: Final = {
    form[:place] + form[place + 1 :]: form
    for form in _CONTRACTIONS
    for place, char in enumerate(form)
    if char == "'"
} | {"somebody'd": "somebodyd"}

# People of ten who must have given an answer for it to be right in full.
_ENOUGH: Final = 3


def vqa_accuracy(prediction: str, accepted: Sequence[str], options: Mapping[str, float]) -> float:
    """Score how many of those who were asked gave the same answer: three are enough.

    Leaving out each of them in turn, the share of three that agree, at most 1; then the mean. Where fewer
    than four were asked, all of the others must agree, and a single answer must be the same.
    """
    own, answers = vqa_form(prediction), [vqa_form(answer) for answer in accepted]
    if len(answers) == 1:
        return 100.0 if own == answers[0] else 0.0
    enough = min(_ENOUGH, len(answers) - 1)
    same = answers.count(own)
    return 100.0 * fmean(min(1.0, (same - (answer == own)) / enough) for answer in answers)


def vqa_form(text: str) -> str:
    """Return the form in which answers are compared.

    Lower case; without marks, articles and full stops that no digit follows; numbers up to ten in digits; the
    apostrophes of contractions as they should be.
    """
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    text = text.replace("\n", " ").replace("\t", " ").strip()
    whole = text
    for mark in _MARKS:
        # Between two words a mark parts them.
        beside_space = mark + " " in whole or " " + mark in whole
        text = text.replace(mark, "" if beside_space else " ")
    text = re.sub(r"\.(?!\d)", "", text)
    words = [_NUMBERS.get(word, word) for word in text.split()]
    return " ".join(_MENDED.get(word, word) for word in words if word not in _ARTICLES)
