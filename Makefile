# Everything is one command on a Debian machine that has git and make. See scripts/ for what each step installs.
SHELL     := /bin/bash
modules   := cassandra_backup cassandra_restore cassandra_backup_info
installed := $(modules:%=library/%)
program   := target/$(shell uname -m)-unknown-linux-gnu/release/cassandra_backup
fake_node := $(subst /release/,/debug/examples/,$(dir $(program)))fake_node
run       := scripts/with-env
export CARGO_TARGET_DIR := target

.PHONY: help build demo test test-rust lint check-program molecule scenario-default scenario-protocol scenario-cluster matrix \
	dist test-dist test-cluster test-node test-killed test-layouts test-matrix table bench bench-node bench-cluster fuzz clean rust python readers docker image
.DEFAULT_GOAL := help

help: ## show this help
	@sed -nE 's/^([a-z-]+):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 24

build: $(installed) ## build the static executable and install it as library/cassandra_*

demo: build python image ## back up and restore a real Cassandra, before your eyes
	@$(run) scripts/demo

test: test-rust lint check-program test-layouts molecule test-dist ## run every test: test-rust, lint, check-program, test-layouts, molecule, test-dist

# In Cargo's own test profile, although the release build is there: it would link every test executable with full
# link-time optimisation, which takes longer (145 s of processor time) than to compile all without it (108 s).
test-rust: rust python readers ## run the Rust tests, compare the options with a real AnsibleModule's, render the docs
	@$(run) cargo test --locked --workspace
	@$(run) cargo build --locked --examples
	@$(run) python tests/differential/run.py $(subst /release/,/debug/,$(program))
	@$(run) python tests/docs/run.py $(subst /release/,/debug/,$(program))

lint: rust python ## check format, Rust, YAML and Ansible
	@$(run) cargo fmt --all --check
	@$(run) cargo clippy --locked --workspace --all-targets -- -D warnings
	@$(run) yamllint --strict .
	@$(run) ansible-lint
	@$(run) python tests/matrix/run.py --check

check-program: build ## see that the executable is static and has at most 3 MB: Ansible copies it for every task
	@! grep --quiet --text CASSANDRA_BACKUP_ $(program) || { echo "$(program) can be told to die: src/effect.rs"; false; }
	@! readelf --program-headers $(program) | grep -q INTERP || { echo "$(program) is not static"; false; }
	@size=$$(stat --format %s $(program)); echo "$(program): static, $$size bytes"; test $$size -le 3000000

# Two at once, for they wait most of the time; what each says comes at its end. A cluster has the machine for itself.
molecule: build python image $(fake_node) ## run the Molecule scenarios: a real Cassandra, all ways of Ansible to a module, a real cluster
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target scenario-default scenario-protocol
	@$(MAKE) --no-print-directory scenario-cluster
scenario-default scenario-protocol scenario-cluster:
	@$(run) molecule test -s $(@:scenario-%=%) -- --skip-tags slow

test-cluster: build python image ## roll a real cluster back, and have it refused, fail, killed, incomplete and lost (half an hour)
	@$(run) molecule test -s cluster

# Twelve minutes, of which Cassandra's starts are most. SEED=7 SAMPLE=8 kills at other points, and at more of them.
test-node: rust python image ## roll back, kill, cut off and look into a restore on a real node
	@$(run) cargo build --locked --bins --examples
	@cd tests/node && CASSANDRA_BACKUP_PROGRAM=$(CURDIR)/$(subst /release/,/debug/,$(program)) ../../$(run) python -m unittest --verbose

test-layouts: rust python image ## back up and restore real nodes laid out otherwise: a cut of test-matrix
	@$(run) cargo build --locked --bins
	@CASSANDRA_BACKUP_PROGRAM=$(CURDIR)/$(subst /release/,/debug/,$(program)) $(run) python tests/matrix/run.py --cut

# CASES="podman jmx_tls" for some of them; `tests/matrix/run.py --list` names all. Java 8 is had from Debian's sid.
test-matrix: rust python image ## every Cassandra, layout, mount, owner, JMX and Engine there is, on real nodes (an hour and a half)
	@for version in 2.1.2 2.1.20 2.2.4 3.11.5 4.0.17 4.1.9; do scripts/setup-image $$version; done
	@$(run) cargo build --locked --bins
	@CASSANDRA_BACKUP_PROGRAM=$(CURDIR)/$(subst /release/,/debug/,$(program)) $(run) python tests/matrix/run.py $(CASES)

table: python ## put the table of test-matrix into the README
	@$(run) python tests/matrix/run.py --table

fuzz: rust ## fuzz the readers of archives, each for SECONDS_EACH=60 (TARGETS="footer table" for some of them)
	@scripts/setup-fuzz
	@scripts/fuzz $(TARGETS)

test-killed: rust ## kill restores and roll-backs twice over, in the ways that take minutes
	@$(run) cargo test --locked --test killed -- --ignored

# The engine beside other tools, on files like a node's: PARTS="pack unpack" ROUNDS=9 SCALE=0.5 for less or more of it.
bench: rust python ## measure packing, verifying and unpacking beside tar, pigz, igzip and Python (half an hour)
	@scripts/setup-bench
	@scripts/build --example pack
	@$(run) .cache/bench-venv/bin/python bench/engine.py $(CURDIR)/$(dir $(program))examples/pack

# PARTS="downtime load costs medusa", GIGABYTES="0.1 1 4", MEDUSA_GIGABYTES=1, ROUNDS=3. Medusa only where it is named.
bench-node: build python image ## measure what a real node feels of a backup, and the downtime of a restore (half an hour)
	@scripts/setup-bench
	@CASSANDRA_BACKUP_PROGRAM=$(CURDIR)/$(program) $(run) python bench/node.py

# NODES="3 10 30", FORKS="5 30", PARTS="playbooks bare copies". A cluster of fake nodes on this machine: what is measured is the controller.
bench-cluster: build python $(fake_node) ## measure what Ansible itself costs on many hosts (an hour)
	@$(run) python bench/cluster.py $(fake_node)

matrix: build python image ## run what depends on Ansible under each version of ansible-core (a quarter of an hour)
	@$(run) cargo build --locked --bins --examples
	@scripts/matrix $(subst /release/,/debug/,$(program))

dist: build python ## make the release and the collection, in target/dist
	@scripts/dist

test-dist: dist $(fake_node) ## install both as their users do, and use them on a fake node
	@tests/dist/run $(fake_node)

clean: ## remove all that this project made on this machine
	@scripts/clean

rust python readers docker:
	@scripts/setup-$@
image: docker
	@scripts/setup-$@

# Cargo decides what to build; the copies are made anew only where it built something.
$(installed): $(program)
	@install -m 755 $< $@
$(program): rust
	@scripts/build

# As the tests are built: it is there already where those have run.
$(fake_node): rust
	@$(run) cargo build --locked --example fake_node
