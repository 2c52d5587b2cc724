"""The closed word list of the tiny model's tokenizer."""

from __future__ import annotations

BOS, EOS, PAD, UNK = "<s>", "</s>", "<pad>", "<unk>"
IMAGE, USER, ASSISTANT, SYSTEM = "<image>", "<user>", "<assistant>", "<system>"
SPECIAL = (PAD, BOS, EOS, UNK, IMAGE, USER, ASSISTANT, SYSTEM)

_NUMERALS = (*map(str, range(100)), "00", "05")
_LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_MARKS = tuple("?.,:;!-+=/()'\"")
_WORD_LIST = """
zero one two three four five six seven eight nine ten eleven twelve
red green blue yellow black gray brown teal white orange purple pink
circle rectangle triangle square diamond hexagon star shape shapes color colour image picture photo
yes no up down left right top bottom side
brick grass gravel fur stars coins page moon texture material
heart bell camera car key lock cloud tree fish house umbrella flag gift book phone icon object
a an the this that is are was does do not there here what which where who how many much
in of on to from or and with at by for it you can see show shows contain contains present
digit digits letter letters number numbers written printed face person
bar bars tallest shortest arrow point pointing way direction larger smaller largest smallest
time clock hour minute name species bird kind word sign say says read text answer
tissue stain stained brown mostly strongest cell cells dots dot blocks block count
describe please user assistant
cat dog cup sun true false same different
"""

VOCABULARY: tuple[str, ...] = tuple(
    dict.fromkeys((*SPECIAL, *_NUMERALS, *_LETTERS, *_MARKS, *_WORD_LIST.split()))
)
"""Token strings; the position is the token id."""
