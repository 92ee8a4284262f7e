# Targets for people and for CI. `make help` lists them.
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

bin := .venv/bin
unit_tests := tests/unit tests/contract monitoring/tests tests/storage tests/red
molecule_tests := tests/molecule
cluster_tests := tests/lab tests/cluster tests/sites
# pytest's own name for a directory's tests is shown with the duration of the slowest.
pytest := $(bin)/pytest --durations=10

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Install what this machine lacks for a lab; .venv/bin/hapacs is there afterwards
	@sh pulumi/setup/setup.sh

.PHONY: dev
dev: ## Make .venv for linters and tests without nodes: no root, no containers, no engine, no Debian packages
	@sh pulumi/setup/environment.sh

.PHONY: lab
lab: setup ## Bring up a complete three-node site on this machine and verify it
	@$(bin)/hapacs up lab

.PHONY: down
down: ## Remove the lab and everything it made
	@$(bin)/hapacs down lab --yes

.PHONY: test
test: setup static ## What CI checks: static checks, and all tests but those marked `long` (over an hour on two cores)
	@$(pytest) -m "not long" $(unit_tests) $(molecule_tests) $(cluster_tests)

.PHONY: lint
lint: dev static ## Static checks: style, types, playbooks, shell, locks (minutes)

.PHONY: unit
unit: dev ## Tests without nodes: settings, contract, components, plugins, storage (minutes)
	@$(pytest) $(unit_tests)

.PHONY: molecule
molecule: setup ## Each role on a node of its own
	@$(pytest) $(molecule_tests)

.PHONY: drills
drills: ## Break the lab on purpose, one fault after the other, and check every image (about two hours)
	@$(bin)/hapacs drill run --all --deployment lab

.PHONY: cluster
cluster: setup ## Labs of their own, end to end: up, verify, bad input, faults, operations, down, other sites (two hours)
	@$(pytest) $(cluster_tests)

.PHONY: conformance
conformance: setup ## Clients of others against the lab that is up: seven, in C, C++, Java, JavaScript and Python; writes docs/conformance-results.md
	@sh pulumi/setup/packages.sh default-jdk-headless libpixelmed-java odil
	@command -v npm >/dev/null || sh pulumi/setup/packages.sh npm
	@npm ci --prefix tests/conformance/clients --ignore-scripts --no-audit --no-fund --silent
	@$(bin)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements/conformance.txt
	@HAPACS_CONFORMANCE_RESULTS=docs/conformance-results.md $(pytest) tests/conformance

.PHONY: browser
browser: setup ## Viewer and status page in a real browser; the viewer against the lab that is up (installs Chromium)
	@sh pulumi/setup/packages.sh chromium libnss3-tools
	@$(pytest) monitoring/tests/page tests/browser

.PHONY: lock
lock: dev ## Lock the newest versions that requirements/*.in permits, with hashes
	@sh pulumi/setup/lock.sh

.PHONY: static
static:
	@sh pulumi/setup/lint.sh

.PHONY: clean
clean: ## Remove generated files inside the tree (deployments and caches outside of it stay)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .ansible build pulumi/hapacs.egg-info plugins/*.egg-info plugins/build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
