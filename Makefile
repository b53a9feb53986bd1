# make demo        trains a small detector on rendered shapes and evaluates it
# make test        runs the tests and prints the ten slowest
# make help        lists the rest
#
# Nothing has to be installed before except Python 3.11 to 3.13 and make: each target creates a virtual environment and
# installs what it needs. PYTHON=python3.13 selects another interpreter, which gets an environment of its own.

PYTHON ?= python3
VENV ?= .venv$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
WORKERS ?= 2
RUN := $(VENV)/bin/python
READY := $(VENV)/.installed
PIP := $(RUN) -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help install demo demo-clean test slow check format bench clean
# A target whose recipe fails or is interrupted is deleted, so no half-finished installation passes for a finished one.
.DELETE_ON_ERROR:

help:
	@echo "make demo        train a small detector on rendered shapes, then evaluate it (again: evaluates the same run)"
	@echo "make demo-clean  forget the run of the demo"
	@echo "make test        run the tests"
	@echo "make slow        run the tests that take long"
	@echo "make check       lint, formatting and types"
	@echo "make format      mend what lint and formatting can mend"
	@echo "make bench       time everything on this machine (an hour or so) and write it into docs/performance.md"
	@echo "make install     only create $(VENV) and install into it"
	@echo "make clean       delete caches and build products; runs/ and environments stay"
	@echo "WORKERS=4 with the tests: so many processes; PYTHON=python3.13 with any of them selects another interpreter"

install: $(READY)

# The environment is made anew only if it is missing or broken (its interpreter gone, pip half installed).
$(READY): requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; \
	  v < (3, 11) and sys.exit("make: Python 3.11 to 3.13 is needed, but $(PYTHON) is %d.%d; choose another, as in: make PYTHON=python3.12" % v); \
	  v > (3, 13) and print("make: warning: Python %d.%d is newer than the newest tested, 3.13" % v)'
	@rm -f $(READY)
	@$(RUN) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "installing into $(VENV) (about 1.5 GB, once)"
	@$(PIP) install -q -r requirements-dev.txt
	@touch $(READY)

demo: $(READY)
	$(RUN) train.py --config=configs/ssd_demo.py --workdir=runs/demo
	$(RUN) evaluate.py --ckpt=runs/demo --report

demo-clean:
	rm -rf runs/demo

# A file's tests stay together, because they share what is expensive to make; the order of files is that of the folder.
test: $(READY)
	$(RUN) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

slow: $(READY)
	$(RUN) -m pytest -m slow

check: $(READY)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m pyright --pythonpath $(RUN)

format: $(READY)
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

bench: $(READY)
	PYTHON=$(RUN) benchmarks/all.sh

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +
