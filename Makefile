# Everything works as the first command on a fresh Debian machine with make, git and python3; `make` alone lists what there is.
PYTEST_ARGS ?=
BENCH_ARGS ?=
DEMO_ARGS ?=

BIN := .venv/bin
# Our programs, then the kubectl that the tests may have brought along, before whatever else is installed.
WITH_PATH := PATH="$(CURDIR)/$(BIN):$(CURDIR)/.cache/bin:$$PATH"
ROOT := $(filter 0,$(shell id -u))

.NOTPARALLEL:
.PHONY: help demo test lint check snap bench screenshots krew images clean can-demo build-native install-criu install-demo install-kubectl install-programs

help: ## List what make can do here
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' $(MAKEFILE_LIST) | expand -t 16

demo: can-demo .venv/.stamp install-criu install-demo ## Start a real worker cold, capture it, start another from the capture
	@$(WITH_PATH) $(BIN)/kubectl-chrek demo $(DEMO_ARGS)

test: .venv/.stamp build-native install-criu install-demo install-kubectl install-programs ## Run all tests; PYTEST_ARGS="tests/unit -x" picks some
	@$(WITH_PATH) $(BIN)/pytest -q -n auto --maxprocesses 4 $(PYTEST_ARGS)

lint: .venv/.stamp ## Check style, types and the layers between packages
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-cache >.venv/lint-imports.log || { cat .venv/lint-imports.log; exit 1; }

check: lint test ## Lint, then test

snap: .venv/.stamp ## Take the TUI's snapshots anew; look at the difference before you commit it
	@$(WITH_PATH) $(BIN)/pytest -q --snapshot-update tests/tui

bench: .venv/.stamp install-criu ## Capture and restore against plain CRIU on this machine; quiet it first (root; minutes)
	@$(BIN)/python benchmarks/restore.py $(BENCH_ARGS)

screenshots: .venv/.stamp ## Take the documentation's pictures of the TUI anew
	@$(WITH_PATH) $(BIN)/python benchmarks/tui_screenshots.py

krew: .venv/.stamp ## Make the plugin's archive for this platform and its manifest in dist/krew; PUBLISH=1: only the manifest, of all platforms
ifdef PUBLISH
	@$(BIN)/python -m release.krew --publish dist/krew
else
	@scripts/apt-install binutils
	@rm -rf dist/krew
	@$(BIN)/python -m release.freeze dist/krew
	@$(BIN)/python -m release.krew dist/krew
endif

images: .venv/.stamp ## Build the agent's and the operator's images as archives, with bills of materials, in dist/images (root; minutes)
	$(if $(ROOT),,$(error make images needs root, because it builds in a chroot: run it as root, or with sudo))
	@scripts/apt-install mmdebstrap
	@$(BIN)/python -m release.image dist/images agent operator

clean: ## Remove what make and the tools have put into this checkout
	@rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist snapshot_report.html
	@find . -name __pycache__ -prune -exec rm -rf {} +

can-demo:
	$(if $(filter Linux,$(shell uname -s)),,$(error make demo needs Linux, because CRIU does: run it on a Linux machine or VM))
	$(if $(ROOT),,$(error make demo needs root, because CRIU does: run it as root, or with sudo))
	$(if $(shell command -v apt-get),,$(error make demo needs apt-get, for torch, runc and CRIU: run it on Debian 12 or newer))
	@:

.venv/.stamp: pyproject.toml
	@scripts/install-venv
	@touch $@

# Without root a part may be impossible; its one line says so, and the tests that need it are skipped.
build-native install-criu install-demo install-kubectl install-programs:
	@scripts/$@ $(if $(ROOT),,|| true)
