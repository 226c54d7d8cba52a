# Every target builds .venv from requirements.lock first, when it is missing or older than the lock or pyproject.toml.
# TORCH_INDEX_URL takes torch from another index, e.g. one of CPU-only wheels; PYTHON names the interpreter.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
PRESET ?= demo
PROFILE ?= fullband
VENV := .venv
VENV_PYTHON := $(VENV)/bin/python
STAMP := $(VENV)/.installed
PEERS := $(VENV)/.peers
LIGHT := build/light
TORCH_PIN = $(shell sed -n 's/^\(torch==[^ ;]*\).*/\1/p' requirements.lock)
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := true
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Of pip's words only the large downloads are shown: a newcomer sees that something happens, not three hundred lines.
PIP_INSTALL := $(VENV_PYTHON) -m pip install --progress-bar off
ONLY_PROGRESS := awk '/^ *Downloading .*[MG]B\)/ { split($$2, part, "-"); print "  " part[1], part[2], $$(NF - 1), $$NF; fflush() } \
  /^Installing collected/ { print "  unpacking ..."; fflush() }'

# By one process: Numba's cache may break when several fill it at the same time, and each would take half a minute.
FIRST_USE := "import librosa, numpy; from evaluation.measures.perceptual import visqol; \
  noise = numpy.random.default_rng(0).standard_normal(32000) / 10; \
  librosa.stft(noise); visqol(preds=noise, target=noise, sample_rate=16000)"

.PHONY: help venv demo test test-light lint docs ui lock cheats failures results visqol default-model

help: ## list the targets
	@grep -hE '^[a-z%-]+:.*##' Makefile | sed -E 's/^([a-z%-]+):[^#]*## /  make \1	/'

venv: $(STAMP) ## build .venv

demo: $(STAMP) ## compare the architectures on a synthetic corpus and register the winner
	@$(VENV)/bin/overtone compare $(PRESET)

# A file's tests share what they train, so that they stay together, in the order of tests/conftest.py; one thread each,
# since the processes fill the cores.
test: $(STAMP) ## run the tests, with SLOW=1 the slow ones too; no network is used
	@OMP_NUM_THREADS=1 $(VENV_PYTHON) -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
	  $(if $(SLOW),,-m "not slow") $(PYTEST_ARGS)

# Where there is no torch: the wheel with its extras, and what its tests need. Only torch can write the packages of the
# small networks that they use, so that .venv does it first.
test-light: $(STAMP) ## test the package overtone in an environment of its own, without torch
	@$(VENV_PYTHON) tests/support/exported_models.py $(LIGHT)/packages
	@test -x $(LIGHT)/bin/python || $(PYTHON) -m venv $(LIGHT)
	@$(LIGHT)/bin/python -m pip install --quiet -c requirements.lock './runtime[serve,live]' pytest pytest-xdist scipy onnx pyyaml axe-core-python
	@$(LIGHT)/bin/python -m pip install --quiet --no-deps --force-reinstall ./runtime
	@OMP_NUM_THREADS=1 OVERTONE_TEST_PACKAGES=$(CURDIR)/$(LIGHT)/packages $(LIGHT)/bin/python -m pytest \
	  --numprocesses auto --maxprocesses 4 --dist loadfile \
	  -p no:cacheprovider -o pythonpath=". tests/support" tests/runtime $(PYTEST_ARGS)

lint: $(STAMP) ## ruff, mypy, the floors of imports, and how many lines there are
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports
	@for folder in experiments models datamodules evaluation runtime benchmarks tests; do \
	  printf '%-12s %6d lines of Python\n' $$folder $$(git ls-files "$$folder/*.py" | xargs cat | wc -l); done

docs: $(STAMP) ## build the documentation site into site/; any warning fails
	@NO_MKDOCS_2_WARNING=1 $(VENV_PYTHON) -m mkdocs build --quiet
	@echo "Wrote site/index.html. While writing: $(VENV)/bin/mkdocs serve"

benchmark-%: $(PEERS) ## measure one thing beside a peer: loader, preparation, harness, reconstruction, runtime, live, sweep, wild, default_models, top_octave; DATA=folder of real speech
	@$(VENV_PYTHON) -m benchmarks.$* $(if $(DATA),--data "$(DATA)") $(BENCHMARK_ARGS)

cheats: $(STAMP) ## every measure against every cheat, in mlruns/what-fools-what.md; with DATA=folder of real speech, in docs
	@$(VENV_PYTHON) -m benchmarks.pages.cheats_page $(if $(DATA),--data "$(DATA)" --corpus-name "real speech" --speakers 12,--out mlruns/what-fools-what.md)

failures: $(STAMP) ## write docs/failures: the original's failures before and after, from PRESET's finished comparison on DATA
	@$(VENV_PYTHON) -m benchmarks.pages.failure_stories $(PRESET) $(if $(DATA),--data "$(DATA)") $(FAILURES_ARGS)

