"""What is asked wrongly, or of a machine that cannot: what was wrong, what was given, what to do."""

import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

import envs
from envisions_jax.config import from_config_dict
from envisions_jax.config_rules import ConfigError
from envisions_jax.task_sets import given_tasks
from envs import EnvironmentFailure, Task
from envs.memory import memory_mib
from envs.web import pages as web_pages
from envs.web.chromium import find_chromium
from envs.web.environment import WebEnvironment
from envs.web.memory import check_workers
from envs.web.pages import PAPER_TASKS, Pages

_PAGES = {"train": ("click-test",), "test": ("click-test",)}
pytestmark = pytest.mark.browser


def test_pages_by_name(web: WebEnvironment) -> None:
    assert len(PAPER_TASKS) == 44 and set(PAPER_TASKS) <= set(web.pages.names)
    with pytest.raises(ValueError, match="did you mean 'click-test"):
        web.task("click-tset", 1)
    with pytest.raises(EnvironmentFailure, match="there are no pages in"):
        Pages("/")


@pytest.mark.parametrize(
    "page, seed, expected",
    [
        ("click-test", "5", "a seed is a whole number below 2.53, not '5'"),
        ("click-test", 2**53, "a seed is a whole number"),
        ("click-test", True, "a seed is a whole number"),
        (None, 1, "a page is named by a text such as 'click-test', not by None"),
    ],
)
def test_no_instance(web: WebEnvironment, page: Any, seed: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        web.task(page, seed)
    task = Task("none", "", 1, meta={"page": page, "seed": seed})
    with pytest.raises(ValueError, match="seed"):
        list(web.execute([(task, "agent.press('tab')")]))


def test_no_pairs(web: WebEnvironment) -> None:
    for instances in (["click-test"], [("click-test", 1, 2)], [3]):
        with pytest.raises(ValueError, match=r"tasks takes pairs \(page, seed\), not "):
            list(web.tasks(instances))  # type: ignore[arg-type]


def test_what_execute_does_not_take(web: WebEnvironment) -> None:
    task = web.task("click-test", 1)
    with pytest.raises(TypeError, match="got None as the program of task click-test/1"):
        list(web.execute([(task, None)]))  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"takes pairs .* got 'click-test'"):
        list(web.execute(["click-test"]))  # type: ignore[list-item]


def test_a_page_that_does_not_work_is_told_apart_from_a_lost_browser(tmp_path: Path) -> None:
    (tmp_path / "miniwob").mkdir()
    (tmp_path / "core").symlink_to(Pages().folder / "core")
    page = (Pages().folder / "miniwob" / "click-test.html").read_text()
    start = "var genProblem = function() {"
    broken = page.replace(start, f"{start} throw new Error('boom');")
    (tmp_path / "miniwob" / "broken.html").write_text(broken)
    (tmp_path / "miniwob" / "empty.html").write_text("<p>Hello")
    with WebEnvironment(workers=1, pages=str(tmp_path)) as own:
        for name, why in (("broken", "boom"), ("empty", "no MiniWoB.. task")):
            told = f"{name}/1 could not be observed: the page does not work: .*{why}"
            with pytest.raises(EnvironmentFailure, match=told):
                own.task(name, 1)


def test_half_a_surrogate_pair_is_legible_in_an_outcome(web: WebEnvironment) -> None:
    task = web.task("enter-text", 1)
    program = (
        "agent.click_xpath('//nothing[.=\"\\ud800\"]')\nagent.click_xpath('//input')\nagent.type('\\udfff')"
    )
    [outcome] = web.execute([(task, program)])
    assert outcome.kind == "wrong"
    assert "nothing on the page matches" in outcome.error
    (outcome.output + outcome.error).encode("utf-8")


def test_more_browsers_than_the_memory_holds() -> None:
    with pytest.raises(ValueError, match=r"80 \+ 4096 x 230 = 942,160 MiB, and this machine has .* at most"):
        envs.make("web", workers=4096)
    check_workers(2, 540)
    with pytest.raises(ValueError, match="= 540 MiB, and this machine has 539 MiB: ask for at most 1"):
        check_workers(2, 539)
    with pytest.raises(ValueError, match="not one fits"):
        check_workers(1, 200)
    assert 200 < memory_mib() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20


