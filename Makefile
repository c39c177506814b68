# Two commands on a fresh machine: `make quickstart` and `make test`. Each makes .venv by itself.
PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?= -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

bin := $(VENV)/bin
dependencies := setup.py $(wildcard requirements/*.txt)
pip_install = $(bin)/python -m pip install --disable-pip-version-check 'pip>=21.3' -e

.PHONY: help quickstart test lint check clean

help:
	@echo 'make quickstart  install, then train, test and draw the default model on synthetic people'
	@echo 'make test        install, then run the tests; some of them: make test PYTEST_ARGS="-k codec"'
	@echo 'make lint        install, then ruff, codespell, mypy and the import order'
	@echo 'make check       lint and test, as .ci/run does'
	@echo 'make clean       remove $(VENV)'
	@echo 'PYTHON=python3.12 chooses the interpreter that makes $(VENV).'

quickstart: $(VENV)/.installed
	$(bin)/python tools/train.py configs/quickstart.py

# One process per core with one thread each: the tensors of the tests are too small for a second thread to help. A file stays in one
# process, for the blocks of a page of documentation build on one another.
test: $(VENV)/.installed-tests
	OMP_NUM_THREADS=1 $(bin)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.installed-lint
	$(bin)/ruff format --check .
	$(bin)/ruff check .
	$(bin)/codespell
	$(bin)/mypy
	$(bin)/python -m pytest -q tests/test_layering.py

check: lint test

clean:
	rm -rf $(VENV)

# A stamp is older than what it depends on: install again. The interpreter is a link, its age says nothing: order only.
$(VENV)/.installed: $(dependencies) | $(bin)/python
	$(pip_install) .
	@touch $@

$(VENV)/.installed-tests: $(dependencies) | $(bin)/python
	$(pip_install) '.[tests]'
	@touch $@

$(VENV)/.installed-lint: $(dependencies) | $(bin)/python
	$(pip_install) '.[tests,lint]'
	@touch $@

$(bin)/python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo 'make: no `$(PYTHON)` on this machine; name another one: make PYTHON=/path/to/python3' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "make: mmpose_lite needs Python 3.10 or newer, $(PYTHON) is `$(PYTHON) -V 2>&1`; name another one: make PYTHON=python3.12" >&2; \
	  exit 1; }
	@echo 'Making $(VENV) and installing into it; torch is large, the first time takes minutes.'
	@$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); \
	  echo 'make: `$(PYTHON) -m venv` failed; on Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }
