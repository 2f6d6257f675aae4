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
            "Anne Bob Carol Dave Emma Frank Gary Helen Ivan Julia Kevin Laura Adam Alice Amy Andrew "
            "Bella Boris Brian Chloe Clara Daniel David Diana Edgar Elena Eric Felix Flora George Grace "
            "Hannah Hugo Ida Iris Jack James Jane Karl Kate Leo Linda Lucy Lukas Martha Max Naomi "
            "Nathan Noah Olga Oliver Peter Philip Rachel Robert Rosa Samuel Sandra Simon Sophie Thomas "
            "Ursula Victor Vera Walter Wendy Yvonne Zoe Aaron Abigail Agnes Albert Alfred Amanda Angela "
            "Anton Arthur Audrey Barbara Beatrice Benjamin Bernard Bruno Calvin Caroline Cecil Cindy "
            "Claude Colin Cora Cyril Daisy Dennis Derek Dora Doris Dorothy Edith Edwin Eleanor Elliot "
            "Elsa Ernest Esther Ethan Eugene Eva Gerald Gilbert Gloria Gordon Greta Gustav Harold Hazel "
            "Hector Henry Herman Hilda Holly Howard Irene Isaac Isabel Ivy Jacob Jasmine Jason Jenny "
            "Joan Joseph Joyce Judith Julian Justin Karen Keith Kenneth Kirsten Larry Leah Leonard "
            "Lewis Lily Lisa Lorenzo Louis Luther Mabel Malcolm Marcus Margaret Maria Marvin Matilda "
            "Maurice Melissa Mia Michael Miles Miriam Molly Monica Morris Nancy Neil Nelson Nicole "
            "Nigel Nora Norman Otto Pamela Patrick Penny Percy Phoebe Priscilla Ralph Ramona "
            "Raymond Rebecca Richard Rita Roger Roland Ronald Rosemary Roy Rupert Sally Sarah Sebastian "
            "Selma Sheila Sidney Silvia Stella Stuart Susan Sylvester Teresa Theodore Tim Toby Tom "
            "Trevor Trudy Valerie Vincent Violet Virginia Wallace Warren Wilfred William Winston Xavier "
            "Yolanda Zachary"
        ),
        animals=_words(
            "cow dog lion mouse bear rabbit horse goat wolf snake duck frog ant bat bee beaver bull "
            "chicken crab deer dolphin dove elephant falcon fox giraffe goose hamster hawk hen hippo "
            "kitten leopard monkey moose otter owl panda parrot penguin pig pigeon puppy rat raven "
            "robin salmon seal shark skunk sloth swan toad turkey wasp worm zebra alligator badger "
            "bison boar buffalo butterfly calf canary caterpillar cheetah cobra cockroach cricket "
            "crocodile cuckoo dingo dragonfly eel emu ferret finch flamingo flea gazelle gecko goldfish "
            "gorilla grasshopper gull hare hedgehog heron hornet hyena iguana jackal jaguar jellyfish "
            "kangaroo koala ladybug lamb lark llama lobster lynx magpie mammoth mole mongoose moth mule "
            "newt octopus ostrich ox oyster panther peacock pelican pheasant pony porcupine quail "
            "raccoon ram reindeer rhino rooster scorpion seahorse shrimp snail sparrow squid starling "
            "stork swallow termite trout tuna vulture walrus weasel woodpecker yak"
        ),
        attributes=_words(
            "blue round kind young rough big cold nice furry smart brave rich loud thin warm proud "
            "angry bitter bright cheap clean curious deep dirty dry eager empty fair famous fast fierce "
            "firm flat fresh funny gentle golden grand great hard heavy hungry jolly light lively long "
            "mild modern new noble odd orange pale pink plain polite purple quick rare sad "
            "safe sharp shy silent silly simple sleepy smooth sour steady strange sweet tender tidy "
            "tiny tired tough ugly weak wet wide wild wise yellow active agile alert "
            "amused ancient annoyed anxious ashamed awful awkward bald bare blind blond bold "
            "bored bossy brown bumpy careful careless charming cheerful chubby clumsy common "
            "cool cosy crazy creative crooked cruel damp dangerous dear delicate dizzy dull dusty early "
            "elegant enormous evil excited expensive faint faithful fancy fat foolish fragile "
            "free frozen fuzzy generous gifted gloomy good graceful grateful gray greedy grumpy "
            "guilty hairy handsome harmless healthy helpful hot huge humble icy idle "
            "innocent jealous joyful keen lame large lonely loose lucky mad merry "
            "messy mighty moody muddy mute mysterious nasty naughty neat nervous nimble nosy numb "
            "obedient oily open pretty patient perfect playful pleasant popular precious private pure "
            "puzzled rapid rational reliable restless royal rude rusty salty "
            "scared secret selfish serious shaggy shallow shiny sick skilled skinny slim slippery sly "
            "small sneaky sober sociable solid spicy spotted stable stale sticky stiff stout "
            "straight strict striped stubborn stupid sturdy sunny swift talented tame tasty "
            "thick thirsty thoughtful timid tight touchy transparent trendy troubled upset useful "
            "useless vague vain violent visible vivid wealthy weary weird whole wicked witty "
            "wobbly wonderful wooden worried zealous"
        ),
        verbs=_words(
            "see like eat need visit help know fear admire avoid beat bite blame cover feed forget "
            "guard hate hide hug join kick lead lift meet move pay praise pull save serve support tease "
            "thank want warn accept accuse adore allow annoy answer attack believe bother build "
            "comfort command consult count cure defend "
            "describe desire doubt draw drop dust educate entertain escort excuse expect "
            "fight fool forgive frighten hire hold honor hunt ignore imitate inspire "
            "insult invite judge keep kill lick mock mourn nudge obey offend oppose "
            "own paint pardon pat phone pick protect question recruit reject "
            "remember rescue respect ride scare scold seek shelter smell "
            "sue surprise tickle track train treat understand wake weigh "
            "welcome wound"
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
