# Everything starts here: `make demo` runs the main job, `make test` all tests. Both set up what they need.
# The environment is made once, and again when pyproject.toml changes.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEV_READY := $(VENV)/.ready-dev
# TGI's own client holds huggingface-hub below 1.0, so it and the older stack that it brings are tested apart.
OLDER := .venvs/text-generation
OLDER_READY := $(OLDER)/.ready
# s3fs holds packages below the newest, too.
STORES := .venvs/object-store
STORES_READY := $(STORES)/.ready

# The CPU build of torch: what the tiny synthesizer needs. With a GPU, install the build you want beforehand.
TORCH ?= torch==2.13.0

.PHONY: demo test soak lint clean

demo: $(READY)
	@mkdir -p demo
	@$(BIN)/python examples/pydoc_topics.py > demo/topics.jsonl
	$(BIN)/hub-instructpt augment demo/topics.jsonl --out demo/corpus --keep-column title --limit 32 --rows-per-shard 16

test: $(DEV_READY) $(OLDER_READY) $(STORES_READY) lint
	$(OLDER)/bin/python -m pytest tests/old_stack
	$(STORES)/bin/python -m pytest tests/object_store
	$(BIN)/python -m pytest -n 2 --dist loadgroup

# Half an hour and more: a run is killed five hundred times.
soak: $(DEV_READY)
	SOAK_KILLS=500 $(BIN)/python -m pytest -n 2 tests/test_kills.py

lint: $(DEV_READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --editable '.[local]'
	@touch $@

$(DEV_READY): $(READY)
	$(BIN)/python -m pip install --quiet --group dev
	@touch $@

$(OLDER_READY): pyproject.toml
	test -x $(OLDER)/bin/python || $(PYTHON) -m venv $(OLDER)
	$(OLDER)/bin/python -m pip install --quiet --upgrade pip
	$(OLDER)/bin/python -m pip install --quiet --editable '.[text-generation]' pytest pytest-timeout
	@touch $@

$(STORES_READY): pyproject.toml
	test -x $(STORES)/bin/python || $(PYTHON) -m venv $(STORES)
	$(STORES)/bin/python -m pip install --quiet --upgrade pip
	$(STORES)/bin/python -m pip install --quiet --editable . --group object-store
	@touch $@

clean:
	rm -rf $(VENV) .venvs demo build dist *.egg-info
