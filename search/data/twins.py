"""Twins: samples of two splits that are the same, or nearly so."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final, NamedTuple

from search.data import near_images, near_texts
from search.data.signatures import Exchange, Signature

_LEAST_WORDS: Final = 3  # of a question about an image that is looked for within another

Splits = Mapping[str, Sequence[Signature]]
"""`<task>/<split>` -> signatures of its samples."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Twin:
    """A sample that is also, or nearly, a scored one.

    Attributes:
        split: Its split.
        place: Its place in that split.
        scored: The other's split.
        other: The other's place.
        exact: Whether they are the very same.
    """

    split: str
    place: int
    scored: str
    other: int
    exact: bool


class _Asked(NamedTuple):
    """One exchange of a sample, with its sample's place."""

    split: str
    place: int
    signature: Signature
    exchange: Exchange


def find_twins(splits: Splits, scored: Splits) -> list[Twin]:
    """Return the samples that are among the scored ones, too, each once for every scored split.

    Two samples are the same if images, texts and answer are. They are nearly the same if they have an
    accepted answer in common and nearly the same images, and ask

    - with images: in plain text the same, or one question stands within the other;
    - without: in plain text the same, in another template or not, or a long one with few words changed; see
      `near_texts`.
    """
    found: dict[tuple[str, int, str], tuple[int, bool]] = {}

    def note(one: _Asked, split: str, place: int, *, exact: bool) -> None:
        found.setdefault((one.split, one.place, split), (place, exact))

    asked, known = list(_asked(splits)), list(_asked(scored))
    contents = _first_places((each.signature.content, each) for each in known)
    for one in asked:
        for split, place in contents.get(one.signature.content, {}).items():
            note(one, split, place, exact=True)
    texts = _first_places((key, each) for each in known for key in _keys(each))
    for one in asked:
        for key in _keys(one):
            for split, place in texts.get(key, {}).items():
                note(one, split, place, exact=False)
    for one, other in (*_near_images(asked, known), *_near_texts(asked, known)):
        note(one, other.split, other.place, exact=False)
    order = {split: number for number, split in enumerate(splits)}
    return [
        Twin(split=split, place=place, scored=other_split, other=other, exact=exact)
        for (split, place, other_split), (other, exact) in sorted(
            found.items(), key=lambda item: (order[item[0][0]], item[0][1])
        )
    ]


def _asked(splits: Splits) -> Iterator[_Asked]:
    for split, samples in splits.items():
        for place, signature in enumerate(samples):
            for exchange in signature.exchanges:
                yield _Asked(split, place, signature, exchange)


def _keys(asked: _Asked) -> Iterator[tuple[tuple[bytes, ...], str, str]]:
    for answer in asked.exchange.answers:
        yield asked.signature.digests, asked.exchange.question, answer


def _first_places(items: Iterator[tuple[object, _Asked]]) -> dict[object, dict[str, int]]:
    """Return key -> split -> the first place in it."""
    places: dict[object, dict[str, int]] = defaultdict(dict)
    for key, asked in items:
        places[key].setdefault(asked.split, asked.place)
    return places


def _near_images(asked: Sequence[_Asked], known: Sequence[_Asked]) -> Iterator[tuple[_Asked, _Asked]]:
    numbers: dict[str, int] = {}
    ones, others = _by_image_and_answer(asked, numbers), _by_image_and_answer(known, numbers)
    pairs = near_images.near_pairs(
        *(
            [(first.signature.thumbnails[0], number) for number, (first, *_) in each]
            for each in (ones, others)
        )
    )
    for a, b in pairs:
        for one, other in product(ones[a][1], others[b][1]):
            if _same_images(one, other) and _same_question(one, other):
                yield one, other


def _by_image_and_answer(asked: Sequence[_Asked], numbers: dict[str, int]) -> list[tuple[int, list[_Asked]]]:
    """Return the exchanges about images by their first image and each answer, with the answer's number."""
    groups: dict[tuple[bytes, int], list[_Asked]] = defaultdict(list)
    for each in asked:
        if each.signature.thumbnails:
            for answer in each.exchange.answers:
                number = numbers.setdefault(answer, len(numbers))
                groups[each.signature.digests[0], number].append(each)
    return [(number, exchanges) for (_, number), exchanges in groups.items()]


def _near_texts(asked: Sequence[_Asked], known: Sequence[_Asked]) -> Iterator[tuple[_Asked, _Asked]]:
    ones, others = _cores(asked), _cores(known)
    places: dict[tuple[str, str], list[_Asked]] = defaultdict(list)
    for other, core in others:
        for answer in other.exchange.answers:
            places[" ".join(core), answer].append(other)
    for one, core in ones:
        for answer in one.exchange.answers:
            yield from ((one, other) for other in places.get((" ".join(core), answer), ()))
    ones, others = ([each for each in part if len(each[1]) >= near_texts.LONG] for part in (ones, others))
    for a, b in near_texts.candidates([core for _, core in ones], [core for _, core in others]):
        (one, core), (other, its) = ones[a], others[b]
        share_answer = not set(one.exchange.answers).isdisjoint(other.exchange.answers)
        if share_answer and near_texts.alike(core, its):
            yield one, other


def _cores(asked: Sequence[_Asked]) -> list[tuple[_Asked, list[str]]]:
    """Return the exchanges without images, with their words but for their split's template."""
    splits: dict[str, list[_Asked]] = defaultdict(list)
    for each in asked:
        if not each.signature.digests:
            splits[each.split].append(each)
    return [
        (each, core)
        for split in splits.values()
        for each, core in zip(
            split,
            near_texts.cores([near_texts.words_of(each.exchange.question) for each in split]),
            strict=True,
        )
        if core is not None
    ]


def _same_images(one: _Asked, other: _Asked) -> bool:
    left, right = one.signature, other.signature
    if len(left.thumbnails) != len(right.thumbnails):
        return False
    return left.digests == right.digests or all(
        map(near_images.alike, left.thumbnails[1:], right.thumbnails[1:])
    )


def _same_question(one: _Asked, other: _Asked) -> bool:
    left, right = one.exchange.question, other.exchange.question
    return left == right or near_texts.within(left.split(), right.split(), _LEAST_WORDS)
