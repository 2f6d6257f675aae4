"""Generated theories: labels by the engine, balance, splits that share nothing, and speaking refusals."""

import itertools
import random
import re
from collections import Counter
from dataclasses import fields, replace
from typing import Any

import pytest

import envs
from envisions_jax.tasks import TaskError, load
from envisions_jax.tasks.theories import KINDS, LABELS, TheorySettings, generate_theories
from envisions_jax.tasks.theory_building import Sentences, Shape, build
from envisions_jax.tasks.theory_text import GLOSS, Names, short_form, tell
from envisions_jax.tasks.theory_words import VOCABULARIES, Vocabulary
from envs.logic.forward import Budget, derive
from envs.logic.language import Program, parse
from envs.logic.theory import Implication, World, number
from tests.envs.logic.grounded import grounded_answer

SMALL = TheorySettings(sentences=(3, 6), depths=(0, 1, 2))
CLOSED = TheorySettings(world="closed")
every_settings = pytest.mark.parametrize("settings", [TheorySettings(), SMALL, CLOSED])
every_split = pytest.mark.parametrize("split", ["train", "test"])


def programs(tasks: list[envs.Task]) -> list[tuple[envs.Task, str]]:
    return [(task, task.meta["program"]) for task in tasks]


@every_settings
@every_split
def test_gold_programs_give_gold_labels_and_none_is_vacuous(settings: TheorySettings, split: str) -> None:
    tasks = generate_theories(split, 120, 3, settings)
    short = [(task, short_form(program)) for task, program in programs(tasks)]
    with envs.make("logic", engine="forward") as engine:
        outcomes = list(engine.execute([*programs(tasks), *short]))
    assert Counter(outcome.kind for outcome in outcomes) == {"correct": 240}
    for task, text in programs(tasks):  # and neither the engine's code nor the generator's judges so
        program = parse(text)
        assert grounded_answer(program, settings.world) == task.answer, text
        for rule in program.rules:
            opposites = {replace(premise, value=not premise.value) for premise in rule.premises}
            assert not opposites & set(rule.premises), text


def test_pyke_says_the_same() -> None:
    tasks = [*generate_theories("train", 24, 5), *generate_theories("test", 24, 5, CLOSED)]
    with envs.make("logic", engine="pyke", workers=1) as engine:
        assert {outcome.kind for outcome in engine.execute(programs(tasks))} == {"correct"}


def test_both_engines_agree_on_theories_with_another_fact_that_may_contradict_them() -> None:
    """Some fact, or what follows already, is also stated the other way round."""
    tasks = generate_theories("train", 36, 6, TheorySettings(kinds=("AttNeg", "RelNeg")))
    turned = []
    for task, text in programs(tasks):
        program = parse(text)
        rng = random.Random(task.id)
        fact = rng.choice(program.facts) if rng.random() < 0.5 else program.query
        other = replace(fact, value=fact.value == (task.answer == "False" and fact == program.query))
        changed = Program(program.predicates, (*program.facts, other), program.rules, program.query)
        turned.append((task, str(changed)))
    with envs.make("logic", engine="pyke", workers=1) as pyke, envs.make("logic", engine="forward") as own:
        theirs, ours = list(pyke.execute(turned)), list(own.execute(turned))
    assert [outcome.value for outcome in theirs] == [outcome.value for outcome in ours]
    assert {outcome.value for outcome in ours} == {"True", "False", "Unknown"}
    assert any("negation wins" in outcome.error for outcome in ours)


@every_settings
@every_split
def test_labels_depths_and_kinds_are_balanced(settings: TheorySettings, split: str) -> None:
    labels = LABELS[settings.world]
    cells = len(settings.kinds) * len(settings.depths) * len(labels)
    tasks = generate_theories(split, 2 * cells, 1, settings)
    for key in ("kind", "depth", "label"):
        counts = Counter(task.meta[key] for task in tasks)
        assert len(set(counts.values())) == 1, key
    assert Counter(task.answer for task in tasks[: 4 * len(labels)]) == dict.fromkeys(labels, 4)


@every_split
def test_with_negation_the_form_of_a_statement_does_not_tell_its_label(split: str) -> None:
    for settings in (replace(SMALL, kinds=("AttNeg", "RelNeg")), CLOSED):
        tasks = generate_theories(split, 600, 1, settings)
        negated = Counter(task.answer for task in tasks if " not " in task.question.rpartition("?")[2])
        for label in ("True", "False"):
            assert 0.35 < negated[label] / sum(task.answer == label for task in tasks) < 0.65, label


@pytest.mark.parametrize(
    "settings",
    [
        TheorySettings(sentences=(38, 40)),
        TheorySettings(sentences=(38, 40), world="closed"),
        TheorySettings(sentences=(6, 8), depths=(3, 4, 5)),
        TheorySettings(sentences=(6, 7), depths=(5,), world="closed"),
    ],
)
def test_the_longest_and_the_deepest_theories_can_be_had(settings: TheorySettings) -> None:
    for split in ("train", "test"):
        assert len(generate_theories(split, 60, 2, settings)) == 60


