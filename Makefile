# `make demo` and `make test` need make, Python 3.11 or newer with venv, and nothing else.

PYTHON ?= python3
TORCH_INDEX ?=# where pip finds torch, and torch alone; empty: where pip looks anyway
WORKERS ?= auto
TORCH := $(shell sed -n 's/^torch==//p' constraints.txt)
BIN := .venv/bin
STAMP := .venv/installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow check bench results

help: ## show what there is to make
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1 - \2/p' Makefile | awk -F ' - ' '{ printf "%-16s %s\n", $$1, $$2 }'

install: $(STAMP) ## make .venv with the pinned dependencies, torch first; done once, again when they change

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) > /dev/null || { \
		echo "$(PYTHON) is not here: install Python 3.11 or newer, or name one: make install PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$$($(PYTHON) --version) is too old: Armillary needs 3.11 or newer. Name one: make install PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || { \
		echo "$$($(PYTHON) --version) comes without venv: on Debian and Ubuntu run: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==$(TORCH)
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[data,video,envs,dev]'
	@$(BIN)/python -c 'import pathlib, torch; \
		files = pathlib.Path(torch.__path__[0]).rglob("*"); \
		size = sum(f.stat().st_size for f in files if f.is_file()) / 1e9; \
		print(f"torch {torch.__version__}, {size:.1f} GB;", "for CUDA " + torch.version.cuda if torch.version.cuda else "for CPUs")'
	@touch $@

demo: install ## learn a world from pixels, measure the model, plan with it, write runs/demo/report.html
	$(BIN)/armillary demo

test: install ## the tests, in a few minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 --dist worksteal

test-slow: install ## the tests that learn or fail for a long time
	$(BIN)/python -m pytest -m slow

check: install ## style, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright

bench: install ## speed and memory; benchmarks of data need folders, see each file
	@for name in allocator coverage envs planning prefix step views; do \
		echo "benchmarks/$$name.py"; $(BIN)/python benchmarks/$$name.py || exit 1; done

results: install ## the pages of docs/results, from the rows beside them
	@for rows in docs/results/*.jsonl; do \
		$(BIN)/armillary bench images --rows $$rows --markdown $${rows%.jsonl}.md --out runs/results/$$(basename $$rows .jsonl) || exit 1; done
