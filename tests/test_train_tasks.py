"""Tasks by iteration: always the same, or new seeds of the web's pages; pages cut to the tokens allowed."""

from collections.abc import Iterable, Iterator

import pytest

from envisions_jax.testing import tiny_tokenizer
from envisions_jax.train_tasks import SameTasks, WebPages, WebTasks
from envs import Task
from envs.web.demonstrations import DEMONSTRATIONS
from envs.web.environment import WebEnvironment


class Pages(WebEnvironment):
    """No browser: long pages, and a record of what was observed."""

    def __init__(self) -> None:  # starts no worker
        self.observed: list[tuple[str, int]] = []

    def tasks(self, instances: Iterable[tuple[str, int]]) -> Iterator[Task]:
        for page, seed in instances:
            self.observed.append((page, seed))
            lines = "\n".join(f"<p>{number}</p>" for number in range(20))
            yield Task(f"{page}/{seed}", f"{lines}\nDo {page} {seed}.", 1, meta={"page": page, "seed": seed})


@pytest.fixture
def browsers() -> Pages:
    return Pages()


def web(browsers: Pages, most_tokens: int = 10_000) -> WebPages:
    return WebPages(browsers, tiny_tokenizer(), most_tokens)


def ids(tasks: Iterable[Task]) -> list[str]:
    return [task.id for task in tasks]


def test_the_same_tasks_in_every_iteration() -> None:
    tasks = SameTasks([Task("a", "?", 1)])
    assert tasks.explored(0) == tasks.explored(7) == tasks.known(7) == [Task("a", "?", 1)]


def test_each_iteration_has_seeds_of_its_own_and_knows_the_earlier_ones(browsers: Pages) -> None:
    tasks = WebTasks(web(browsers), ["click-test", "enter-text"], 2)
    assert ids(tasks.explored(1)) == ["click-test/50", "click-test/51", "enter-text/50", "enter-text/51"]
    assert ids(tasks.known(1)) == [
        *("click-test/0", "click-test/1", "enter-text/0", "enter-text/1"),
        *ids(tasks.explored(1)),
    ]
    assert len(browsers.observed) == len(set(browsers.observed)) == 8, "a page is observed once"


def test_test_sets_are_pages_with_seeds_of_their_own(browsers: Pages) -> None:
    sets = web(browsers).test_sets(["click-test", "enter-text"], 3)
    assert {name: ids(tasks) for name, tasks in sets.items()} == {
        "click-test": ["click-test/10000", "click-test/10001", "click-test/10002"],
        "enter-text": ["enter-text/10000", "enter-text/10001", "enter-text/10002"],
    }
    assert len(web(browsers).test_sets(["click-test"])["click-test"]) == 30


def test_a_demonstration_is_seen_as_a_task_is_and_is_never_one(browsers: Pages) -> None:
    shown = web(browsers).demonstrations(["click-test", "click-test", "enter-text"])
    assert list(shown) == ["click-test", "enter-text"]
    [one] = shown["click-test"]
    assert (
        "\nDo click-test 20000." in one.question and one.bodies["web"] == DEMONSTRATIONS["click-test"].program
    )
    assert all(seed >= 20_000 for _, seed in browsers.observed)


@pytest.mark.parametrize("most", [1, 30, 60, 100, 10_000])
def test_a_page_is_cut_to_the_tokens_allowed_at_the_end_of_a_line(browsers: Pages, most: int) -> None:
    [whole], [cut] = (web(browsers, size).tasks(["click-test"], [0]) for size in (10_000, most))
    tokenizer = tiny_tokenizer()
    if cut == whole:
        assert len(tokenizer.encode(whole.question, bos=False)) <= most
        return
    *lines, asked = whole.question.split("\n")
    *kept, last, still_asked = cut.question.split("\n")
    assert kept == lines[: len(kept)] and still_asked == asked
    count = int(last.removeprefix("… ").removesuffix(" more lines"))
    assert len(kept) + count == len(lines)
    longer = "\n".join([*lines[: len(kept) + 1], f"… {count - 1} more lines", asked])
    assert len(tokenizer.encode(longer, bos=False)) > most, "another line would have fitted"
    assert len(tokenizer.encode(cut.question, bos=False)) <= most or not kept
