"""Environments with a real Chromium that tests share, and a page that misbehaves on demand."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from envs import Task
from envs.web.environment import WebEnvironment
from envs.web.pages import PAPER_TASKS, Pages

# One button for each thing that no page should do; "win" solves the task.
_DEEDS = {
    "win": "core.endEpisode(1.0, true)",
    "half": "core.endEpisode(0.5, true)",
    "most": "core.endEpisode(0.9, true)",
    "lose": "core.endEpisode(-1.0)",
    "infinite": "core.endEpisode(Infinity)",
    "later": "setTimeout(() => location.href = '../miniwob/click-test.html', 30)",
    "alert": "alert('look here')",
    "confirm": "confirm('really?') ? core.endEpisode(1.0) : null",
    "prompt": "prompt('who?')",
    "hang": "while (true) {}",
    "close": "window.close(); window.open('', '_self').close()",
    "leave": "location.href = '../miniwob/click-test.html'",
    "blank": "location.href = 'about:blank'",
    "away": "location.href = 'http://example.com/'",
    "passwd": "location.href = 'file:///etc/passwd'",
    "popup": "window.open('about:blank')",
    "download": "const a = document.createElement('a'); a.href = 'data:a/zip,x'; a.download = 'x'; a.click()",
    "fetch": "fetch('http://example.com/').catch(() => {})",
    "socket": "new WebSocket('ws://127.0.0.1:9/')",
    "throw": "throw new Error('broken')",
    "memory": "const all = []; while (true) all.push(new Array(1e6).fill(Math.random()))",
    "unload": "onbeforeunload = () => 'stay'; location.href = 'http://example.com/'",
    "endless": "setTimeout(function again() { setTimeout(again, 0) }, 0)",
}
_PAGE = """<!DOCTYPE html><html><head><title>Strange</title>
<link rel="stylesheet" type="text/css" href="../core/core.css">
<script src="../core/core.js"></script>
<script>
const deeds = {
%s
};
var genProblem = function() {
  const area = document.getElementById('area');
  area.innerHTML = '';
  for (const [name, deed] of Object.entries(deeds)) {
    const button = document.createElement('button');
    button.id = name;
    button.textContent = name;
    button.style.cssText = 'font-size: 6px; padding: 0';
    button.onclick = deed;
    area.append(button);
  }
  document.getElementById('query').textContent = 'Click on win.';
}
window.onload = function() { core.startEpisode(); }
</script></head>
<body><div id="wrap"><div id="query"></div><div id="area"></div></div></body></html>
"""


@pytest.fixture(scope="session")
def web() -> Iterator[WebEnvironment]:
    """The environment as users have it, with one browser."""
    with WebEnvironment(workers=1) as environment:
        yield environment


INSTANCES = [(page, seed) for page in PAPER_TASKS for seed in range(20)]


@pytest.fixture(scope="session")
def seen(web: WebEnvironment) -> dict[str, Task]:
    """The paper's pages with 20 seeds each, by id."""
    return {task.id: task for task in web.tasks(INSTANCES)}


@pytest.fixture(scope="session")
def strange_pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pages with "strange", which has a button for every misdeed, and click-test to go to."""
    folder, original = tmp_path_factory.mktemp("pages"), Pages().folder
    (folder / "miniwob").mkdir()
    for name in ("core", "common"):
        (folder / name).symlink_to(original / name)
    deeds = "\n".join(f"  {name}: function() {{ {deed} }}," for name, deed in _DEEDS.items())
    (folder / "miniwob" / "strange.html").write_text(_PAGE % deeds)
    text = (original / "miniwob" / "click-test.html").read_text()
    (folder / "miniwob" / "click-test.html").write_text(text)
    return folder


@pytest.fixture(scope="module")  # not longer: one of its pages keeps a processor busy
def strange(strange_pages: Path) -> Iterator[WebEnvironment]:
    """The environment on the strange pages, with little time for an episode."""
    with WebEnvironment(workers=1, pages=str(strange_pages), time_limit_s=3) as environment:
        yield environment
