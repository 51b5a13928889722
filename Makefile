# SkipBench. `make help` lists what there is.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
RESULTS ?= results
SKIPBENCH = $(VENV)/bin/skipbench
# LATEST=1 installs the newest versions that pyproject.toml allows, not those of constraints.txt.
LATEST ?=
# pip compiles modules one after the other; on all cores that takes a part of the time. Some come in forms that are no modules.
# UV=1 makes the same environment with uv.
UV ?=
INSTALLER = $(if $(UV),uv pip install --quiet --python $(VENV)/bin/python,\
  $(VENV)/bin/pip install --quiet --disable-pip-version-check --no-compile)
PIP_INSTALL = $(INSTALLER) \
  $(if $(LATEST),--upgrade,--constraint constraints.txt)
COMPILE = { $(VENV)/bin/python -m compileall -qq -j 0 $(VENV)/lib || true; }

# bench, speed: empty means what experiments/bench.yaml, experiments/speed.yaml say.
METHOD ?=
DATASET ?=
BACKBONE ?=
SHOTS ?=
SEEDS ?=
PROTOCOL ?=
RECIPE ?=
EXPERIMENT ?=
EXECUTOR ?=
DEVICES ?=
DEVICE ?=
CLASSES ?=
BATCH ?=
PRECISION ?=
FORMAT ?=
OVER ?=
A ?=
B ?=
ARGS ?=
FITS ?=
SUITE ?=

# A variable as one word of the shell, whatever is in it: spaces, quotes, $$ and ; stand for themselves.
quoted = '$(subst ','\'',$(value $(1)))'
as_word = $(if $(value $(1)),$(call quoted,$(1)))
option = $(if $(value $(1)),$(2) $(call quoted,$(1)))

# make takes any variable without a word. Those on its command line that no target reads are refused before anything runs.
GIVEN := $(foreach name,$(.VARIABLES),$(if $(findstring command line,$(origin $(name))),$(name)))
ifneq ($(GIVEN),)
WRONG := $(shell $(PYTHON) -IS harness/cli/make_variables.py '$(MAKECMDGOALS)' \
  $(foreach name,$(GIVEN),'$(name)=$(subst ','\'',$(value $(name)))') 2>/dev/null)
ifneq ($(WRONG),)
$(error $(WRONG))
endif
endif

# What table, figures and report are about: an experiment, parts of it, or all results where nothing is said.
WHICH = $(call as_word,EXPERIMENT) $(call option,METHOD,--methods) $(call option,DATASET,--dataset) $(call option,BACKBONE,--backbone) \
  $(call option,SHOTS,--shots) $(call option,SEEDS,--seeds) $(call option,PROTOCOL,--protocol) \
  $(call option,RECIPE,--recipe) $(call option,RESULTS,--results)

.PHONY: help setup bench sweep ablations table figures report board compare speed stability estimate check selfcheck data list lint test test-fast \
  test-long test-mutants coverage docs clean

help: ## list the targets
	@echo "make bench METHOD=skip      train, evaluate and compare; METHOD=zeroshot,finetune,skip or all"
	@echo "     DATASET= BACKBONE= SHOTS= SEEDS= PROTOCOL= RECIPE= EXPERIMENT= RESULTS= ARGS=\"skip.depth=4 train.epochs=10\""
	@echo "     EXECUTOR=local|ray|slurm DEVICES=0,1 ARGS=\"schedule.time_limit=1h schedule.retries=2\""
	@echo "make sweep METHOD=skip      search settings with Optuna on validation pictures; ARGS=\"--trials 20 --time 5m\""
	@echo "make ablations              Skip Tuning's depth, class ratio and lambda, one at a time"
	@echo "make table                  tables of a paper, of all results or of EXPERIMENT=; FORMAT=md,latex,csv,html OVER=skip.depth"
	@echo "make figures                curves, accuracy against memory and time, change by class; FORMAT=svg,pdf,png OVER="
	@echo "make report                 one HTML page with tables, figures and every run"
	@echo "make board SUITE=embedded   run a suite and write its board: tables and tests by track; METHOD= ARGS=\"--quick\""
	@echo "make compare A= B=          what differs between two runs or experiments; without B=: beside published numbers"
	@echo "make speed                  every method with our speed-ups and without, side by side"
	@echo "     METHOD= BACKBONE=ViT-B-16 CLASSES=50 BATCH=4 PRECISION= RESULTS= ARGS=\"coop.n_ctx=8 --brief\""
	@echo "make stability METHOD=skip  how far rounding moves the results, beside how far seeds lie apart; all variables of bench"
	@echo "make estimate METHOD=skip   memory and computation of a run, in seconds, without weights, data or GPU"
	@echo "     DATASET=imagenet BACKBONE=ViT-B-16 SHOTS= PROTOCOL= CLASSES= BATCH= PRECISION= FITS=24GiB ARGS=\"skip.depth=0..12\""
	@echo "make check METHOD=my_method the contract of a method, one line per property; BACKBONE= ARGS=\"my_method.option=1\""
	@echo "make selfcheck DEVICE=cpu   whether this machine computes the right numbers, and how fast; METHOD= ARGS=\"--quick\""
	@echo "make data                   which data sets are under \$$DATA, complete or not; DATASET= ARGS=--verify"
	@echo "make test                   lint, type check and tests"
	@echo "make test-fast              the tests that take about two minutes together"
	@echo "make test-long              the tests that take minutes: kills, Ray, Slurm, ..."
	@echo "make test-mutants           plants mistakes in a copy, one at a time, and tells which the tests do not notice"
	@echo "make coverage               all tests but the long ones, and which lines and branches they reach"
	@echo "make list                   methods, data sets, backbones, protocols, recipes"
	@echo "make setup                  only install, into $(VENV), the versions of constraints.txt; LATEST=1: the newest; UV=1: by uv"
	@echo "make clean                  remove $(VENV) and caches, not results"
	@echo "$(SKIPBENCH) --help         everything else, once installed"

install = echo "Installing SkipBench into $(VENV) (once; minutes, about 6 GB with torch's GPU libraries)" \
  && $(PIP_INSTALL) --editable '$(1)' && $(COMPILE)

setup: $(VENV)/installed ## virtual environment with the package

$(VENV)/python: 
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "error: SkipBench needs Python 3.10 or newer, '$(PYTHON)' is $$($(PYTHON) --version): use make PYTHON=/path/to/python3.11"; exit 1; }
	@$(if $(UV),command -v uv > /dev/null || { echo "error: UV=1 needs uv on the PATH; without UV=1 pip is used"; exit 1; })
	@$(if $(UV),uv venv --quiet --allow-existing --python '$(PYTHON)' $(VENV),$(PYTHON) -m venv $(VENV)) && touch $@

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/python
	@$(call install,.) && touch $@

