# Every target sets up what it needs, so that each is safe to run first on a fresh machine.
# Needs make, a POSIX shell and Python 3.11 to 3.13. Windows: see README.md, "Without make".

VENV ?= .venv
PYTHON ?=
RUN = $(VENV)/bin/python
# VENV is removed and made again, so it must be one word, and a Python environment or not there.
ifneq ($(words $(VENV)),1)
$(error VENV="$(VENV)": give one path, without spaces)
endif
only_an_environment = if test -e $(VENV) && ! test -e $(VENV)/pyvenv.cfg; then \
	echo "VENV=$(VENV) is there and is no Python environment: not touched. Name another." >&2; exit 1; fi

# The environment is remade when requirements.txt changes, and the package installed again when pyproject.toml
# does. Both are told by content, because a checkout does not keep modification times.
fingerprint = $(firstword $(shell cksum < $(1)))
REQUIREMENTS := $(VENV)/requirements-$(call fingerprint,requirements.txt)
PACKAGE := $(VENV)/package-$(call fingerprint,pyproject.toml)
# With PYTHON=... given, the environment must be of that Python; without, any environment will do.
ENVIRONMENT := $(if $(PYTHON),$(REQUIREMENTS)-$(notdir $(PYTHON)),$(or $(firstword $(wildcard $(REQUIREMENTS)*)),$(REQUIREMENTS)))

# Prints the first Python that fits; one that cannot make an environment (Debian without python3-venv) does not.
find_python = for candidate in $(or $(PYTHON),python3.11 python3.12 python3.13 python3); do \
	if $$candidate -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		2>/dev/null; then echo $$candidate; exit 0; fi; done; \
	echo "No Python 3.11, 3.12 or 3.13 with venv found (tried: $(or $(PYTHON),python3.11 python3.12 python3.13 python3))." >&2; \
	echo "Install one (on Debian also its python3-venv), or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; \
	exit 1

.DEFAULT_GOAL := help
.PHONY: help environment checkpoint lab notebooks site html lint unit validate test test-versions test-monitoring test-gpu bench-gpu test-slow test-browser test-all bench clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

environment: $(PACKAGE)  ## the Python environment, in .venv (VENV=... names another, PYTHON=... its Python)

$(ENVIRONMENT):
	@$(only_an_environment)
	@python=$$($(find_python)) && \
		echo "Making $(VENV) with $$($$python --version); the download takes minutes the first time." && \
		rm -rf $(VENV) && $$python -m venv $(VENV) && \
		$(RUN) -m pip install --disable-pip-version-check -r requirements.txt && \
		touch $(ENVIRONMENT) $(PACKAGE)

$(PACKAGE): $(ENVIRONMENT)
	@test -e $(PACKAGE) || $(RUN) -m pip install --disable-pip-version-check --quiet --no-deps -e .
	@rm -f $(VENV)/package-* && touch $(PACKAGE)

checkpoint: $(PACKAGE)  ## the demo checkpoint, built into the cache folder and verified
	$(RUN) -m helpers checkpoint

lab: $(PACKAGE)  ## JupyterLab on the first notebook, with the demo checkpoint ready
	$(RUN) -m helpers lab

notebooks: checkpoint  ## every notebook executed again, in place
	$(RUN) -m helpers.notebooks execute

site: checkpoint  ## the HTML tutorials as a site that works from disk, in build/site; unchanged notebooks are kept
	$(RUN) -m helpers.site.build

html: checkpoint  ## each notebook as one HTML file that can be mailed, in build/html
	$(RUN) -m helpers export $$($(RUN) -m helpers.notebooks list) -o build/html

lint: $(PACKAGE)  ## style of code and notebooks, and the form of the committed notebooks
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m helpers.notebooks check

unit: checkpoint  ## the fast tests
	$(RUN) -m pytest -m "not slow and not browser and not gpu"

validate: checkpoint  ## every notebook run again and its outputs compared (nbval, strict)
	$(RUN) -m helpers.notebooks validate

