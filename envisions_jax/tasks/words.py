"""Word and number pools of the generated word problems, one disjoint half for each split.

A pool entry is (singular, plural). Nothing in a train pool occurs in the test pool of the same name, and
no operand printed in a train question is ever printed in a test question (`fits_split`): a model that has
learned answers, names or numbers by heart gains nothing on the test set.
"""

from typing import Literal

Split = Literal["train", "test"]
Word = tuple[str, str]

SPLITS: tuple[Split, ...] = ("train", "test")

# Operands are told apart by their residue modulo 7. Both halves then hold small and large, even and odd,
# round and crooked numbers: train has 3, 5, 7, 8, 10, 12 …, test has 2, 4, 6, 9, 11, 13 …
_MODULUS = 7
_RESIDUES: dict[Split, frozenset[int]] = {"train": frozenset({0, 1, 3, 5}), "test": frozenset({2, 4, 6})}


def fits_split(number: int, split: Split) -> bool:
    """Whether `number` may be printed as an operand in questions of `split`."""
    return number >= 2 and number % _MODULUS in _RESIDUES[split]


def _names(text: str) -> tuple[Word, ...]:
    return tuple((name, name) for name in text.split())


def _plurals(text: str) -> tuple[Word, ...]:
    """Words separated by commas; "box/boxes" where the plural is not the singular with an s."""
    pairs = (entry.strip().partition("/") for entry in text.split(","))
    return tuple((one, many or one + "s") for one, _, many in pairs)


POOLS: dict[Split, dict[str, tuple[Word, ...]]] = {
    "train": {
        "name": _names(
            "Anna Ben Carla David Elena Felix Grace Hugo Irene Jack Karen Leo Maria Nathan Olga Peter Rosa "
            "Sam Tina Victor Wendy Yusuf Amina Boris Clara Diego Emma Farid Gita Henry Ingrid Jonas"
        ),
        "fruit": _plurals("apple, pear, peach/peaches, lemon, banana, cherry/cherries, tomato/tomatoes"),
        "toy": _plurals("marble, sticker, balloon, toy car, trading card, seashell"),
        "treat": _plurals("cookie, muffin, cupcake, pancake, sandwich/sandwiches, waffle"),
        "tool": _plurals("pencil, notebook, marker, eraser, envelope, glue stick"),
        "animal": _plurals("chicken, goat, rabbit, cow, turkey, llama"),
        "box": _plurals("box/boxes, bag, basket, bucket, packet"),
        "place": _plurals("zoo, theater, swimming pool, circus, aquarium"),
    },
    "test": {
        "name": _names(
            "Adam Bella Cyrus Daisy Ethan Fiona George Hannah Ivan Julia Kevin Laura Mohamed Nina Oscar "
            "Paula Quentin Rachel Simon Tara Umar Vera Walter Zoe"
        ),
        "fruit": _plurals("plum, mango/mangoes, melon, orange, fig, potato/potatoes, carrot"),
        "toy": _plurals("stamp, bead, kite, coin, badge, postcard"),
        "treat": _plurals("brownie, doughnut, tart, pretzel, scone, pie"),
        "tool": _plurals("crayon, folder, paintbrush/paintbrushes, ruler, candle, ribbon"),
        "animal": _plurals("duck, pig, horse, sheep/sheep, goose/geese, pony/ponies"),
        "box": _plurals("tray, crate, jar, carton, drawer"),
        "place": _plurals("museum, stadium, castle, planetarium, fair"),
    },
}