@pytest.mark.parametrize("settings", [TheorySettings(), SMALL])
def test_true_and_false_statements_have_a_shortest_proof_of_the_wanted_depth(
    settings: TheorySettings,
) -> None:
    for task in generate_theories("train", 72, 2, settings):
        theory = number(parse(task.meta["program"]), "open")
        depths = derive(theory, Budget())
        if task.answer == "Unknown":
            assert theory.query not in depths and theory.opposite not in depths
            assert task.meta["depth"] in depths.values()
        else:
            assert depths[theory.query if task.answer == "True" else theory.opposite] == task.meta["depth"]


@every_settings
def test_sentences_and_kinds_are_those_of_the_settings(settings: TheorySettings) -> None:
    low, high = settings.sentences
    lengths = set()
    for task in generate_theories("test", 108, 0, settings):
        program = parse(task.meta["program"])
        sentences = task.context.count(".")
        lengths.add(sentences)
        assert sentences == len(program.facts) + len(program.rules) and program.facts and program.rules
        is_negated = " not " in task.context
        has_relation = any(len(atom.arguments) == 2 for atom in program.facts) or " $y" in str(program)
        assert not is_negated or task.meta["kind"].endswith("Neg")
        assert not has_relation or task.meta["kind"].startswith("Rel")
    assert min(lengths) >= low and max(lengths) <= high and len(lengths) >= (high - low) // 2


def test_a_larger_set_starts_with_the_smaller_one_and_seeds_differ() -> None:
    assert generate_theories("train", 30, 4)[:20] == generate_theories("train", 20, 4)
    assert generate_theories("train", 20, 4) != generate_theories("train", 20, 5)
    assert len({(task.context, task.question) for task in generate_theories("train", 100, 0, SMALL)}) == 100
    assert load("theories", "train[:5]", settings=SMALL) == generate_theories("train", 5, 0, SMALL)


def structure(text: str) -> tuple[str, ...]:
    """What is left of a theory without its names and its order, read anew from the gold program."""
    program = parse(text)
    atoms = [str(fact) for fact in program.facts] + [str(rule) for rule in program.rules]
    forms = [re.sub(r"\b(?!True|False)[A-Z][a-z]+\b", "_", re.sub(r"\$x", "x", atom)) for atom in atoms]
    return tuple(
        sorted(" >>> ".join("&&".join(sorted(s.split(" && "))) for s in f.split(" >>> ")) for f in forms)
    )


@every_settings
def test_splits_share_no_name_and_no_structure(settings: TheorySettings) -> None:
    train, test = (generate_theories(split, 120, 0, settings) for split in ("train", "test"))
    found = [{structure(task.meta["program"]) for task in tasks} for tasks in (train, test)]
    assert not found[0] & found[1] and min(map(len, found)) > 15
    names = [
        set(re.findall(r"\w+(?=\(|,)|\w+(?=, )", " ".join(t.meta["program"] for t in g)))
        for g in (train, test)
    ]
    assert names[0] & names[1] <= {"x", "y", "True", "False", "bool"}


def test_words_of_the_splits_are_different_and_make_names() -> None:
    for field in fields(Vocabulary):
        train, test = (getattr(VOCABULARIES[split], field.name) for split in ("train", "test"))
        assert not set(train) & set(test) and len(train) > 3 * len(test) >= 24
    assert not any(
        re.search("(s|x|z|ch|sh|o|[^aeiou]y)$", verb) for one in VOCABULARIES.values() for verb in one.verbs
    )
    for words in VOCABULARIES.values():
        everything = [*words.people, *words.animals, *words.attributes, *(verb + "s" for verb in words.verbs)]
        assert len({word.lower() for word in everything}) == len(everything)
        assert all(re.fullmatch("[A-Za-z]+", word) for word in everything)


def test_structure_is_blind_to_names_and_order() -> None:
    one = Sentences(((0, 0), (2, 1)), (Implication(((0, -1), (2, -1)), ((4, -1),)),))
    other = Sentences(((4, 2), (0, 0)), (Implication(((6, -1), (0, -1)), ((2, -1),)),))
    assert one.split == other.split
    rng = random.Random(0)
    shape = Shape(5, 1, 3, 4, 2, True, "open")
    built = [found for _ in range(60) for split in ("train", "test") if (found := build(rng, shape, split))]
    assert {sentences.split for sentences, _ in built} == {"train", "test"}


PEOPLE = Names(("Anne", "Bob"), ("red", "big", "old"), ("see",), are_people=True)
ANIMALS = Names(("cow", "dog"), ("red", "big", "old"), ("see",), are_people=False)