results: $(STAMP) ## write docs/results/PRESET.md: the whole table of PRESET's finished comparison on DATA
	@$(VENV_PYTHON) -m benchmarks.pages.results_page $(PRESET) $(if $(DATA),--data "$(DATA)") $(RESULTS_ARGS)

# Without its dependencies, which are all there: it asks for a soxr below 1, and works with the one that we have.
$(PEERS): $(STAMP)
	@$(PIP_INSTALL) --quiet --no-deps "audiomentations==0.43.1" "numpy-rms==0.7.0" "python-stretch==0.3.1"
	@touch $@

visqol: $(STAMP) ## write docs/results/visqol.md: what ViSQOL asks of the octave above a telephone's; DATA=folder of real speech
	@$(VENV_PYTHON) -m benchmarks.pages.visqol_page $(if $(DATA),--data "$(DATA)")

default-model: $(STAMP) ## pack a trained model into the package: CHECKPOINT=file PROFILE=fullband, live or telephone RECIPE=its preset DATA=its corpus EXTRA=splits
	@test -n "$(CHECKPOINT)" || { echo "Expected CHECKPOINT=file of weights, received none." >&2; exit 1; }
	@$(VENV)/bin/overtone export --checkpoint "$(CHECKPOINT)" --preset $(or $(RECIPE),$(PROFILE)) --out runtime/overtone/packed/$(PROFILE) \
	  $(if $(DATA),--data "$(DATA)") $(if $(EXTRA),--extra $(EXTRA))

ui: $(STAMP) ## browse the runs in MLflow
	@$(VENV)/bin/overtone ui

# The laboratory comes before overtone: an older one owned the command, and takes it along when it is replaced.
# The stamp is removed first and written last, so an interrupted installation is taken up again by the next make;
# pip writes a package's RECORD last, so a package without one is half there and must not pass for installed.
$(STAMP): requirements.lock pyproject.toml runtime/pyproject.toml
	@command -v $(PYTHON) > /dev/null || \
	  { echo "Expected Python 3.11 or newer as '$(PYTHON)', found none. Install it or name it: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Expected Python 3.11 or newer, received $$($(PYTHON) --version 2>&1). Name another: make PYTHON=python3.12" >&2; exit 1; }
	@rm -f $@
	@if ! $(VENV_PYTHON) -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then \
	  echo "Building $(VENV) with $$($(PYTHON) --version) from requirements.lock (once, 1-3 minutes and the download) ..."; \
	  $(PYTHON) -m venv --clear $(VENV); \
	else \
	  echo "Bringing $(VENV) up to date with requirements.lock ..."; \
	  for package in $(VENV)/lib/python*/site-packages/*.dist-info; do \
	    test -e "$$package/RECORD" || rm -rf "$$package"; done; \
	fi
ifdef TORCH_INDEX_URL
	@echo "Installing $(TORCH_PIN) from TORCH_INDEX_URL ..."
	@$(PIP_INSTALL) --index-url "$(TORCH_INDEX_URL)" "$(TORCH_PIN)" | $(ONLY_PROGRESS)
endif
	@echo "Installing the $$(grep -c == requirements.lock) packages of requirements.lock ..."
	@$(PIP_INSTALL) -r requirements.lock | $(ONLY_PROGRESS)
	@echo "Installing overtone itself ..."
	@$(PIP_INSTALL) --quiet --no-deps -e .
	@$(PIP_INSTALL) --quiet --no-deps -e runtime
	@echo "Compiling what ViSQOL and librosa compile at their first use ..."
	@OMP_NUM_THREADS=1 $(VENV_PYTHON) -c $(FIRST_USE)
	@touch $@

# Local versions (+cpu) and the CUDA packages of one platform's torch are left out: pip adds what its torch asks for.
# So are the peers of the benchmarks.
lock: ## write requirements.lock from pyproject.toml and what .venv holds
	@test -x $(VENV_PYTHON) || { echo "Expected $(VENV), found none. Run 'make venv' first." >&2; exit 1; }
	@$(PIP_INSTALL) --quiet -e 'runtime[serve,live]' -e '.[demo,dev]'
	@{ echo "# Exact versions that the project is tested with. Written by 'make lock': change pyproject.toml, not this file."; \
	   $(VENV_PYTHON) -m pip freeze --exclude-editable | sed 's/+.*//' | grep -viE '^(nvidia|cuda|triton)[-=]' | \
	   grep -vE '^(audiomentations|numpy-rms|python-stretch)=' | LC_ALL=C sort -f; } > requirements.lock.part
	@mv requirements.lock.part requirements.lock
	@echo "Wrote requirements.lock: $$(grep -c == requirements.lock) packages."
