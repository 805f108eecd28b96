# The commands of this project. `make` alone lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules --no-print-directory

target := $(or $(CARGO_TARGET_DIR),target)
export PATH := $(CURDIR)/.tools/bin:$(PATH)
# The queries were checked when they were written (.sqlx/): building needs no database, whatever .env says.
export SQLX_OFFLINE := true

# Only what is given is passed on: the defaults are the server's own (`flashsale serve --help`).
serve_flags := $(if $(LISTEN),--listen $(LISTEN)) $(if $(STOREFRONT_LISTEN),--storefront-listen $(STOREFRONT_LISTEN)) \
	$(if $(DATA_DIR),--data-dir $(DATA_DIR))

compose := docker compose --env-file deploy/compose.env

.PHONY: help setup run build web wasm packages test check lint chaos mutants bench figures shots fuzz fuzz-api conformance million rolling-restart rolling-versions restore-drill queries docs up down clean

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  make run LISTEN=127.0.0.1:9000 STOREFRONT_LISTEN=127.0.0.1:9001 DATA_DIR=/tmp/sale"
	@echo "  make test PARTS=\"rust web browser draw queue rush purchases chaos\" FILTER=reserve"
	@echo "  make bench SHOPPERS=5000 STOCK=500"

run: setup web ## Set up, build, and serve demo sales with a private Redis and Postgres; Ctrl-C stops it all
	@[ -e $(target)/release/flashsale ] || echo "server: building for the first time; this takes some minutes"
	@cargo build --release --locked --package flashsale
	@exec $(target)/release/flashsale serve --dev --demo $(serve_flags) $(ARGS)

test: ## Set up, and run every test: Rust, web, browser
	@scripts/setup --test
	@PARTS="$(PARTS)" FILTER="$(FILTER)" scripts/test

shots: setup wasm ## Pictures of every state of the widget, in both themes, three sizes, English and Arabic; web/test-results/shots/index.html
	@CHROMIUM=$$(scripts/browser) npm --prefix web run --silent shots

check: setup ## Quick checks: formatting, lints, types, house rules, unit tests
	@scripts/check

lint: setup wasm ## Formatting, clippy, types, shell scripts, licences
	@scripts/lint

chaos: setup ## Break everything for MINUTES from SEED, and check every invariant; target/bench/chaos-SEED.json
	@mkdir -p target/bench
	cargo run --release --locked --package loadtest -- chaos --seed $(or $(SEED),1) --minutes $(or $(MINUTES),1) \
		--json target/bench/chaos-$(or $(SEED),1).json $(ARGS)

mutants: setup ## Run servers with one deliberate defect each; the checks must notice every one
	@scripts/mutants $(ARGS)

bench: setup ## Measure a rush (SHOPPERS for STOCK units), what a purchase costs, a moving line, watching (SOCKETS), floods, a draw, ENTRIES in line, orders, scripts; target/bench/index.html and *.json
	@mkdir -p target/bench
	cargo run --release --locked --package loadtest -- rush \
		--shoppers $(or $(SHOPPERS),5000) --stock $(or $(STOCK),500) --json target/bench/rush.json $(ARGS)
	cargo run --release --locked --package loadtest -- rush --shoppers 4000 --stock 1000 --line-s 30 --json target/bench/line.json
	cargo run --release --locked --package loadtest -- purchases --direct --lanes 1,4,16 --json target/bench/purchases.json
	cargo run --release --locked --package loadtest -- purchases --rate 200,400,800 --json target/bench/purchases-by-rate.json
	cargo run --release --locked --package loadtest -- watch --sockets $(or $(SOCKETS),10000) --json target/bench/watch.json
	cargo run --release --locked --package loadtest -- draw --json target/bench/draw.json
	cargo run --release --locked --package loadtest -- attack --json target/bench/attack.json
	cargo run --release --locked --package loadtest -- queue --entries $(or $(ENTRIES),10000000) --json target/bench/queue.json
	cargo run --release --locked --package loadtest -- bench --out target/bench

figures: setup web ## Measure the pages: first paint on a slow phone, clicks, the main thread, memory over MINUTES (3), Lighthouse; target/bench/pages.json
	@[ -e $(target)/release/flashsale ] || [ -e $(target)/debug/flashsale ] || cargo build --locked --package flashsale
	@CHROMIUM=$$(scripts/browser) MINUTES=$(or $(MINUTES),3) node web/figures/measure.mjs target/bench/pages.json

fuzz: ## Feed the gateway's frame path with a fuzzer's bytes, MINUTES (10) for each target; needs cargo-fuzz
	@MINUTES=$(MINUTES) scripts/fuzz

fuzz-api: setup ## Ask every REST operation with made-up requests, as everybody who may ask; no server error, no answer that is not described
	@scripts/fuzz-api

conformance: ## Test the gateway's frame path with Autobahn's WebSocket cases; needs PYTHON2 with autobahntestsuite
	@scripts/conformance

million: setup ## Run a million shoppers (SOCKETS) on this machine until the last unit is sold; needs root, 16 GiB and some minutes; target/bench/million.json
	@mkdir -p target/bench
	cargo run --release --locked --package loadtest -- million --sockets $(or $(SOCKETS),1000000) --json target/bench/million.json $(ARGS)

rolling-restart: setup ## Restart two gateways one after the other during a rush; no command, place or hold may be lost; target/bench/rolling.json
	@mkdir -p target/bench
	cargo run --release --locked --package loadtest -- rush --rolling \
		--shoppers $(or $(SHOPPERS),2000) --stock $(or $(STOCK),1000) --json target/bench/rolling.json $(ARGS)

rolling-versions: setup ## Replace servers of commit BEFORE by today's during a rush, and some back again; nothing may be lost or counted twice; target/bench/versions.json
	@scripts/rolling-versions $(or $(BEFORE),HEAD~1) $(ARGS)

restore-drill: build ## Back Postgres up, kill it, restore it to an earlier moment (or MODE=promote a standby that is behind), and recover
	@scripts/restore-drill

queries: ## After a change to SQL: check the queries against migrations/ and write .sqlx
	@scripts/prepare-queries

docs: setup ## After a change to a message, body, code or flag: write docs/asyncapi.yaml, .env.sample and the pages' types
	@UPDATE_DOCS=1 cargo test --quiet --locked --workspace --all-targets -- the_committed_file the_sample_of
	@git status --short docs .env.sample web/src/client

build: setup web ## Build everything for release
	@cargo build --release --locked --workspace

up: ## Start two gateways, a worker, Redis, Postgres and a load balancer with docker compose
	@scripts/compose-env
	@$(compose) up --build --detach --wait

down: ## Stop the containers of `make up`; the data stays
	@$(compose) down

setup: ## Install what is missing on this machine
	@scripts/setup

packages: setup ## Build the npm packages flashsale-client and flashsale-widget; web/packages-out/*.tgz
	@scripts/build-packages

web: wasm ## Build the pages
	@scripts/build-web

wasm: ## Build the browser client
	@scripts/build-wasm

clean: ## Remove build results; data (.data) and tools (.tools) stay
	@rm -rf $(target) web/dist web/dist-storefront web/packages-out web/src/wasm web/test-results
