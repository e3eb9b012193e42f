# The InstructRec book. `make help` lists the targets; `make book` and `make test` work on a fresh clone.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

RUN := .venv/bin/python
# A notebook's numbers must not depend on who runs it: one kernel of the environment, quiet TensorFlow, no user settings.
export TF_CPP_MIN_LOG_LEVEL ?= 2
export TF_ENABLE_ONEDNN_OPTS ?= 0
export JUPYTER_PLATFORM_DIRS := 1
export PYTHONNOUSERSITE := 1
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help
help:  ## this list
	@awk 'BEGIN {FS = ":.*##"} /^[a-zA-Z0-9_-]+:.*##/ {printf "  make %-15s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup:  ## the locked environment in .venv, MathJax, Mermaid and axe; book and test do this by themselves
	@tools/set_up.sh
	@$(RUN) -m tools.fetch_assets

.PHONY: book
book: setup  ## build the HTML book, _build/html/index.html, from the stored outputs (EXECUTE=1 executes every chapter)
	@$(RUN) -m tools.build_book $(if $(EXECUTE),--execute)

.PHONY: fresh-html
fresh-html: setup  ## build the HTML again even if nothing has changed
	@$(RUN) -m tools.build_book --force

.PHONY: test
test: setup  ## everything: lint, types, package tests, notebooks compared strictly, HTML in a browser (TIMES=1: what takes long)
	@$(RUN) -m tools.run_tests $(if $(TIMES),--times)

.PHONY: test-fast
test-fast: setup  ## the quick tests of the package, set-up and notebooks' form: no notebook, no browser, nothing slow
	@$(RUN) -m pytest -n 2 -m "not browser and not slow"

.PHONY: test-package
test-package: setup  ## all tests that need neither a browser nor a notebook's execution, two at a time
	@$(RUN) -m pytest -n 2 -m "not browser"

.PHONY: test-notebooks
test-notebooks: setup  ## execute every chapter again and compare each output with the stored one
	@$(RUN) -m tools.check_notebooks

.PHONY: test-html
test-html: setup  ## build the HTML book and look at each page in a browser
	@$(RUN) -m tools.browser
	@$(RUN) -m tools.build_book
	@$(RUN) -m pytest tests/book/test_html.py -m browser -p no:randomly -n 2 --dist load

.PHONY: prove
prove: setup  ## the slow proofs: 10,000 examples for each property
	@HYPOTHESIS_PROFILE=thorough $(RUN) -m pytest tests/instructions/test_instruction_properties.py \
		-p benchmarks.properties --hypothesis-show-statistics

.PHONY: peers
peers: setup  ## measure against RecBole, RecTools, ranx and LensKit, in environments of their own (half an hour)
	@$(RUN) -m benchmarks.peers.environments
	@$(RUN) -m benchmarks.ranking_speed
	@$(RUN) -m benchmarks.parity

.PHONY: tune
tune: setup  ## search the settings of every baseline, 12 or 36 trials each (MODELS="ease als" for some); goes on where cut off
	@$(RUN) -m benchmarks.tuning $(if $(MODELS),--models $(MODELS))

.PHONY: baselines
baselines: setup  ## measure every baseline on MovieLens-100K; tables and figures under _build/report
	@$(RUN) -m benchmarks.baselines $(ARGS)

.PHONY: mini
mini: setup  ## train mini with three seeds and measure what it follows, beside SASRec filtered (half an hour)
	@$(RUN) -m benchmarks.mini $(ARGS)

.PHONY: reproduce
reproduce: setup  ## train the shipped mini again and compare its figures with data/mini/figures.json (ten minutes)
	@$(RUN) -m benchmarks.artefact

.PHONY: paper
paper: setup  ## the paper's tables on MovieLens-100K, with the models that `make mini` left
	@$(RUN) -m benchmarks.paper_tables $(ARGS)

.PHONY: newcomers
newcomers: setup  ## how mini ranks for items and users it never met (half an hour)
	@$(RUN) -m benchmarks.newcomers $(ARGS)

.PHONY: mini-ablation
mini-ablation: setup  ## what mini owes to its parts: each taken away or turned down (two hours; goes on where cut off)
	@$(RUN) -m benchmarks.mini_ablation $(ARGS)

