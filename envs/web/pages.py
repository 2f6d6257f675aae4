"""MiniWoB++'s pages: where they are, what they are called, and the seeds of the paper's experiment.

The pages are those of the PyPI wheel `miniwob` 1.1.0 (MIT licence). 25 of the 44 that the paper uses differ
from the copies its authors edited: theirs allow a hundred times the time, give some answers away and reward
click-checkboxes all or nothing. Results on one are not comparable with the other task by task.
"""

import base64
import hashlib
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from envs.base import EnvironmentFailure

_WHEEL, _VERSION = "miniwob", "1.1.0"
# SHA-256 of its list of checksums, as far as it is of pages.
_RECORD = "d1814cdd26afab9b206afa36043a5379e18f9811700e8de12607add056d37b35"
_INSTALL = f"pip install --force-reinstall --no-deps {_WHEEL}=={_VERSION}"

# The paper's 44 tasks (table 7), by name.
PAPER_TASKS: tuple[str, ...] = (
    *("choose-date", "choose-list", "click-button", "click-button-sequence", "click-checkboxes"),
    *("click-checkboxes-large", "click-checkboxes-soft", "click-checkboxes-transfer", "click-collapsible"),
    *("click-color", "click-dialog", "click-dialog-2", "click-link", "click-option", "click-scroll-list"),
    *("click-shades", "click-shape", "click-tab", "click-test", "click-test-2", "click-widget", "copy-paste"),
    *("copy-paste-2", "enter-date", "enter-password", "enter-text", "enter-text-dynamic", "enter-time"),
    *("focus-text", "focus-text-2", "guess-number", "identify-shape", "multi-layouts", "multi-orderings"),
    *("navigate-tree", "read-table", "search-engine", "simple-algebra", "simple-arithmetic"),
    *("social-media-all", "text-transform", "unicode-test", "use-slider", "use-spinner"),
)

# Seeds of one task: 50 new ones for each iteration, and 30 that are never trained on.
SEEDS_PER_ITERATION = 50
TEST_SEEDS = range(10_000, 10_030)


def pages_of(names: Sequence[str]) -> tuple[str, ...]:
    """Pages by name, as a config has them: "paper" alone stands for the paper's 44."""
    return PAPER_TASKS if tuple(names) == ("paper",) else tuple(names)


def training_seeds(iteration: int, count: int = SEEDS_PER_ITERATION) -> range:
    """The first `count` of the 50 seeds of an iteration: 50·i, 50·i + 1, …"""
    start = SEEDS_PER_ITERATION * iteration
    return range(start, start + count)


class Pages:
    """The pages below a folder: `<folder>/miniwob/<name>.html`, and what they load beside it.

    folder: "" takes those of the wheel, which are checked against the wheel's own list of checksums.

    Raises EnvironmentFailure where there are no pages, or not the wheel's, and TypeError for what is no path.
    """

    def __init__(self, folder: str | Path = "") -> None:
        if not isinstance(folder, str | Path):
            raise TypeError(f"pages must be the path of a folder, not {folder!r:.80}")
        self.folder = Path(folder).resolve() if folder else _wheels_folder()
        self.names = tuple(sorted(path.stem for path in (self.folder / "miniwob").glob("*.html")))
        if not self.names:
            raise EnvironmentFailure(
                f"there are no pages in {self.folder / 'miniwob'}: a folder of pages has them in miniwob/, "
                "beside core/ and common/"
            )

    def path(self, name: Any) -> Path:
        """The file of one page. Raises ValueError if there is none of that name."""
        if not isinstance(name, str):
            raise ValueError(f"a page is named by a text such as 'click-test', not by {name!r:.80}")
        if name not in self.names:
            near = get_close_matches(name[:80], self.names, n=1)
            hint = (
                f"did you mean {near[0]!r}?"
                if near
                else f"the names of all {len(self.names)} are in pages.names"
            )
            raise ValueError(f"there is no page {name!r:.80}; {hint}")
        return self.folder / "miniwob" / f"{name}.html"


def _wheels_folder() -> Path:
    try:
        wheel = distribution(_WHEEL)
    except PackageNotFoundError:
        raise EnvironmentFailure(
            "MiniWoB++'s pages are not installed: pip install 'envisions-jax[web]', or make setup"
        ) from None
    if wheel.version != _VERSION:
        raise EnvironmentFailure(
            f"MiniWoB++'s pages are those of {_WHEEL} {wheel.version}, whose tasks may be others than those "
            f"of {_VERSION}: {_INSTALL}, or give a folder of pages"
        )
    wrong = _altered(wheel)
    if wrong is None:
        raise EnvironmentFailure(
            f"MiniWoB++'s pages were installed without checksums, so nobody knows whether they are those of "
            f"{_WHEEL} {_VERSION}: {_INSTALL}, or give their folder as pages"
        )
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise EnvironmentFailure(
            f"MiniWoB++'s pages are not as {_WHEEL} {_VERSION} brought them, so results would not be "
            f"comparable: {wrong[0]}{more}. {_INSTALL}, or give a folder of your own as pages"
        )
    return Path(str(wheel.locate_file(f"{_WHEEL}/html"))).resolve()


def _altered(wheel: Distribution) -> list[str] | None:
    """What is wrong with the wheel's pages, a file each; None if their checksums are not on record.

    5 MB in 360 files: a tenth of a second.
    """
    wrong = []
    files = [file for file in wheel.files or () if file.parts[:2] == (_WHEEL, "html")]
    for file in files:
        path = Path(str(file.locate()))
        if not path.is_file():
            wrong.append(f"{path} is missing")
        elif file.hash is None:
            return None
        elif _checksum(path, file.hash.mode) != file.hash.value:
            wrong.append(f"{path} was altered")
    if not files:
        return None
    record = "\n".join(sorted(f"{file} {file.hash.value}" for file in files if file.hash is not None))
    if not wrong and hashlib.sha256(record.encode()).hexdigest() != _RECORD:
        wrong.append("the list of their checksums was altered")
    return wrong


def _checksum(path: Path, method: str) -> str:
    """As a wheel's RECORD has it (PEP 427)."""
    digest = hashlib.new(method, path.read_bytes()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")
