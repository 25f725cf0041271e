# What a contributor and a newcomer run. `make` alone lists it.
PYTHON ?= python3
BUDGET ?= 60s
BIN := .venv/bin
INSTALLED := .venv/installed

.DEFAULT_GOAL := help
.PHONY: help install check test test-gpu demo bench-tables bench-tables-peers bench-clock bench-scale bench-engine bench-doctor bench-cures bench-loop bench-images bench-series bench-series-peers bench-text bench-text-peers bench-search bench-search-peers bench-forecasts bench-augment bench-peers format clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

install: $(INSTALLED)  ## make .venv with titrant and all it needs, in pinned versions (PYTHON=python3.12 picks another Python)

# Making an environment that exists costs little and mends one whose making was interrupted.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Titrant needs Python 3.11 or newer, and '$(PYTHON)' is not one ($$($(PYTHON) --version 2>&1))." \
	       "Name one: make install PYTHON=python3.12" >&2; exit 1; }
	@echo "Installing into .venv. The first time takes some minutes, because PyTorch is large."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --editable '.[dev]' --constraint constraints.txt
	@touch $@

check: install  ## style, types and the order of imports
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check
	$(BIN)/python -m mypy
	$(BIN)/python -m pytest tests/test_layers.py

test: check  ## all that, then every test and every example in a docstring
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal --durations 15

test-gpu: install  ## what only a GPU can show (skipped where there is none)
	$(BIN)/python -m pytest tests/test_gpu.py -rs

demo: install  ## fit the sample table for a minute into ./demo-run (BUDGET=3m for longer)
	@rm -rf demo-run
	@sample=$$($(BIN)/python -c 'from titrant import samples; print(samples.path("adult"))') && \
	  set -x && $(BIN)/titrant fit "$$sample" --target income --budget $(BUDGET) --out demo-run
	@echo "The report is in $(CURDIR)/demo-run/report.html: open it in a browser."

bench-tables: install  ## compare on tables with boosted trees, RealMLP, TabM, AutoGluon, many hours (ARGS="--sets adult --budget 20" for less)
	$(BIN)/python benchmarks/tables.py $(ARGS)

bench-clock: install  ## measure how well budgets are kept, about half an hour (ARGS="--budgets 20 --tables all" for others)
	$(BIN)/python benchmarks/clock.py $(ARGS)

bench-scale: install  ## measure processes, Ray, shared studies, rows and members, about a quarter of an hour
	$(BIN)/python benchmarks/scale.py $(ARGS)

bench-engine: install  ## measure the population engine against other loops, about half an hour
	$(BIN)/python benchmarks/engine.py $(ARGS)

bench-doctor: install  ## put faults into healthy programs and let the doctor find them, about a quarter of an hour
	$(BIN)/python benchmarks/doctor/bench.py $(ARGS)
	$(BIN)/python benchmarks/doctor/overhead.py

bench-cures: install  ## cure sick recipes, and search at random for as long, about half an hour
	$(BIN)/python benchmarks/doctor/cures.py $(ARGS)

bench-loop: install  ## search with and without the doctor's remedies, about an hour
	$(BIN)/python benchmarks/closed_loop.py $(ARGS)

bench-images: install  ## compare on pictures with Keras, KerasTuner and the recipes of fastai and timm, about two hours
	$(BIN)/python benchmarks/images.py $(ARGS)

bench-series: install  ## compare on series with MiniRocket, MultiRocket-Hydra, InceptionTime and others, about ten hours
	$(BIN)/python benchmarks/series.py $(ARGS)

bench-forecasts: install  ## compare forecasts with the value of a day or a week ago and a linear model, five minutes
	$(BIN)/python benchmarks/forecasts.py $(ARGS)

bench-augment: install  ## compare the augmentation of pictures with kornia, albumentations, torchtransform, Pillow, half an hour
	$(BIN)/python benchmarks/augment.py $(ARGS)

bench-text: install  ## compare on texts with TF-IDF weights and fastText, about an hour
	$(BIN)/python benchmarks/text.py $(ARGS)

bench-search: install  ## compare the search alone with Optuna and SMAC on tabulated problems, hours (ARGS="--problems lcbench/3945")
	$(BIN)/python benchmarks/search.py $(ARGS)

bench-peers: install  ## make .venv-peers with the libraries that benchmarks compare with
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --requirement benchmarks/peers.txt --constraint constraints.txt

bench-tables-peers:  ## make .venv-peers-tables with the libraries that tables.py compares with
	$(PYTHON) -m venv .venv-peers-tables
	.venv-peers-tables/bin/python -m pip install --quiet --requirement benchmarks/peers-tables.txt

bench-series-peers:  ## make .venv-peers-series with the libraries that series.py compares with
	$(PYTHON) -m venv .venv-peers-series
	.venv-peers-series/bin/python -m pip install --quiet --requirement benchmarks/peers-series.txt

bench-text-peers:  ## make .venv-peers-text with the libraries that text.py compares with (fastText needs a C++ compiler)
	$(PYTHON) -m venv .venv-peers-text
	.venv-peers-text/bin/python -m pip install --quiet --requirement benchmarks/peers-text.txt

bench-search-peers:  ## make .venv-peers-search with the libraries that search.py compares with
	$(PYTHON) -m venv .venv-peers-search
	.venv-peers-search/bin/python -m pip install --quiet --requirement benchmarks/peers-search.txt

format: install  ## rewrite the code in the project's style
	$(BIN)/python -m ruff check --fix
	$(BIN)/python -m ruff format

clean:  ## remove what these targets made, .venv included
	rm -rf .venv .venv-peers .venv-peers-series .venv-peers-text .venv-peers-search .mypy_cache .ruff_cache .pytest_cache .hypothesis demo-run dist build
	find benchmarks src tests -name __pycache__ -type d -prune -exec rm -rf {} +
