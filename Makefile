# Every target works on a fresh machine with Python 3.11 or newer, make and git.
# Variables: PYTHON, PORT, HOST, DATA_DIR and the others of README.md; ARGS goes to pytest or the benchmarks.

PYTHON ?= python3
bootstrap = @$(PYTHON) -m bootstrap

.DEFAULT_GOAL := help
.PHONY: help run setup test lint format bench bench-peers chaos lock clean

help: ## show the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

run: ## install what is missing and serve on http://127.0.0.1:8000
	$(bootstrap) run

setup: ## everything of run but the start
	$(bootstrap) setup

test: ## run the whole suite; ARGS="-k room" runs a part
	$(bootstrap) test $(ARGS)

lint: ## ruff, mypy, import contracts, TypeScript, formatting
	$(bootstrap) lint

format: ## let ruff format and fix what it can
	$(bootstrap) format

bench: ## measure this machine; results go to benchmarks/results/
	$(bootstrap) bench $(ARGS)

bench-peers: ## measure beside workerd, Channels, ws, Redis and Django; ARGS="workerd --rounds 1"
	$(bootstrap) bench-peers $(ARGS)

chaos: ## let faults strike under load and check every promise; SECONDS=60 SEED=1 FAULTS=kill-worker,drain
	$(bootstrap) chaos $(if $(SECONDS),--seconds=$(SECONDS)) $(if $(SEED),--seed=$(SEED)) $(if $(FAULTS),--faults=$(FAULTS)) $(ARGS)

lock: ## compile the requirements from the ranges in pyproject.toml
	$(bootstrap) lock

clean: ## remove what setup made; keeps data (var/)
	rm -rf .venv .setup staticfiles static/dist frontend/node_modules benchmarks/peers/*/node_modules benchmarks/peers/*/site-packages