# At once, not after `installed`: two installations solve the same dependencies twice.
$(VENV)/installed-dev: pyproject.toml constraints.txt | $(VENV)/python
	@$(call install,.[dev]) && touch $(VENV)/installed $@

bench: $(VENV)/installed ## METHOD=skip DATASET= BACKBONE= SHOTS= SEEDS= PROTOCOL= ARGS=
	@$(SKIPBENCH) bench $(call as_word,METHOD) $(call option,DATASET,--dataset) $(call option,BACKBONE,--backbone) \
	  $(call option,SHOTS,--shots) $(call option,SEEDS,--seeds) $(call option,PROTOCOL,--protocol) \
	  $(call option,RECIPE,--recipe) $(call option,EXPERIMENT,--experiment) $(call option,EXECUTOR,--executor) \
	  $(call option,DEVICES,--devices) $(call option,RESULTS,--results) $(ARGS)

table: $(VENV)/installed ## EXPERIMENT= FORMAT=md,latex,csv,html OVER=skip.depth METHOD= ... ARGS=--standalone
	@$(SKIPBENCH) table $(WHICH) $(call option,FORMAT,--format) $(call option,OVER,--over) $(ARGS)

figures: $(VENV)/installed ## EXPERIMENT= FORMAT=svg,pdf,png OVER=skip.depth METHOD= ...
	@$(SKIPBENCH) figures $(WHICH) $(call option,FORMAT,--format) $(call option,OVER,--over) $(ARGS)

report: $(VENV)/installed ## EXPERIMENT= METHOD= ...
	@$(SKIPBENCH) report $(WHICH) $(ARGS)

board: $(VENV)/installed ## SUITE=embedded METHOD= EXECUTOR= DEVICES= RESULTS= ARGS="--quick"
	@$(SKIPBENCH) board $(call as_word,SUITE) $(call option,METHOD,--methods) $(call option,EXECUTOR,--executor) \
	  $(call option,DEVICES,--devices) $(call option,RESULTS,--results) $(ARGS)

compare: $(VENV)/installed ## A= B=
	@$(SKIPBENCH) compare $(call as_word,A) $(call as_word,B) $(call option,RESULTS,--results) $(ARGS)

speed: $(VENV)/installed ## METHOD= BACKBONE=ViT-B-16 CLASSES=50 BATCH=4 PRECISION= ARGS=
	@$(SKIPBENCH) speed $(call as_word,METHOD) $(call option,BACKBONE,--backbone) $(call option,CLASSES,--classes) \
	  $(call option,BATCH,--batch) $(call option,PRECISION,--precision) $(call option,RESULTS,--results) $(ARGS)

stability: $(VENV)/installed ## METHOD=skip DATASET= BACKBONE= SHOTS= SEEDS= PROTOCOL= RECIPE= ARGS="--moves 4"
	@$(SKIPBENCH) stability $(METHOD) $(call option,DATASET,--dataset) $(call option,BACKBONE,--backbone) \
	  $(call option,SHOTS,--shots) $(call option,SEEDS,--seeds) $(call option,PROTOCOL,--protocol) \
	  $(call option,RECIPE,--recipe) --results "$(RESULTS)" $(ARGS)

