# Everything a newcomer needs: `make quickstart` and `make test`. `make help` lists the rest.

# The system's Python first: the sandbox's unprivileged child cannot read one under a private home.
PYTHON ?= $(firstword $(wildcard /usr/bin/python3.11) $(shell command -v python3.11 || command -v python3))
VENV   ?= .venv
SEED   ?= 0
CONFIG ?= configs/quickstart.py
RUN    ?= runs/quickstart-seed$(SEED)

BIN := $(VENV)/bin
# Compiling every module of every package would take half a minute; the few that are used compile on first use.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
# Only what exists: a source distribution has no benchmarks and no tools.
CODE := $(wildcard envisions_jax envs configs benchmarks tools)

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev model chromium compilers quickstart plan control benchmark benchmark-web test lint types format lock clean
.DELETE_ON_ERROR:

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | column -t -s '|'

# --- Set-up. Each step leaves a stamp, so that the second `make` starts at once. ---

$(VENV)/.made:
	@tools/check_python.sh "$(PYTHON)"
	"$(PYTHON)" -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.made requirements.lock pyproject.toml
	@echo "installing the locked packages into $(VENV), about a minute"
	$(PIP) -r requirements.lock
	$(PIP) --no-deps --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	@echo "installing the developer's tools into $(VENV), another minute"
	$(PIP) -r requirements-dev.lock
	@touch $@

setup: $(VENV)/.installed ## virtual environment with the locked versions
setup-dev: $(VENV)/.installed-dev ## the same with the developer's tools

model: setup ## fetch the default model into the user's cache (once)
	$(BIN)/python -m envisions_jax.models.default_model

chromium: setup ## the browser of the web domain, unless there is one (Debian's, as root; else Playwright's)
	@tools/install_chromium.sh $(BIN)/python

compilers: setup ## the compilers of GPUs and TPUs, for plans (2.5 GB, into the user's cache)
	@tools/install_compilers.sh $(BIN)/python

# --- Runs. ---

quickstart: model ## the main job on the default model; SEED=1 for another seed
	$(BIN)/python -m envisions_jax.main --config=$(CONFIG) --config.seed=$(SEED) --workdir=$(RUN)

control: quickstart ## the same run without the environment's verdict, then both side by side
	$(BIN)/python -m envisions_jax.main --config=$(CONFIG) --config.seed=$(SEED) \
	  --config.selection.filter=none --config.eval.base=False --workdir=$(RUN)-control
	$(BIN)/python -m envisions_jax.compare $(RUN) $(RUN)-control

TARGET ?= a100x8
plan: compilers ## would a run fit accelerators that are not here? CONFIG=configs/math.py TARGET=v5p-8
	$(BIN)/python -m envisions_jax.plan --config=$(CONFIG) --target=$(TARGET) $(PLAN_ARGS)

benchmark: setup-dev model ## speed beside transformers on PyTorch: two to three hours, on a quiet machine
	$(BIN)/python -m benchmarks $(BENCHMARK_ARGS)

benchmark-web: setup-dev chromium ## web episodes a second beside miniwob and BrowserGym, which it installs
	@tools/install_chromium.sh --driver
	@test -x build/web-peers/bin/pip || "$(PYTHON)" -m venv build/web-peers
	build/web-peers/bin/pip install --quiet --disable-pip-version-check -r benchmarks/web_peers/requirements.txt
	$(BIN)/python -m benchmarks.web $(BENCHMARK_ARGS)

# --- Development. ---

test: setup-dev chromium compilers lint ## lint, types, lock and all tests
	$(BIN)/python tools/lock.py check requirements-dev.lock
	$(BIN)/python -m pytest -q -n 2 $(PYTEST_ARGS)

lint: setup-dev types ## formatting, lint and types, changing nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup-dev ## types alone
	$(BIN)/mypy $(CODE)

format: setup-dev ## format and repair what ruff can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: ## write both lock files anew, from a clean virtual environment
	rm -rf build/lock && "$(PYTHON)" -m venv build/lock
	build/lock/bin/python -m pip install --quiet '.[logic,web]'
	build/lock/bin/python tools/lock.py write requirements.lock
	build/lock/bin/python -m pip install --quiet '.[logic,web,dev]'
	build/lock/bin/python tools/lock.py write requirements-dev.lock
	rm -rf build/lock build/lib build/bdist*

clean: ## remove the virtual environment and caches; runs/ is kept
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './runs/*' -type d -prune -exec rm -rf {} +
