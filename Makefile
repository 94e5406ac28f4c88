# What to do with a checkout. On a fresh Debian machine with a Rust toolchain and apt, each target installs what it needs.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# Steps share one target folder and two databases: in order, whatever -j says.
.NOTPARALLEL:

export PATH := $(CURDIR)/.run/tools/bin:$(PATH)
STEP := @scripts/step
# Everything that is tested has the crash points compiled in, so that it is built once; what is shipped has not.
TESTED := --locked --features failpoints
# Words that say which suites of e2e and storm are wanted, such as ONLY="plain mariadb"; none: all.
ONLY ?=

.PHONY: help
help: ## Say what there is
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | while IFS=$$'\t' read -r name text; do printf '  make %-13s %s\n' "$$name" "$$text"; done

.PHONY: build
build: ## Build both programs as they would be shipped (target/release)
	@scripts/install.sh compiler
	$(STEP) "release build" scripts/build.sh

.PHONY: demo
demo: ## Show the main job on embedded defaults; ends by itself
	@scripts/install.sh compiler
	@cargo build --locked --bins
	@cargo run --locked --quiet --bin fairlead -- demo

.PHONY: test
test: lint databases ## Lints, then every test but the end-to-end ones
	$(STEP) "install: nginx and HAProxy" scripts/install.sh proxies
	$(STEP) "tests: build" cargo test $(TESTED) --no-run --lib --bins --test integration --test agents --test model
	$(STEP) "tests: library and programs" cargo test $(TESTED) --quiet --lib --bins
	$(STEP) "tests: integration" cargo test $(TESTED) --quiet --test integration
	$(STEP) "tests: channel, lifecycle, agent" cargo test $(TESTED) --quiet --test agents
	$(STEP) "install: schemathesis" scripts/install.sh schemathesis
	$(STEP) "tests: the API against its document" cargo test $(TESTED) --quiet --test agents -- --ignored --nocapture schemathesis
	$(STEP) "tests: models of the mirror's protocol and of dispatch" cargo test $(TESTED) --quiet --test model
	$(STEP) "tests: examples in the documentation" cargo test $(TESTED) --quiet --doc

.PHONY: lint
lint: ## Format, clippy with warnings denied, dependencies
	$(STEP) "install: compiler" scripts/install.sh compiler
	$(STEP) "install: lints" scripts/install.sh lints
	$(STEP) "rustfmt" cargo fmt --check
	$(STEP) "rustfmt: fuzz targets" cargo fmt --check --manifest-path fuzz/Cargo.toml
	$(STEP) "clippy" cargo clippy --locked --all-targets --all-features -- -D warnings
	$(STEP) "price bench: format, clippy, tests" scripts/price.sh check
	$(STEP) "crowd bench: format, clippy, tests" scripts/bench.sh crowd check
	$(STEP) "scan bench: format, clippy, tests" scripts/bench.sh scan check
	$(STEP) "cargo deny: bans, licences, sources" cargo deny --locked check bans licenses sources
	$(STEP) "cargo deny: advisories" scripts/advisories.sh
	$(STEP) "cargo machete: unused dependencies" cargo machete

.PHONY: databases
databases: ## Start the tests' own MariaDB and PostgreSQL (make databases-down stops them)
	$(STEP) "install: databases" scripts/install.sh databases
	$(STEP) "databases" tests/databases.sh up

.PHONY: databases-down
databases-down:
	@tests/databases.sh down

.PHONY: e2e
e2e: databases ## The main job on real Clouddrivers and Gate, as FAIRLEAD_E2E_* name them (docs/testing.md)
	$(STEP) "install: nginx and HAProxy" scripts/install.sh proxies
	$(STEP) "install: Kubernetes API server" scripts/install.sh kube
	$(STEP) "end to end: build" cargo test $(TESTED) --no-run --test e2e --test agents
	$(STEP) "the agent at a real API server" env FAIRLEAD_E2E_KUBE="$$(scripts/kube.sh folder)" cargo test $(TESTED) --quiet --test agents -- agent::kubernetes
	$(STEP) "end to end" env FAIRLEAD_E2E_KUBE="$$(scripts/kube.sh folder)" cargo test $(TESTED) --test e2e -- $(ONLY)

.PHONY: storm
storm: databases ## The long crash storms, on each Clouddriver and database (docs/testing.md)
	$(STEP) "install: Kubernetes API server" scripts/install.sh kube
	$(STEP) "storm: build" cargo test $(TESTED) --no-run --test e2e
	$(STEP) "storm" env FAIRLEAD_E2E_STORM=long FAIRLEAD_E2E_KUBE="$$(scripts/kube.sh folder)" cargo test $(TESTED) --test e2e -- $(ONLY)

.PHONY: bench
bench: databases ## Measure: a mirrored POST against a direct one, and the mirror's lag (docs/testing.md)
	$(STEP) "bench: build" cargo bench --locked --no-run --bench mirror_post
	$(STEP) "bench" cargo bench --locked --bench mirror_post

.PHONY: bench-proxy
bench-proxy: build ## Measure: what the proxy costs, beside nginx and HAProxy (docs/performance.md)
	$(STEP) "install: nginx and HAProxy" scripts/install.sh proxies
	$(STEP) "price" scripts/price.sh run

.PHONY: bench-agents
bench-agents: build databases ## Measure: what agents cost, ten thousand of them and as many accounts (docs/performance.md)
	$(STEP) "crowd" bash -c 'eval "$$(tests/databases.sh env)"; exec scripts/bench.sh crowd run'

.PHONY: bench-scan
bench-scan: build databases ## Measure: what the scanner costs, with a million rows in Clouddriver's table (docs/performance.md)
	$(STEP) "scan" bash -c 'eval "$$(tests/databases.sh env)"; exec scripts/bench.sh scan run'

.PHONY: profile
profile: ## Where the proxy spends its time under load (docs/performance.md)
	$(STEP) "install: compiler" scripts/install.sh compiler
	$(STEP) "install: nginx and HAProxy" scripts/install.sh proxies
	$(STEP) "install: perf" scripts/install.sh perf
	$(STEP) "profile" scripts/price.sh profile

.PHONY: fuzz
fuzz: ## Fuzz paths, messages, bodies, JDBC URLs and configuration, FAIRLEAD_FUZZ_SECONDS (60) each
	$(STEP) "install: cargo-fuzz" scripts/install.sh fuzz
	$(STEP) "fuzz" scripts/fuzz.sh

.PHONY: slowhttptest
slowhttptest: ## Slow headers, slow bodies, slow readers: other clients are served meanwhile
	$(STEP) "install: slowhttptest" scripts/install.sh slow
	$(STEP) "slowhttptest" cargo test $(TESTED) --test integration -- --ignored --nocapture slowhttptest

.PHONY: h2spec
h2spec: ## Conformance of the listener to HTTP/2
	$(STEP) "install: h2spec" scripts/install.sh h2spec
	$(STEP) "h2spec" cargo test $(TESTED) --test integration -- --ignored --nocapture h2spec

.PHONY: clean
clean: databases-down ## Stop the tests' databases and remove what was built, their data too
	@cargo clean
	@rm -rf .run
