# TradeML. Two commands matter: `make demo` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
ENV := . "$(TARGET)/tools/env.sh"
DEMO_ROOT ?= $${TRADEML_DEMO_ROOT:-$$HOME/trademl-demo}
PROGRAM := "$(TARGET)/debug/trademl"

.PHONY: help setup demo test drill damage workers storm pacing planted node clients readers mirror kills schedulers promises docs book fmt lint

help: ## Show this list
	@printf 'TradeML: from a bare Raspberry Pi and an SSD to a governed paper-trading book\n\n'
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\nVariables: CARGO_TARGET_DIR (where to build), TRADEML_DEMO_ROOT (where the demo puts its data; default ~/trademl-demo)\n'

setup: ## Check for compiler, cmake 3.28 and libclang, and install what is missing
	@.ci/setup

demo: setup ## Build, then run all six wizards on replayed real prices
	@$(ENV); cargo build --locked --workspace --all-targets
	@printf '\n==> The demo keeps its data in %s (run `make demo` again to continue after an interruption)\n\n' "$(DEMO_ROOT)"
	@$(ENV); exec $(PROGRAM) demo --root "$(DEMO_ROOT)"

test: setup ## Build and run every test, and print the totals
	@$(ENV); .ci/test

drill: setup ## Play 1,000 paper days against a faulty broker, with kills; print the counts as JSON (takes a long while)
	@$(ENV); cargo test --locked --workspace --test suite -- --ignored --nocapture a_thousand_paper_days

damage: setup ## Damage a drive a thousand times, heal it each time, and print what was found and healed as JSON (takes minutes)
	@$(ENV); cargo test --locked --workspace --test suite -- --ignored --nocapture a_thousand_damages

workers: setup ## Two workers on one root, killed and held still, a hundred times; print the counts as JSON (takes minutes)
	@$(ENV); cargo test --locked --workspace --test suite -- --ignored --nocapture a_hundred_rounds_of_two_workers

storm: setup ## Fill a drive, then live through 30 days of a storm; print calls, lateness, memory and bytes as JSON (takes minutes)
	@$(ENV); MALLOC_ARENA_MAX=1 cargo test --locked --workspace --test suite -- --ignored --nocapture --exact storm::thirty_days_of_storm

pacing: setup ## Share of each vendor's limit that is reached at 300 ms an answer, alone and beside a slow vendor, as JSON (takes minutes)
	@$(ENV); cargo build --locked --workspace --all-targets
	@$(ENV); $(PROGRAM) bench pacing --scale M --json

planted: setup ## Play the wizards on invented markets with and without an edge, and print the verdicts (takes minutes)
	@$(ENV); cargo test --locked --workspace --test suite -- --ignored --nocapture --test-threads 1 the_wizards_

node: ## Build the data node for a Raspberry Pi (no LightGBM): a stripped release binary
	@.ci/setup --node
	@$(ENV); cargo build --locked --release --package trademl --bin trademl --no-default-features --features node
	@ls -lh "$(TARGET)/release/trademl"

clients: setup ## Check the sandbox against the vendors' own Python clients (needs a network to install them)
	@$(ENV); cargo build --locked --workspace --all-targets
	@$(ENV); .ci/clients

readers: setup ## Read a drive, and ask its service, with other people's programs (DRIVE=DIR; needs a network to install them)
	@$(ENV); cargo build --locked --workspace --all-targets
	@$(ENV); .ci/readers $(DRIVE)

mirror: setup ## Copy a drive's registry to a real MLflow server and read it back (DRIVE=DIR; needs a network to install it)
	@$(ENV); cargo build --locked --workspace --all-targets
	@$(ENV); .ci/mirror $(DRIVE)

kills: setup ## Kill `trademl train` 50 times at random moments and compare what it makes (takes minutes)
	@$(ENV); cargo build --locked --workspace --all-targets
	@$(ENV); TRADEML=$(PROGRAM) .ci/kills

schedulers: setup ## Import and run the night's graph in Prefect and Airflow (needs a network to install them)
	@$(ENV); cargo build --locked --workspace --all-targets
	@$(ENV); .ci/schedulers

promises: setup ## Drive the program to see that what docs/promises.md says of the whole of it holds
	@$(ENV); cargo build --locked --workspace --all-targets
	@$(ENV); .ci/promises

docs: ## Rewrite the generated pages below docs/ from the code
	@.ci/setup
	@$(ENV); TRADEML_REGENERATE_DOCS=1 cargo test --locked --workspace up_to_date
	@$(ENV); cargo build --locked --workspace --all-targets
	@$(PROGRAM) docs docs

book: ## Build the book of docs/ (installs mdBook into the target folder when it is missing)
	@.ci/setup --node
	@$(ENV); .ci/book

fmt: ## Format the sources
	@cargo fmt --all

lint: setup ## Formatting and clippy's laws
	@$(ENV); cargo fmt --all --check
	@$(ENV); cargo clippy --locked --workspace --all-targets
