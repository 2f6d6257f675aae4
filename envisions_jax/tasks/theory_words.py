"""Words of the generated theories, those of the training split and those of the test split apart.

Nothing that a training theory names (person, animal, attribute or verb) occurs in a test theory, so that what
is right there was read and not remembered. The training split has many words of each kind, lest a model learn
them by heart in place of copying what it reads. Every verb takes an s in the third person.
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
        people=_words(
            "Anne Bob Carol Dave Emma Frank Gary Helen Ivan Julia Kevin Laura Adam Alice Amy Andrew Bella "
            "Boris Brian Chloe Clara Daniel David Diana Edgar Elena Eric Felix Flora George Grace Hannah "
            "Hugo Ida Iris Jack James Jane Karl Kate Leo Linda Lucy Lukas Martha Max Naomi Nathan Noah "
            "Olga Oliver Peter Philip Rachel Robert Rosa Samuel Sandra Simon Sophie Thomas Ursula Victor "
            "Vera Walter Wendy Yvonne Zoe"
        ),
        animals=_words(
            "cow dog lion mouse bear rabbit horse goat wolf snake duck frog ant bat bee beaver bull "
            "chicken crab deer dolphin dove elephant falcon fox giraffe goose hamster hawk hen hippo "
            "kitten leopard monkey moose otter owl panda parrot penguin pig pigeon puppy rat raven robin "
            "salmon seal shark skunk sloth swan toad turkey wasp worm zebra"
        ),
        attributes=_words(
            "blue round kind young rough big cold nice furry smart brave rich loud thin warm proud angry "
            "bitter bright cheap clean curious deep dirty dry eager empty fair famous fast fierce "
            "firm flat fresh funny gentle golden grand great hard heavy hungry jolly light "
            "lively long lovely mild modern new noble odd orange pale pink plain polite purple quick rare "
            "ripe sad safe sharp shy silent silly simple sleepy smooth sour steady strange sweet tender "
            "tidy tiny tired tough ugly weak wet wide wild wise yellow"
        ),
        verbs=_words(
            "see like eat need visit help know fear admire avoid beat bite blame cover feed forget guard "
            "hate hide hug join kick lead lift meet move pay praise pull save serve support tease thank "
            "want warn"
        ),
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
