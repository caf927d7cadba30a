.DEFAULT_GOAL := help
.PHONY: help build run test browser lint bench bench-scale bench-tools eviction microbench load herd tiers overload floods conformance clean setup-build

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup-build:
	@scripts/setup-build.sh

build: setup-build ## Build the release binary, target/release/seawall
	cargo build --release --locked

run: ## Build and run Seawall in front of three replicas of the example shop
	scripts/run.sh

test: setup-build ## Lint, then run all tests, the example shop's too
	scripts/setup-test.sh
	$(MAKE) --no-print-directory lint
	@if cargo nextest --version >/dev/null 2>&1; then \
	    echo "cargo test --locked --doc && cargo nextest run --locked"; \
	    cargo test --locked --doc && cargo nextest run --locked; \
	else \
	    echo "cargo test --locked"; \
	    cargo test --locked; \
	fi
	cd examples/django && .venv/bin/python manage.py test

browser: setup-build ## Solve the challenge in a headless Chromium (installs it; PICTURES=DIR keeps pictures)
	scripts/setup-browser.sh
	cargo test --locked --test behaviour guard::browser -- --ignored --nocapture

lint: setup-build ## Check formatting, lints and documentation (and licences, with cargo-deny)
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items
	@if cargo deny --version >/dev/null 2>&1; then \
	    echo "cargo deny check"; \
	    cargo deny check; \
	else \
	    echo "cargo deny is not installed: skipped"; \
	fi

bench: build bench-tools ## Compare Seawall with nginx, Varnish and HAProxy; writes docs/performance.md
	bench/run.py

bench-scale: build bench-tools ## Measure growth: objects, rules, connections, restarts; writes docs/performance.md
	bench/scale.py

eviction: setup-build ## Compare hit ratios of eviction policies; writes docs/performance.md
	bench/eviction.py

microbench: setup-build ## Time the decisions one by one (criterion)
	cargo bench --locked --bench decisions

bench-tools: setup-build
	@scripts/setup-bench.sh
	cargo build --release --locked --manifest-path bench/tools/Cargo.toml --target-dir $(or $(CARGO_TARGET_DIR),target)/bench-tools

load: build ## Compare a load of visitors straight to the replicas and through Seawall (USERS=300 DURATION=60s)
	load/compare.py

herd: build ## Send 1,000 clients to one key at once and count the origin's requests (CLIENTS=1000)
	load/herd.py

tiers: build ## Play a network of edges, shields, replicas and a Redis through failures and purges (KEYS=1000 PURGES=1000)
	load/tiers.py

overload: build ## Send 1,000 users to a replica that can do 20 requests at once, with and without Seawall (USERS=1000)
	load/overload.py

floods: build ## Slow clients and floods over HTTP/2, and what bystanders notice of them (SECONDS=8 CONNECTIONS=500)
	@scripts/setup-floods.sh
	load/.venv/bin/python load/floods.py

conformance: build ## Run the public caching test suite; writes docs/conformance.md
	conformance/run.mjs

clean: ## Remove what was built, the example shop's data and environments too
	cargo clean
	rm -rf examples/django/.data examples/django/.venv examples/django/.venv.lock
	rm -rf load/.data load/.venv load/.venv.lock conformance/node_modules
	rm -rf tests/storage/.venv tests/storage/.venv.lock
