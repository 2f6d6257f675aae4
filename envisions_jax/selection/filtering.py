"""The filter (step 5, equation 2): of each exploration and its refinement the better one is kept."""

from collections.abc import Iterable, Mapping
from typing import Literal

from envisions_jax.selection.draws import draw, reward_of
from envisions_jax.selection.rules import SelectionConfig
from envisions_jax.store.records import Trajectory


def filter_slot(
    exploration: Trajectory, refinement: Trajectory | None, merge: Literal["paper", "reference"] = "paper"
) -> Trajectory | None:
    """The better of an exploration and its refinement (equation 2), or None if the environment failed on
    both.

    The refinement wins if it is right where the exploration is wrong, or equally right with a higher
    self-reward; with merge="reference" the self-reward decides only between two right ones.

        b = 1, r = -1.0 | b' = 1, r' = -0.5  →  refinement
        b = 1, r = -1.0 | b' = 0, r' = -0.1  →  exploration
        b = 0, r = -1.0 | b' = 0, r' = -0.5  →  paper: refinement (the harder negative)
                                                reference: exploration

    Raises ValueError if self-rewards have to be compared and one was not computed.
    """
    if refinement is None or refinement.outcome == "infrastructure":
        return None if exploration.outcome == "infrastructure" else exploration
    if exploration.outcome == "infrastructure":
        return refinement
    if exploration.correct != refinement.correct:
        return refinement if refinement.correct else exploration
    if not exploration.correct and merge == "reference":
        return exploration
    return refinement if reward_of(refinement) > reward_of(exploration) else exploration


def keep(trajectories: Iterable[Trajectory], config: SelectionConfig, *, seed: int) -> list[Trajectory]:
    """Applies the filter to every slot (iteration, task, k) → the kept trajectories, in the order of their
    slots.

    The control keeps exploration or refinement by a coin, which looks at nothing but their ids.
    """
    slots: dict[tuple[int, str, int], dict[str, Trajectory]] = {}
    for trajectory in trajectories:
        slot = slots.setdefault((trajectory.iteration, trajectory.task_id, trajectory.k), {})
        if trajectory.stage in slot:
            raise ValueError(
                f"{trajectory.id}: given twice; a slot has one exploration and at most one refinement"
            )
        slot[trajectory.stage] = trajectory
    kept = (_keep_slot(slot, config, seed) for slot in slots.values())
    return [trajectory for trajectory in kept if trajectory is not None]


def _keep_slot(slot: Mapping[str, Trajectory], config: SelectionConfig, seed: int) -> Trajectory | None:
    exploration, refinement = slot.get("explore"), slot.get("refine")
    if exploration is None:
        raise ValueError(f"{next(iter(slot.values())).id}: a refinement without its exploration")
    if config.filter == "none":
        usable = [t for t in (exploration, refinement) if t is not None and t.outcome != "infrastructure"]
        return min(usable, key=lambda t: draw(seed, "keep", t.iteration, t.id)) if usable else None
    return filter_slot(exploration, refinement, config.merge)
