# Each target first makes the environment .venv, or completes it.

# The interpreter to make it with; bootstrap.py looks for a better one when this will not do.
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,$(shell command -v $(name))))
# What to give pytest, for instance `make test PYTEST_ARGS="-k postgres"`.
PYTEST_ARGS ?= -n auto --dist loadgroup

.PHONY: help run test environment

help:
	@echo "make run    SoloBoard on this machine, with all it needs, until Ctrl-C"
	@echo "            (PORT and QSTASH_DEV_PORT change its ports 8000 and 8080)"
	@echo "make test   ruff, mypy and all tests, against servers of their own"
	@echo "PYTHON=/path/to/python3.12 chooses the interpreter, for the first time."

run: environment
	@.venv/bin/python -m soloboard.local

test: environment
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy .
	.venv/bin/python -m pytest $(PYTEST_ARGS)

environment:
	$(if $(PYTHON),,$(error No Python found: install Python 3.11, 3.12 or 3.13, or name it with PYTHON=/path/to/python3))
	@$(PYTHON) bootstrap.py