@pytest.mark.parametrize(
    "files, expected",
    [
        ({"memory.max": 512}, 512),  # a container of version 2, perhaps without /proc
        ({"memory/memory.limit_in_bytes": 768}, 768),  # of version 1
        ({"memory.max": "max", "memory/memory.limit_in_bytes": 1 << 40}, 1 << 20),
        ({}, 1 << 20),
    ],
)
def test_a_control_groups_memory_counts(
    files: dict[str, Any], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, mib in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{mib}\n" if mib == "max" else f"{mib << 20}\n")
    monkeypatch.setattr("envs.memory._CONTROL_GROUPS", tmp_path)
    monkeypatch.setattr("os.sysconf", {"SC_PHYS_PAGES": 1 << 28, "SC_PAGE_SIZE": 4096}.__getitem__)
    assert memory_mib() == expected


def test_pages_that_were_altered_or_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a copy of the installed wheel, which is found first."""
    installed = web_pages.distribution("miniwob")
    for folder in ("miniwob", f"miniwob-{installed.version}.dist-info"):
        shutil.copytree(str(installed.locate_file(folder)), tmp_path / folder)
    monkeypatch.syspath_prepend(tmp_path)
    html = tmp_path / "miniwob" / "html"
    assert Pages().folder == html.resolve()

    page = html / "miniwob" / "click-test.html"
    page.write_text(page.read_text().replace("Click Me!", "Click me!"))
    with pytest.raises(EnvironmentFailure, match=r"click-test.html was altered\. pip install .*==1\.1\.0"):
        envs.make("web")
    (html / "core" / "core.js").unlink()
    with pytest.raises(EnvironmentFailure, match=r"core.js is missing and 1 more"):
        Pages()
    assert Pages(html).folder == html.resolve()  # asked for by name: one's own

    record = tmp_path / f"miniwob-{installed.version}.dist-info" / "RECORD"
    shutil.copytree(str(installed.locate_file("miniwob/html")), html, dirs_exist_ok=True)
    lines = record.read_text().splitlines()
    record.write_text("\n".join(line for line in lines if "click-test.html" not in line))
    with pytest.raises(EnvironmentFailure, match="the list of their checksums was altered"):
        Pages()
    for text in ("", "\n".join(f"{line.split(',')[0]},," for line in lines)):
        record.write_text(text)
        with pytest.raises(EnvironmentFailure, match="installed without checksums"):
            Pages()

    metadata = tmp_path / f"miniwob-{installed.version}.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace(f"Version: {installed.version}", "Version: 1.2.0"))
    with pytest.raises(EnvironmentFailure, match=r"miniwob 1\.2\.0, whose tasks may be others"):
        Pages()


@pytest.mark.parametrize(
    "options, error, expected",
    [
        ({"pages": 5}, TypeError, "pages must be the path of a folder, not 5"),
        ({"chromium": "/nowhere"}, EnvironmentFailure, "chromium='/nowhere' is no executable file; without"),
        ({"workers": 0}, ValueError, "workers must be a whole number from 1"),
        ({"time_limit_s": 0}, ValueError, r"in \(0, 3600\]"),
        ({"success": "some"}, ValueError, "success must be one of one, above_0.8"),
        ({"worker": 2}, TypeError, "no option 'worker'; it has workers"),
    ],
)
def test_bad_options(options: dict[str, Any], error: type[Exception], expected: str) -> None:
    with pytest.raises(error, match=expected):
        envs.make("web", **options)


def test_no_chromium(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENVISIONS_CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path))
    with pytest.raises(EnvironmentFailure, match=r"looked for chromium-headless-shell, .* apt-get install"):
        find_chromium()


def test_a_chromium_that_does_not_start_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "chromium"
    broken.write_text("#!/bin/sh\necho 'libnss3.so: cannot open shared object file' >&2\nexit 127\n")
    broken.chmod(0o755)
    begin = time.monotonic()
    with (
        WebEnvironment(workers=2, chromium=str(broken)) as environment,
        pytest.raises(EnvironmentFailure, match=rf"Chromium \({broken}\) does not start: libnss3.so: cannot"),
    ):
        environment.task("click-test", 1)
    assert time.monotonic() - begin < 60  # not as long as a start that hangs


def test_a_run_with_too_many_browsers_is_told_before_it_starts() -> None:
    config = from_config_dict(
        {"env": {"name": "web", "workers": 4000}, "prompt": {"style": "web", "shots": 1}, "tasks": _PAGES}
    )
    with pytest.raises(ConfigError, match=r"env\.workers=4000: browsers for as many take about .* at most"):
        given_tasks(config)
