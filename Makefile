# `make help` lists everything. Only Rust, Go, Python 3, git and make are assumed.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
CARGO ?= cargo
STAGE = @tests/stage "$(1)" $(2)
# The Go modules that the interop tests run, by their names in the rig's cache.
INTEROP = $(foreach module,$(notdir $(wildcard tests/interop/go/*)),--tools interop-$(module)=tests/interop/go/$(module))
# Servers of the rig beside the control plane.
SERVERS = --tools openbao=tests/rig/openbao --tools moto=tests/rig/moto --tools git_server=tests/rig/git_server --tools flux --tools argocd --tools node --tools prometheus

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## see the main job run on a real control plane
	tests/build --tools openbao=tests/rig/openbao --tools moto=tests/rig/moto \
	  --tools git_server=tests/rig/git_server --tools flux -p sealkit-cli -p sealkit-controller --bins
	tests/demo/run

record: ## record a real session for the README, write docs/demo.svg
	tests/build -p sealkit-cli -p sealkit-controller --bins
	tests/demo/record

dashboard: ## break a real cluster under a real Prometheus, write docs/dashboard.svg
	tests/build --tools openbao=tests/rig/openbao --tools prometheus -p sealkit-cli -p sealkit-controller --bins
	SEALKIT_DASHBOARD=45 $(CARGO) test --locked -p sealkit-tests --test e2e -- monitoring::alerts_fire

test: ## everything that CI checks
	$(call STAGE,format,$(CARGO) fmt --all --check)
	$(call STAGE,build,tests/build $(INTEROP) $(SERVERS) --workspace --bins)
	$(call STAGE,clippy,$(CARGO) clippy --locked --workspace --all-targets -- -D warnings)
	$(call STAGE,generated files,tests/generated --check)
	$(call STAGE,licences and bans,tests/deny)
	$(call STAGE,unit and command-line tests,$(CARGO) test --locked --workspace --exclude sealkit-tests --exclude sealkit-rig)
	$(call STAGE,rig,$(CARGO) test --locked -p sealkit-rig)
	$(call STAGE,interop,$(CARGO) test --locked -p sealkit-tests --lib --test interop)
	$(call STAGE,end to end,tests/again $(CARGO) test --locked -p sealkit-tests --test e2e)
	$(call STAGE,demo,tests/demo/run)
	@tests/stage --summary

advisories: ## before a release: known vulnerabilities of dependencies, from the network
	$(CARGO) install --quiet --locked cargo-deny@0.20.2
	$(CARGO) deny check advisories

check: ## quick inner loop: format, clippy, unit tests
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) test --workspace --exclude sealkit-tests --exclude sealkit-rig

build: ## debug binaries in target/debug
	$(CARGO) build --locked --workspace --bins

programs: ## optimised binaries in target/release
	$(CARGO) build --locked --release -p sealkit-cli -p sealkit-controller

release: ## everything of a release in target/dist, see release/README.md
	rm -rf target/dist
	release/build target/dist

install: programs ## install seal, also as kubectl-seal, into PREFIX/bin (default ~/.local)
	install -D target/release/seal "$${PREFIX:-$$HOME/.local}/bin/seal"
	ln -sf seal "$${PREFIX:-$$HOME/.local}/bin/kubectl-seal"

generate: ## write the generated files anew (CRDs, docs/flags.md)
	tests/generated --write

bench: ## measure against peers and limits, write docs/benchmarks.md
	$(CARGO) run --locked --release -p sealkit-bench -- all

soak: ## 200 kills, outages and freezes amid a flood and amid refreshes (SEALKIT_SEED repeats one)
	$(CARGO) build --locked --workspace --bins
	SEALKIT_SOAK_KILLS=$${SEALKIT_SOAK_KILLS:-200} SEALKIT_SOAK_OBJECTS=$${SEALKIT_SOAK_OBJECTS:-2000} \
	  $(CARGO) test --locked -p sealkit-tests --test e2e -- --nocapture \
	  soak kills_amid_refreshes an_outage_costs_few_calls a_fleet_is_taken_over
	SEALKIT_SOAK_FLEET=1 $(CARGO) test --locked -p sealkit-tests --test e2e -- --nocapture a_fleet_on_few

fuzz: ## coverage-guided fuzzing of every parser, 10 million runs each (FUZZ_RUNS, FUZZ_TARGETS)
	tests/fuzz/run

rig-up: ## start a local control plane that stays, print its KUBECONFIG
	@$(CARGO) run --quiet --locked -p sealkit-rig -- up

rig-down: ## stop it
	@$(CARGO) run --quiet --locked -p sealkit-rig -- down

clean: ## remove build results (caches outside the tree stay)
	$(CARGO) clean

.PHONY: help demo record dashboard test check build programs release install generate bench soak fuzz rig-up rig-down clean
