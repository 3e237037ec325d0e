# Everything a contributor runs. `make` alone prints what there is.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --warn-undefined-variables --no-builtin-rules
# Container images like to switch byte code off. Every process of a test would compile all that it imports,
# and pytest rewrite the asserts of every file again: half of the time of the unit tests.
export PYTHONDONTWRITEBYTECODE :=

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
PYTEST := $(BIN)/python -m pytest
IN_PARALLEL := --numprocesses=auto --dist=worksteal
SPAM := examples/spam
PANDA := examples/panda
PAGES := examples/webapp/page examples/panda/client.mjs tests/e2e/browser_agent.mjs tests/wire/grpc_js_client.mjs
JS := clients/js
JS_READY := $(JS)/node_modules/.ready
JS_BUILT := $(JS)/dist/.built
JS_BIN := $(JS)/node_modules/.bin
WEBAPP := examples/webapp
WEBAPP_BUILT := $(WEBAPP)/build/app.js

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(READY) ## Install everything into .venv

$(READY): pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "sigrun needs Python 3.11 or newer: make PYTHON=python3.12"; exit 1; }
	@echo "Setting up .venv; TensorFlow is some 600 MB, so the first time takes a while."
	@$(PYTHON) -m venv .venv || \
	  { echo "On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --upgrade uv
	$(BIN)/uv sync --locked --inexact
	@touch $@

$(JS_READY): $(JS)/package.json $(JS)/package-lock.json
	cd $(JS) && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

.PHONY: js
js: $(JS_BUILT) ## Build the JavaScript client into clients/js/dist

$(JS_BUILT): $(JS_READY) $(shell find $(JS)/src -type f)
	cd $(JS) && rm -rf dist && npm run --silent build
	@touch $@

$(WEBAPP_BUILT): $(JS_BUILT) $(WEBAPP)/bundle $(shell find $(WEBAPP)/page -name '*.js')
	$(WEBAPP)/bundle

.PHONY: serve
serve: $(READY) ## Train the e-mail classifier once, serve three versions of it
	@$(BIN)/python -m examples.spam.prepare
	@$(BIN)/python -m examples.spam.commands & \
	  exec $(BIN)/sigrun serve --model_config_file=$(SPAM)/build/models.config

.PHONY: panda
panda: $(READY) ## Make the image classifiers once, serve two versions of each
	@$(BIN)/python -m examples.panda.prepare
	@$(BIN)/python -m examples.panda.commands & \
	  exec $(BIN)/sigrun serve --model_config_file=$(PANDA)/build/models.config

.PHONY: webapp
webapp: $(READY) $(WEBAPP_BUILT) ## The same with a web page that asks them
	@$(BIN)/python -m examples.panda.prepare
	@$(BIN)/python -m examples.webapp.serve & \
	  exec $(BIN)/sigrun serve --model_config_file=$(PANDA)/build/models.config \
	    --rest_api_enable_cors_support

.PHONY: replicas
replicas: $(READY) ## Serve the e-mail classifier from three servers behind Envoy, on port 8500
	@$(BIN)/python -m examples.spam.prepare
	@exec $(BIN)/python -m examples.replicas --model_config_file=$(SPAM)/build/models.config

.PHONY: test
test: test-unit test-real test-js ## Run every test

.PHONY: test-unit
test-unit: $(READY) ## Run the tests that need no TensorFlow and no network
	$(PYTEST) tests/unit $(IN_PARALLEL)

.PHONY: test-real
test-real: $(READY) $(WEBAPP_BUILT) chromium ## Run the tests with sockets, real models and real clients
	@$(BIN)/python -m examples.spam.prepare
	@$(BIN)/python -m examples.panda.prepare
	$(PYTEST) tests --ignore=tests/unit --numprocesses=auto --dist=loadfile --durations=30

.PHONY: reliability
reliability: $(READY) ## The long form of tests/reliability, which prints figures
	SIGRUN_RELIABILITY=long $(PYTEST) tests/reliability -s

.PHONY: fuzz
fuzz: $(READY) ## The long form of the property-based tests, with new examples on every run
	SIGRUN_FUZZ=long $(PYTEST) tests/unit tests/clients/python $(IN_PARALLEL) --timeout=900

# A browser where Debian's packages can be had; without one its tests say that they are skipped.
.PHONY: chromium
chromium:
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  apt-get update -qq && apt-get install -qq --no-install-recommends chromium >/dev/null; } || \
	  echo "There is no Chromium, and no way to install it here: tests in a page are skipped."

.PHONY: test-js
test-js: $(READY) $(JS_BUILT) chromium ## Run the JavaScript client's tests, in Node and in Chromium
	cd $(JS) && npm test --silent

.PHONY: check
check: $(READY) $(JS_BUILT) breaking docs ## Lint, check types, generated code, the contract and the documentation
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(JS_BIN)/tsc -p examples/webapp
	$(JS_BIN)/biome ci --config-path=$(JS) --diagnostic-level=error $(PAGES)
	$(BIN)/python proto/generate.py --check
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	$(BIN)/uv lock --check
	$(BIN)/python release/version.py --check
	cd $(JS) && npm run --silent check

.PHONY: wheel-check
wheel-check: $(READY) ## Install the wheel with the newest and the lowest dependencies, serve, ask
	tests/packaging/check_wheel

.PHONY: release-check
release-check: $(READY) $(JS_BUILT) ## Build what a release publishes, check it, call a server with it
	tests/packaging/check_release

.PHONY: version
version: $(READY) ## Write the version in pyproject.toml wherever else it stands
	$(BIN)/python release/version.py
	$(BIN)/uv lock
	$(MAKE) manifests

.PHONY: breaking
breaking: $(READY) ## Compare the contract with the last commit on main
	@old=$$(git rev-parse --verify --quiet main || git rev-parse --verify --quiet origin/main || \
	    git rev-parse HEAD); \
	  folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	  git archive "$$old" proto buf.yaml | tar -x -C "$$folder"; \
	  echo "buf breaking --against the contract of $$old"; \
	  $(BIN)/buf breaking --against "$$folder"

.PHONY: format
format: $(READY) $(JS_READY) ## Format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/buf format --write
	$(JS_BIN)/biome check --write --config-path=$(JS) $(PAGES)
	cd $(JS) && npm run --silent format

.PHONY: generate
generate: $(READY) $(JS_READY) ## Generate the code of server and clients from proto/
	$(BIN)/python proto/generate.py

.PHONY: docs
docs: $(READY) ## Build the documentation into .cache/site, and check its links
	$(BIN)/python -m docs.generate --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

.PHONY: reference
reference: $(READY) ## Write the pages of docs/reference that say what the code says
	$(BIN)/python -m docs.generate

.PHONY: manifests
manifests: $(READY) ## Render deploy/kubernetes/sigrun.yaml from the chart
	$(BIN)/python deploy/helm/render.py deploy/kubernetes/values.yaml > deploy/kubernetes/sigrun.yaml

.PHONY: clean
clean: ## Remove everything that is not in git
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache dist $(SPAM)/build \
	  $(PANDA)/build $(WEBAPP)/build $(JS)/node_modules $(JS)/dist $(JS)/build