.PHONY: mini-cost
mini-cost: setup  ## what mini costs: latency, throughput, speed beside matrix products, growth with the data
	@$(RUN) -m benchmarks.mini_cost $(ARGS)

.PHONY: mini-rival
mini-rival: setup  ## train mini and RecTools's SASRec in one run: when does ours reach their NDCG@10? (a quarter of an hour)
	@$(RUN) -m benchmarks.peers.environments rectools
	@$(RUN) -m benchmarks.parity --parts sasrec --learn-from train --ours mini --seeds 0 --out benchmarks/results/mini_rival.json

.PHONY: language-model
language-model: setup  ## what SmolLM2 costs, and that it is what llama.cpp runs: loading, parity, scoring (ten minutes)
	@TF_ENABLE_ONEDNN_OPTS=1 $(RUN) -m benchmarks.language_model $(ARGS)

.PHONY: smollm2
smollm2: setup  ## tune SmolLM2 on MovieLens-100K by LoRA, on all, half and a quarter of the users (one, half and a quarter of an hour)
	@TF_ENABLE_ONEDNN_OPTS=1 $(RUN) -m benchmarks.smollm2 tune $(ARGS)

.PHONY: smollm2-results
smollm2-results: setup  ## ask the models of `make smollm2`, untuned ones and baselines; order and memory too (an hour and a half)
	@TF_ENABLE_ONEDNN_OPTS=1 $(RUN) -m benchmarks.smollm2 measure $(ARGS)
	@$(RUN) -m benchmarks.claims

.PHONY: timings
timings: setup  ## time the parts of the package that have to be quick, on an idle machine (a minute)
	@$(RUN) -m benchmarks.timings $(ARGS)

.PHONY: lint
lint: setup  ## ruff (rules and format, notebooks too), one-way imports, names that say something, the map
	@echo "== ruff, imports, names =="
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@.venv/bin/lint-imports --no-cache --no-logo
	@$(RUN) -m tools.check_names
	@$(RUN) -m tools.draw_rooms --check

.PHONY: types
types: setup  ## mypy
	@echo "== mypy =="
	@$(RUN) -m mypy

.PHONY: format
format: setup  ## let ruff repair and format everything
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .

.PHONY: lab
lab: setup  ## open the chapters in JupyterLab
	@$(RUN) -m jupyterlab book

# The classroom, see assignments/README.md: NAME is the assignment, ARGS go to nbgrader (ARGS=--force does a thing again)
NAME := preprocessing
ARGS :=
NBGRADER := cd assignments && ../$(RUN) -m nbgrader

.PHONY: release
release: setup  ## the assignment as students get it, assignments/release/
	@$(NBGRADER) generate_assignment $(NAME) --force $(ARGS)

.PHONY: collect
collect: setup  ## take in what students sent, from assignments/downloaded/NAME/archive
	@$(NBGRADER) zip_collect $(NAME) --force $(ARGS)

.PHONY: grade
grade: setup  ## grade what was collected
	@$(NBGRADER) autograde $(NAME) $(ARGS)

.PHONY: classroom
classroom: setup  ## JupyterLab on the assignments; grade written answers there
	@cd assignments && ../$(RUN) -m jupyterlab

.PHONY: feedback
feedback: setup  ## a page for each student, assignments/feedback/, and grades.csv
	@$(NBGRADER) generate_feedback $(NAME) --force $(ARGS)
	@$(NBGRADER) export

.PHONY: execute
execute: setup  ## execute the committed notebooks in place (NB="book/faq.ipynb …" for some)
	@$(RUN) -m tools.execute_notebooks $(NB)

.PHONY: lock
lock:  ## resolve pyproject.toml into requirements.txt again (UPGRADE=1 takes the newest versions)
	@[ -x .venv/bin/python ] || tools/set_up.sh
	@tools/lock.sh
	@echo "run make book or make test: it makes .venv anew from the new lock"

.PHONY: clean
clean:  ## delete what was built and every cache, keep .venv and the fetched JavaScript
	@rm -rf _build .pytest_cache .mypy_cache .ruff_cache .hypothesis data/cache
	@find . \( -path ./.venv -o -path ./benchmarks/.peers \) -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -print0 | xargs -0 rm -rf

.PHONY: distclean
distclean: clean  ## delete everything that a fresh clone does not have
	@rm -rf .venv .venv-lock benchmarks/.peers book/_static/vendor tests/vendor instructrec.egg-info
