"""The paper's logic data sets, ProofWriter and RuleTaker: a theory, and a statement to judge by it.

ProofWriter (Tafjord et al. 2021) is read in its open world: a statement is True, False or Unknown. RuleTaker
(Clark et al. 2020) has a closed world: what does not follow is false. Rows have the columns of the hub, or
{id, context, question, answer}. The paper's 3,600 and 600 tasks of ProofWriter are Logic-LM's sample, with as
many of each label; the hub has all of the set, of which `tasks.load(…, limit=…)` draws such a sample.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from envisions_jax.tasks.columns import Fields, RealSet, RowError, answer_in, row_id, text_in
from envisions_jax.tasks.theories import LABELS, QUESTIONS
from envs.logic.theory import WORLDS, World

# The hub's set is of all depths and sources; the paper's tasks are of theories with proofs of up to 5 rules.
_HUB_CONFIG = "depth-5"
# RuleTaker's words, and the letters of Logic-LM's options.
_LABELS = {"entailment": "True", "not entailment": "False", "A": "True", "B": "False", "C": "Unknown"}


def _read(columns: Mapping[str, Any], compat: str, *, world: World) -> Fields | None:
    if columns.get("config", _HUB_CONFIG) != _HUB_CONFIG:
        return None
    _check_world(columns, world)
    theory = text_in(columns, "theory" if "theory" in columns else "context")
    statement = _statement(text_in(columns, "question"))
    label = str(answer_in(columns, "label" if "label" in columns else "answer"))
    label = _LABELS.get(label, label)
    if label not in LABELS[world]:
        raise RowError(f"the answer must be one of {', '.join(LABELS[world])}, is {label!r}")
    meta = {"world": world} | {key: columns[key] for key in ("QDep", "qdep") if columns.get(key) is not None}
    return Fields(f"{QUESTIONS[world]} {statement}", label, meta, theory)


def _statement(question: str) -> str:
    """What is asked about. Raises RowError if it is not a statement, alone or behind the known question.

    Logic-LM asks "Based on …, is the following statement true, false, or unknown? Anne is white."
    """
    asked, mark, statement = question.rpartition("?")
    is_known = not mark or asked.lower().endswith(("true", "false", "unknown", "uncertain"))
    if not statement.strip() or not is_known:
        raise RowError(
            "column 'question' must be a statement, alone or behind \"is the following statement true, "
            f'false, or unknown?", is {question!r}'
        )
    return statement.strip()


def _check_world(columns: Mapping[str, Any], world: World) -> None:
    """Raises RowError for a row of the other world: what is false in the one is unknown in the other."""
    own_id = str(columns.get("id", ""))
    told = columns.get("world")
    if told not in (*WORLDS, None):
        raise RowError(f"world must be one of {', '.join(WORLDS)}, is {told!r}")
    is_closed = (
        "-CWA-" in own_id or own_id.startswith("ruletaker") or "entailment" in str(columns.get("label"))
    )
    is_open = "-OWA-" in own_id or own_id.startswith("proofwriter")
    for said in filter(None, (told, is_closed and "closed", is_open and "open")):
        if said != world:
            raise RowError(f"the row is of the {said} world, the set of the {world} one")


def _identify(columns: Mapping[str, Any], default: str) -> str:
    """The hub's ids name theories, each of which has many statements: there rows are counted."""
    return default if "theory" in columns else row_id(columns, default)


LOGIC_SETS: dict[str, RealSet] = {
    "proofwriter": RealSet(
        "tasksource/proofwriter",
        ("default",),
        ("train", "test"),
        partial(_read, world="open"),
        {"train": 3600, "test": 600},
        id_format="proofwriter/{split}/{number}",
        has_train=True,
        subset="rows of depth 5",
        identify=_identify,
    ),
    "ruletaker": RealSet(
        "tasksource/ruletaker",
        ("default",),
        ("test",),
        partial(_read, world="closed"),
        {"test": 1389},
        id_format="ruletaker/{number}",
        subset="rows of depth 5",
        identify=_identify,
    ),
}