sweep: $(VENV)/installed ## METHOD=skip (or a file) DATASET= BACKBONE= SHOTS= SEEDS= PROTOCOL= RECIPE= ARGS=
	@$(SKIPBENCH) sweep $(call as_word,METHOD) $(call option,DATASET,--dataset) $(call option,BACKBONE,--backbone) \
	  $(call option,SHOTS,--shots) $(call option,SEEDS,--seeds) $(call option,PROTOCOL,--protocol) \
	  $(call option,RECIPE,--recipe) $(call option,EXECUTOR,--executor) $(call option,DEVICES,--devices) \
	  $(call option,RESULTS,--results) $(ARGS)

ablations: $(VENV)/installed ## Skip Tuning's depth, class ratio and lambda, one at a time: accuracy, memory, time
	@for name in depth ratio lambda; do $(SKIPBENCH) sweep ablation_$$name $(call option,RESULTS,--results) $(ARGS) || exit; done

estimate: $(VENV)/installed ## METHOD=skip DATASET= BACKBONE= CLASSES= BATCH= PRECISION= FITS=24GiB ARGS=
	@$(SKIPBENCH) estimate $(call as_word,METHOD) $(call option,DATASET,--dataset) $(call option,BACKBONE,--backbone) \
	  $(call option,SHOTS,--shots) $(call option,PROTOCOL,--protocol) $(call option,RECIPE,--recipe) \
	  $(call option,CLASSES,--classes) $(call option,BATCH,--batch) $(call option,PRECISION,--precision) \
	  $(call option,FITS,--fits) $(call option,RESULTS,--results) $(ARGS)

check: $(VENV)/installed ## METHOD=skip BACKBONE= ARGS=
	@$(SKIPBENCH) check $(or $(call as_word,METHOD),all) $(call option,BACKBONE,--backbone) $(ARGS)

selfcheck: $(VENV)/installed ## DEVICE=cpu METHOD= RESULTS= ARGS="--quick"
	@$(SKIPBENCH) selfcheck $(call option,DEVICE,--device) $(call option,METHOD,--methods) $(call option,RESULTS,--results) $(ARGS)

data: $(VENV)/installed ## DATASET= DATA= ARGS=--verify: what is there, and what is missing
	@$(SKIPBENCH) data $(call as_word,DATASET) $(ARGS)

list: $(VENV)/installed ## what can be named
	@$(SKIPBENCH) list

docs: $(VENV)/installed ## write the list of methods in docs/methods.md anew, from their cards and classes
	@$(VENV)/bin/python -m experiments.write_methods_page

RUFF = $(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .

lint: $(VENV)/installed-dev ## ruff and mypy
	@$(RUFF) && $(VENV)/bin/mypy

# One thread per process: the tests compute little, and their processes share the cores.
# Compiled modules are kept, whatever the shell says: every process of a test would compile all of them again.
# One process more than cores: some tests wait for processes and time limits.
TEST_PROCESSES ?= $(shell echo $$(( $$(nproc 2>/dev/null || sysctl -n hw.ncpu) < 4 ? $$(nproc 2>/dev/null || sysctl -n hw.ncpu) + 1 : 4 )))
PYTEST = PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(VENV)/bin/pytest --numprocesses $(TEST_PROCESSES) --dist worksteal

# mypy keeps one core busy for a minute, so it runs beside the tests; what it has to say is printed below what they say.
test: $(VENV)/installed-dev ## lint, type check and all tests but the long ones
	@$(RUFF)
	@$(VENV)/bin/mypy > $(VENV)/mypy.log 2>&1 & types=$$!; trap "kill $$types" INT TERM; $(PYTEST) -m "not long"; \
	  tested=$$?; wait $$types; typed=$$?; echo "mypy:"; cat $(VENV)/mypy.log; exit $$((tested ? tested : typed))

test-fast: $(VENV)/installed-dev ## the tests that take about two minutes together
	@$(PYTEST) -m "not long and not slow"

coverage: $(VENV)/installed-dev ## all tests but the long ones, and which lines and branches they reach
	@$(PYTEST) -m "not long" --cov --cov-report=term --cov-report=html:.coverage-html

$(VENV)/installed-long: pyproject.toml constraints.txt | $(VENV)/installed-dev
	@$(call install,.[dev,ray,slurm,postgresql]) && touch $@

test-long: $(VENV)/installed-long ## the tests that take minutes: kills, Ray, Slurm, ...
	@$(VENV)/bin/pytest -m long

test-mutants: $(VENV)/installed-dev ## plant mistakes one at a time: the tests must notice each; ARGS="trainer tune": some
	@$(VENV)/bin/python tests/planted_mistakes.py $(ARGS)

clean: ## remove what `make` installed
	@rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage* *.egg-info
