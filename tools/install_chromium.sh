#!/bin/sh
# Installs the Chromium that the web domain drives, unless there is one: Debian's and Ubuntu's package where this
# user may install packages, else Playwright's own download with the interpreter $1. With --driver instead: the
# chromedriver of `make benchmark-web`.
set -eu

if [ "${1:-}" = --driver ]; then
  command -v chromedriver >/dev/null 2>&1 && exit 0
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends chromium-driver >/dev/null && exit 0
  fi
  echo "chromedriver is missing; on Debian and Ubuntu, as root: apt-get install chromium-driver" >&2
  exit 1
fi

for name in "${ENVISIONS_CHROMIUM:-}" chromium-headless-shell chromium chromium-browser google-chrome; do
  [ -n "$name" ] && command -v "$name" >/dev/null 2>&1 && exit 0
done
ls "${PLAYWRIGHT_BROWSERS_PATH:-$HOME/.cache/ms-playwright}"/chromium* >/dev/null 2>&1 && exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing chromium-headless-shell with apt-get, about a minute"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends chromium-headless-shell >/dev/null && exit 0
fi
echo "downloading Playwright's own Chromium"
"$1" -m playwright install chromium-headless-shell && exit 0
printf '%s\n' "No Chromium could be installed. On Debian and Ubuntu, as root:" \
  "  apt-get install chromium-headless-shell" \
  "or name one that is there: ENVISIONS_CHROMIUM=/path/to/chromium make …" >&2
exit 1