@pytest.mark.parametrize(
    ("names", "premises", "conclusion", "said"),
    [
        (PEOPLE, [(0, -1)], (2, -1), {"All red people are big.", "Red people are big."}),
        (PEOPLE, [(0, -1), (4, -1)], (2, -1), {"All red, old people are big.", "Red, old people are big."}),
        (PEOPLE, [(0, -1)], (3, -1), {"If someone is red then they are not big."}),
        (
            PEOPLE,
            [(6, -1, 1), (1, -1)],
            (2, -1),
            {"If someone sees Bob and they are not red then they are big."},
        ),
        (PEOPLE, [(0, 0)], (7, 0, 1), {"If Anne is red then Anne does not see Bob."}),
        (PEOPLE, [(0, -1)], (6, 1, -1), {"If someone is red then Bob sees them."}),
        (ANIMALS, [(7, -1, 1)], (6, -1, 0), {"If something does not see the dog then it sees the cow."}),
        (
            ANIMALS,
            [(0, 0), (2, 0)],
            (6, 1, 0),
            {"If the cow is red and the cow is big then the dog sees the cow."},
        ),
    ],
)
def test_rules_in_english(names: Names, premises: Any, conclusion: Any, said: set[str]) -> None:
    rule = Implication(tuple(premises), (conclusion,))
    heard = {names.rule(rule, random.Random(seed)) for seed in range(40)}
    assert said <= heard
    assert all(sentence.startswith("If ") for sentence in heard - said)


def test_a_theory_is_told_with_a_gloss_for_every_line() -> None:
    sentences = Sentences(((0, 0), (7, 0, 1)), (Implication(((0, -1),), ((3, -1),)),))
    told = tell(sentences, (2, 1), ANIMALS, random.Random(0))
    assert (
        told.context
        == "The cow is red. The cow does not see the dog. If something is red then it is not big."
    )
    assert told.statement == "The dog is big."
    lines = [line for line in told.program.split("\n") if not line.endswith(":")]
    assert all(GLOSS in line for line in lines) and "Sees($x, $y, bool) ::: Does x see y?" in lines
    assert short_form(told.program) == (
        "Facts:\n red( cow, True)\n sees( cow, dog, False)\nRules:\n red($x, True) >>> big($x, False)\n"
        "Query:\n big( dog, True)"
    )


def test_the_short_form_says_the_same_in_the_words_of_the_text() -> None:
    for task in generate_theories("train", 60, 4):
        whole, short = parse(task.meta["program"]), parse(short_form(task.meta["program"]))
        assert str(short).lower() == str(replace(whole, predicates=())).lower()
        words = set(re.findall(r"\w+", f"{task.context} {task.question}"))
        constants = {name for atom in short.atoms for name in atom.arguments if name[0] != "$"}
        assert constants <= words
        for atom in short.atoms:  # a verb may only be there without its -s
            assert {atom.predicate, atom.predicate.capitalize(), atom.predicate.removesuffix("s")} & words


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sentences": (3,)}, "the fewest and the most"),
        ({"sentences": (6, 3)}, "the fewest and the most"),
        ({"sentences": (1, 3)}, "from 2 to 40"),
        ({"sentences": (3, 41)}, "from 2 to 40"),
        ({"depths": ()}, "give some"),
        ({"depths": (1, 1)}, "each once"),
        ({"depths": (6,)}, "from 0 to 5"),
        ({"depths": (-1,)}, "from 0 to 5"),
        ({"sentences": (3, 4), "depths": (4,)}, "more than 4 sentences"),
        ({"kinds": ()}, "give a tuple of some of AttNoneg"),
    ],
)
def test_impossible_settings_say_why(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        TheorySettings(**changes)
    assert f"theories.{next(iter(changes))}=" in str(caught.value) or "sentences" in changes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "dev"}, "split is 'dev'"),
        ({"size": 0}, "size is 0"),
    ],
)
def test_impossible_requests_say_why(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        generate_theories(**{"split": "train", "size": 5} | arguments)


def test_running_out_of_theories_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    few = Vocabulary(("Anne", "Bob"), ("cow", "dog"), ("red", "big", "old"), ("see",))
    monkeypatch.setitem(VOCABULARIES, "train", few)
    monkeypatch.setattr("envisions_jax.tasks.theories._ATTEMPTS", 40)
    settings = TheorySettings(sentences=(2, 2), depths=(0,), kinds=KINDS[:1])
    with pytest.raises(TaskError, match=r"found only .* of the 2000 asked for"):
        generate_theories("train", 2000, 0, settings)


@pytest.mark.parametrize("options", [{"mix": (1.0,)}, {"settings": {"depths": (0,)}}])
def test_load_refuses_what_is_no_setting(options: dict[str, Any]) -> None:
    with pytest.raises(TaskError, match="theories: "):
        load("theories", limit=3, **options)


@pytest.mark.parametrize("world", ["open", "closed"])
@pytest.mark.parametrize(("sentences", "depth"), [*itertools.product((2, 3, 4), (0, 1, 2))])
def test_small_theories_can_be_made(world: World, sentences: int, depth: int) -> None:
    if depth < sentences:
        settings = TheorySettings(
            sentences=(sentences, sentences), depths=(depth,), world=world, kinds=("RelNeg",)
        )
        assert len(generate_theories("train", 6, 0, settings)) == 6
