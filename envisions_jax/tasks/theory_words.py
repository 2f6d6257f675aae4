"""Words of the generated theories, those of the training split and those of the test split apart.

Nothing that a training theory names (person, animal, attribute or verb) occurs in a test theory, so that what
is right there was read and not remembered. Every verb takes an s in the third person.
"""

from dataclasses import dataclass

from envisions_jax.tasks.words import Split


@dataclass(frozen=True)
class Vocabulary:
    """What theories of one split speak of. Verbs are in the plain form: "see"."""

    people: tuple[str, ...]
    animals: tuple[str, ...]
    attributes: tuple[str, ...]
    verbs: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


VOCABULARIES: dict[Split, Vocabulary] = {
    "train": Vocabulary(
        people=_words("Anne Bob Carol Dave Emma Frank Gary Helen Ivan Julia Kevin Laura"),
        animals=_words("cow dog lion mouse bear rabbit horse goat wolf snake duck frog"),
        attributes=_words(
            "blue round kind young rough big cold nice furry smart brave rich loud thin warm proud"
        ),
        verbs=_words("see like eat need visit help know fear"),
    ),
    "test": Vocabulary(
        people=_words("Charlie Erin Fiona Harry Mark Nina Oscar Paula Quinn Ruth Steve Tanya"),
        animals=_words("cat tiger squirrel eagle sheep camel whale crow turtle lizard donkey spider"),
        attributes=_words(
            "green quiet red white old tall strong clever happy poor dark soft calm slow short honest"
        ),
        verbs=_words("chase follow find love call trust greet hear"),
    ),
}
