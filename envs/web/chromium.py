"""Which Chromium is driven, and how it is started."""

import os
import shutil
from pathlib import Path

from envs.base import EnvironmentFailure

# Debian's names, the small one without a window first: it is the faster.
_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")

# Beside Playwright's own switches. No request leaves the machine (`Browser` aborts them besides), nothing is
# drawn that nobody sees, and a page that is not in front is not slowed down.
ARGUMENTS: tuple[str, ...] = (
    "--disable-quic",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--force-color-profile=srgb",
    "--font-render-hinting=none",
    "--js-flags=--max-old-space-size=256",
)


# Those of Playwright's own downloads, by folder: the name of the file changed over the versions.
_PLAYWRIGHT_FILES = ("headless_shell", "chrome-headless-shell", "chrome")


def find_chromium(path: str = "") -> str:
    """The executable to drive: `path`, else $ENVISIONS_CHROMIUM, Debian's, or Playwright's own.

    Raises EnvironmentFailure for a path that is no executable file, and if there is no Chromium at all.
    """
    asked = path or os.environ.get("ENVISIONS_CHROMIUM", "")
    if asked:
        if not (os.path.isfile(asked) and os.access(asked, os.X_OK)):
            where = "chromium" if path else "$ENVISIONS_CHROMIUM"
            raise EnvironmentFailure(
                f"{where}={asked!r} is no executable file; without it one is looked for (make chromium)"
            )
        return os.path.abspath(asked)
    found = next(filter(None, map(shutil.which, _NAMES)), None) or _playwrights_own()
    if found is None:
        raise EnvironmentFailure(
            f"no Chromium was found: looked for {', '.join(_NAMES)} in $PATH and for Playwright's own in "
            f"{_playwrights_folder()}; install one (`make chromium`; Debian: apt-get install "
            "chromium-headless-shell; elsewhere: playwright install chromium-headless-shell), or say "
            "where it is in $ENVISIONS_CHROMIUM"
        )
    return found


def _playwrights_folder() -> Path:
    return Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH", "~/.cache/ms-playwright")).expanduser()


def _playwrights_own() -> str | None:
    for name in _PLAYWRIGHT_FILES:
        newest = sorted(_playwrights_folder().glob(f"chromium*/*/{name}"), reverse=True)
        if newest:
            return str(newest[0])
    return None