test: lint unit validate  ## lint, the fast tests and the notebooks; at most 15 minutes on 2 cores

test-versions: checkpoint  ## the recorder and the notebooks in older versions of transformers
	$(RUN) tests/versions.py
	$(RUN) tests/versions.py -- -m helpers.notebooks validate --lax

# Python 3.12 or later: there the recorder stands on sys.monitoring, before it on sys.setprofile. A CI (CI=true) has
# one: there it is a failure if none is found, elsewhere it is said.
find_monitoring = for candidate in python3.12 python3.13 $(HOME)/.pyenv/versions/3.12*/bin/python; do \
	if $$candidate -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then echo $$candidate; break; fi; done

# What depends on how the recorder is called by the interpreter.
MONITORED = $(addprefix tests/test_, $(addsuffix .py, call_probe recorder loading_ledger loading_renamed lines_and_functions \
	sampling_zoom values_zoom versions generation_steps hostile_objects offload other_tools process_as_before \
	threads growth interrupts training overrides models_told_apart compiled secrets record_script record_module magic))

test-monitoring: checkpoint  ## the recorder on Python 3.12 or later, in .venv-monitoring (PyTorch may bring CUDA: 5 GB)
	@if $(RUN) -c 'import sys; sys.exit(sys.version_info < (3, 12))'; then \
		echo "Not run apart: $(VENV) has Python 3.12 or later, so the other tests are on sys.monitoring."; exit 0; fi; \
	python=$$($(find_monitoring)); \
	if [ -z "$$python" ]; then echo "NOT RUN: no Python 3.12 or later with venv found for sys.monitoring." >&2; \
		test "$(CI)" != true; exit; fi; \
	$(MAKE) --no-print-directory VENV=.venv-monitoring PYTHON=$$python environment && \
	.venv-monitoring/bin/python -m pytest -m "not slow and not browser and not gpu" $(MONITORED)

test-gpu:  ## the tests that need a GPU, and all notebooks (PYTHON=... with its own torch, WHEELS=... a folder of wheels)
	$(or $(PYTHON),python3) tests/on_gpu.py $(if $(WHEELS),--wheels $(WHEELS))

bench-gpu:  ## Llama-2-7B's shapes on a GPU: load, 512 new tokens, plain and recorded (PYTHON=..., WHEELS=... as test-gpu)
	$(or $(PYTHON),python3) tests/on_gpu.py --bench $(if $(WHEELS),--wheels $(WHEELS))

test-slow: checkpoint  ## the slow tests that need no browser and no GPU
	$(RUN) -m pytest -m "slow and not browser and not gpu"

test-browser: checkpoint  ## the pages, the site and the widgets in JupyterLab, in Chromium
	$(RUN) -m pytest -m "browser and not gpu"

# Three at a time, also on two cores: most of a test is one thread's, and browsers, downloads and disks are waited for.
# All are run, also when one has failed; each prints when it has ended.
# Threads of torch that wait for their next piece of work sleep: turning, they would hold the other part's core.
ORDERLY = $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)
PARTS = test-browser test-slow test-versions unit test-monitoring validate
test-all: lint checkpoint  ## all of that, what is slow or needs a browser, older versions and Python 3.12
	OMP_WAIT_POLICY=PASSIVE $(MAKE) --no-print-directory --jobs=3 --keep-going $(ORDERLY) $(PARTS)

bench: checkpoint  ## the benchmarks, one after the other
	@set -e; for benchmark in benchmarks/bench_*.py; do \
		test -e "$$benchmark" || { echo "There is no benchmarks/bench_*.py to run." >&2; exit 1; }; \
		echo "$$benchmark"; $(RUN) "$$benchmark"; done

clean:  ## what make made in this folder; the checkpoint stays in its cache folder
	@$(only_an_environment)
	rm -rf $(VENV) .venv-monitoring .venv-gpu .venv-peers .versions .pytest_cache .ruff_cache build dist *.egg-info
	find . -path ./.git -prune -o -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) -exec rm -rf {} +
