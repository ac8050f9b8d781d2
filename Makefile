# Two commands do everything: `make demo` and `make test`. Both make .venv first where it is missing or outdated.
PYTHON := .venv/bin/python
SUITE_DATA ?= ../shared/data
WORKDIR ?= build
export TF_CPP_MIN_LOG_LEVEL ?= 3
export SUITE_DATA

.PHONY: help venv demo test test-all lint data benchmark tensorboard bazel
help:
	@echo "make demo [IMAGES=folder]   digits, or your own images (PATTERN=regex), to a served answer; build/demo/report.html"
	@echo "make test                   the quick tests"
	@echo "make test-all               the long ones too"
	@echo "make lint                   ruff"
	@echo "make data                   writes the sets found in SUITE_DATA ($(SUITE_DATA)) to build/data"
	@echo "make benchmark [NAME=M8]    speed beside peers, which get an environment of their own; JSON lines"
	@echo "make bazel                  the quick tests by Bazel"
	@echo "make tensorboard            shows every run below WORKDIR ($(WORKDIR))"

venv:
	@sh tools/venv.sh

demo: venv
	@$(PYTHON) -m demo $(if $(IMAGES),"--images=$(IMAGES)") $(if $(PATTERN),'--pattern=$(PATTERN)')

test: venv
	@$(PYTHON) -m pytest -q -n 2 --dist loadfile -m "not slow" $(ARGS)

test-all: venv
	@$(PYTHON) -m pytest -q -n 2 --dist loadfile $(ARGS)

lint: venv
	@$(PYTHON) -m ruff check .

data: venv
	@$(PYTHON) -m tools.data

benchmark: venv
	@$(PYTHON) -m benchmarks.run $(if $(NAME),--name=$(NAME),--all) $(ARGS)

bazel: venv
	@sh tools/bazel.sh $(ARGS)

tensorboard: venv
	@$(PYTHON) -m tensorboard.main --logdir=$(WORKDIR)
