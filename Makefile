# make run | test | bench | docs ...   `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
RELEASE := $(TARGET)/release
DIST := dashboard/dist/index.html
DASHBOARD_SOURCES := $(shell find dashboard -path dashboard/node_modules -prune -o -path dashboard/dist -prune -o -type f -print)

.PHONY: help run demo test bench chaos build engine dashboard check unit screenshot fuzz soak simulate clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | column -t -s $$'\t'

run: build engine ## build what is missing, then collector, agent on this host and dashboard on http://127.0.0.1:7480
	@scripts/run.sh $(RELEASE)

demo: build engine ## the closed loop on real servers, two acts of about three and four minutes: a Redis (ACT=cache), 16 HAProxys and 8 Envoys (ACT=balance)
	@scripts/demo.sh $(RELEASE)

test: ## install what the tests need and run all of them
	@scripts/test.sh

bench: build engine ## every benchmark as a table (about three and a half hours, one of them for what observing costs; QUICK=1 about 30 minutes)
	@scripts/bench.sh $(RELEASE)

chaos: build engine ## 1,000 faults on real processes, every sample compared (about 30 minutes; FAULTS=n, FLYBALL_CHAOS_SEED=n)
	@scripts/chaos.sh $(RELEASE)

build: $(DIST) ## the release binaries with the dashboard inside
	$(CARGO) build --release --locked --workspace --bins

dashboard: $(DIST) ## the dashboard's files

$(DIST): $(DASHBOARD_SOURCES)
	@scripts/need.sh node
	cd dashboard && npm ci --no-audit --no-fund && npm run build

engine: build ## fetch the embedded ClickHouse once into the cache directory
	@$(RELEASE)/flyball-collector engine fetch

check: ## format, lints, docs, dependency policy, size limits: what needs no server
	@scripts/check.sh

screenshot: build engine ## make docs/dashboard.png again
	@scripts/screenshot.sh $(RELEASE)

fuzz: ## fuzz the frame decoder for FLYBALL_FUZZ_SECONDS (default 300)
	FLYBALL_FUZZ_SECONDS=$${FLYBALL_FUZZ_SECONDS:-300} $(CARGO) nextest run --release -p flyball-proto fuzz

soak: ## simulate agents, collectors and the store with new seeds for FLYBALL_SOAK_SECONDS (default 600)
	FLYBALL_SOAK_SECONDS=$${FLYBALL_SOAK_SECONDS:-600} $(CARGO) nextest run --release -p flyball-sim --no-capture soak

simulate: ## the weight law beside others in a simulated pool, as a table and docs/balance-simulation.svg (about 2 minutes)
	@$(CARGO) run --quiet --locked -p flyball-balance-sim -- docs/balance-simulation.svg

clean: ## remove what was built
	$(CARGO) clean
	rm -rf dashboard/dist dashboard/node_modules
