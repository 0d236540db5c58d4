# podrun: every way in. `make help` lists them. Nothing here starts a service or changes the host,
# beyond the Debian packages that `need` installs, each named with its reason.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# What makes the next build faster would be a third of what all take of the disk. `CARGO_INCREMENTAL=1 make …` keeps it.
export CARGO_INCREMENTAL ?= 0

PREFIX ?= /usr/local
DESTDIR ?=
# The images that `make fixtures` makes; empty: all of them.
IMAGES ?=
# How many pods `make bench` has side by side at most.
PODS ?= 1000
# Another podrun, below this folder, for `make bench` and `bench-oci` to measure in the same run: that of before a change.
BESIDE ?=
# Of `make bench-images`: pull, load or small; empty: all.
PART ?=
# How long `make fuzz` runs each target, and which (empty: all of them).
SECONDS ?= 600
TARGETS ?=
# Of `make test-oracle`: how many combinations of fields it makes.
COUNT ?= 3000
# Of `make soak`: how long, and how many do what at once.
MINUTES ?= 10
CLIENTS ?= 8
# What the choices of both begin with; empty: always the same for the oracle, always another for the soak.
SEED ?=
# What `make test-vm` runs: parts of scripts/in-vm.sh; empty: those that it lists.
VM ?=
# What `make test` hands on to the tests, for example ARGS='--test podrun load'.
ARGS ?=

SUDO := $(if $(filter-out 0,$(shell id -u)),sudo)
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
# Cargo starts each test program by this, where it is not root's already. The tests call cargo too, and sbin.
TRIPLE = $(shell echo '$(HOST)' | tr a-z- A-Z_)
AS_ROOT = $(if $(SUDO),env CARGO_TARGET_$(TRIPLE)_RUNNER="sudo -E env PATH=$$PATH:/usr/sbin:/sbin")
# The modules of tests/main.rs that have to do with kernels and cgroups.
CORE := oci pods lifecycle security seccomp
NEED := scripts/need.sh
FOR_BUILD := gcc:links\ podrun libc6-dev:links\ it\ statically libseccomp-dev:compiles\ seccomp\ profiles
FOR_RUNNING := iproute2:shows\ links\ and\ addresses nftables:shows\ firewall\ rules procps:shows\ processes

.PHONY: help
help: ## this list
	@echo "podrun: make TARGET"
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 14

.PHONY: rust
rust:
	@scripts/rust.sh

.PHONY: build
build: rust ## the static binary, at target/podrun
	@$(NEED) $(FOR_BUILD)
	cargo build --release --locked --package podrun
	@install -m 755 target/$(HOST)/release/podrun target/.podrun.new && mv target/.podrun.new target/podrun
	@scripts/notices.sh >target/NOTICES

.PHONY: fixtures
fixtures: rust ## the images of tests and demo, below target/fixtures (IMAGES="busybox nginx" makes only these)
	@$(NEED) $(FOR_BUILD)
	cargo build --quiet --locked --package rootfs-fixtures
	@make_images() { target/$(HOST)/debug/rootfs-fixtures target/fixtures $(IMAGES); }; \
	make_images || { echo "once more, with fresh package lists"; $(SUDO) apt-get -qq update; make_images; }

# Programs of Debian that tests run are unpacked here, not installed: docker-registry would start a service. Libraries are
# skopeo's, but for the one of slirp4netns.
target/fixtures/tools/%:
	@scripts/unpack.sh $* $@

.PHONY: test
test: fixtures $(addprefix target/fixtures/tools/,docker-registry umoci skopeo libgpgme11 libassuan0 libdevmapper1.02.1 uidmap) ## every test; those that make pods run as root (by sudo)
	@$(NEED) $(FOR_RUNNING) openssl:makes\ certificates
	cargo build --quiet --locked --workspace
	$(AS_ROOT) cargo test --locked --workspace --no-fail-fast $(ARGS)

.PHONY: test-fresh
test-fresh: rust $(addprefix target/fixtures/tools/,slirp4netns libslirp0) ## `make demo` and `make test` as a plain user on a fresh Debian 12, in a root of its own
	@$(NEED) debootstrap:makes\ the\ root
	@$(SUDO) env PATH="$$PATH:/usr/sbin:/sbin" scripts/test-fresh.sh target/fresh "$$(rustc --print sysroot)" "$${CARGO_HOME:-$$HOME/.cargo}"

.PHONY: test-clients
test-clients: peers $(addprefix target/fixtures/tools/,docker-registry umoci) ## podman and containerd with podrun as their runtime, in a root of their own
	@$(MAKE) fixtures IMAGES="busybox pause"
	cargo build --quiet --locked --workspace
	$(AS_ROOT) cargo test --locked --package podrun-tests --test podrun -- by_podrun

.PHONY: test-system
test-system: $(addprefix target/fixtures/tools/,umoci) ## a Debian system of 1.3 GB, unpacked as GNU tar and umoci unpack it
	@$(NEED) $(FOR_RUNNING)
	@$(MAKE) fixtures IMAGES="system"
	cargo build --quiet --locked --workspace
	$(AS_ROOT) cargo test --locked --package podrun-tests --test podrun -- a_big_system

.PHONY: vm
vm: ## the root of the machine of make test-vm, below target/vm
	@$(NEED) qemu-system-x86:runs\ the\ machine debootstrap:makes\ its\ root cpio:packs\ its\ initrd
	@$(SUDO) env PATH="$$PATH:/usr/sbin:/sbin" scripts/test-vm.sh target/vm root

.PHONY: test-vm
test-vm: fixtures vm ## tests and demo on Debian 12's own kernel with cgroup v2 and systemd, in qemu (VM="oci demo": only these)
	@$(NEED) $(FOR_RUNNING)
	cargo build --quiet --locked --workspace
	@$(if $(SUDO),sudo -E) env PATH="$$PATH:/usr/sbin:/sbin" scripts/test-vm.sh target/vm $(VM)

.PHONY: test-v2
test-v2: fixtures ## containers and pods where cgroup v2 is all that is mounted, if without controllers
	@$(NEED) $(FOR_RUNNING)
	cargo build --quiet --locked --workspace
	$(if $(SUDO),env CARGO_TARGET_$(TRIPLE)_RUNNER="sudo -E env PATH=$$PATH:/usr/sbin:/sbin $(CURDIR)/scripts/in-v2.sh",env CARGO_TARGET_$(TRIPLE)_RUNNER=$(CURDIR)/scripts/in-v2.sh) \
		PODRUN_TESTS_OF="$(CORE)" cargo test --locked --workspace --test podrun $(ARGS)

.PHONY: test-enosys
test-enosys: fixtures ## containers and pods without the system calls that podrun can do without
	@$(NEED) $(FOR_RUNNING)
	cargo build --quiet --locked --workspace
	PODRUN_TESTS_WITHOUT="statx keyctl add_key faccessat2 copy_file_range epoll_pwait2" PODRUN_TESTS_OF="kernel $(CORE)" \
		$(AS_ROOT) cargo test --locked --workspace --test podrun $(ARGS)

.PHONY: test-oracle
test-oracle: rust ## how podrun reads manifests, beside a real kube-apiserver: every field that is done, with thousands of values (COUNT=20000 SEED=2); wants Go
	@$(NEED) $(FOR_BUILD) $(FOR_RUNNING) curl:asks\ the\ API\ server openssl:makes\ its\ key
	@scripts/apiserver.sh target/oracle
	cargo build --quiet --locked --package podrun-tests --bin podrun-oracle
	@code=0; $(if $(SUDO),sudo -E) env PATH="$$PATH:/usr/sbin:/sbin" scripts/oracle.sh target/oracle \
		target/$(HOST)/debug/podrun-oracle $(or $(SEED),1) $(COUNT) || code=$$?; \
	$(if $(SUDO),sudo chown -R "$$(id -u)" target/oracle;) exit $$code

# The PODS of make bench are too many for it.
.PHONY: soak
soak: PODS := $(if $(filter file,$(origin PODS)),40,$(PODS))
soak: build ## CLIENTS that make, use and end PODS for MINUTES, while monitors are killed and disks fill up, with counts (SEED=7: as that run)
	@$(NEED) $(FOR_RUNNING)
	@$(MAKE) fixtures IMAGES="busybox"
	cargo build --quiet --locked --package podrun-tests --bin podrun-soak
	@$(if $(SUDO),sudo -E) env PATH="$$PATH:/usr/sbin:/sbin" target/$(HOST)/debug/podrun-soak \
		$(MINUTES) $(CLIENTS) $(PODS) $(or $(SEED),$$RANDOM)

.PHONY: lint
lint: rust ## formatting, clippy, licences, layering
	@$(NEED) $(FOR_BUILD)
	cargo fmt --all --check
	cargo clippy --quiet --locked --workspace --all-targets -- -D warnings
	cargo test --quiet --locked --package podrun-tests --test layering --test licences

.PHONY: fuzz
fuzz: ## the readers of strangers' bytes, SECONDS each, with their executions (TARGETS="reference": it alone); wants nightly Rust and cargo-fuzz
	@$(NEED) $(FOR_BUILD) g++:compiles\ libFuzzer
	@scripts/fuzz.sh $(SECONDS) $(TARGETS)

.PHONY: demo
demo: build ## a pod of two containers from its creation to its end, each command shown
	@$(NEED) $(FOR_RUNNING)
	@$(MAKE) fixtures IMAGES="busybox nginx"
	@scripts/demo.sh

.PHONY: bench
bench: build ## times beside the kernel's floor and the peers that are there (PODS=200: no more side by side; BESIDE=…)
	@$(NEED) $(FOR_RUNNING)
	@$(MAKE) fixtures IMAGES="busybox pause"
	cargo build --quiet --locked --package podrun-tests --bin podrun-bench
	@gcc -O2 -static -o target/floor benches/floor.c
	@$(SUDO) env PODRUN_BENCH_BESIDE=$(BESIDE) scripts/bench.sh target/$(HOST)/debug/podrun-bench $(PODS)
	@$(MAKE) bench-oci bench-images

.PHONY: bench-oci
bench-oci: build ## the part of it that is about the OCI runtime: run, exec, and create, start and delete
	@$(NEED) $(FOR_RUNNING)
	@$(MAKE) fixtures IMAGES="busybox"
	cargo build --quiet --locked --package podrun-tests --bin podrun-bench-oci
	@gcc -O2 -static -o target/floor benches/floor.c
	@$(SUDO) env PODRUN_BENCH_BESIDE=$(BESIDE) scripts/bench-oci.sh target/$(HOST)/debug/podrun-bench-oci

.PHONY: bench-images
bench-images: build $(addprefix target/fixtures/tools/,docker-registry skopeo libgpgme11 libassuan0 libdevmapper1.02.1) ## the part of it that is about images: pull, unpack, load, list (PART=small: no more)
	@$(NEED) curl:asks\ a\ registry e2fsprogs:makes\ file\ systems
	@$(MAKE) fixtures IMAGES="busybox system"
	cargo build --release --quiet --locked --package podrun-tests --bin podrun-bench-images
	@gcc -O2 -static -o target/floor benches/floor.c
	@[ ! -d target/peers ] || scripts/containerd.sh target/containerd
	@$(SUDO) scripts/bench-images.sh target/$(HOST)/release/podrun-bench-images $(PART)

.PHONY: conformance
conformance: build ## the OCI validation programs, with podrun and the crun and runc that are there
	@$(SUDO) env PATH="$$PATH" scripts/conformance.sh target/conformance $(ARGS)

.PHONY: peers
peers: ## a root below target/peers with today's crun, runc, podman and containerd, for make bench
	@$(NEED) debootstrap:makes\ the\ root
	@$(SUDO) scripts/peers.sh target/peers
	@scripts/critest.sh target

# Made only when it is not there, so that `sudo make install` after `make build` needs no Rust of root's.
target/podrun target/NOTICES &:
	@$(MAKE) build

.PHONY: install
install: target/podrun target/NOTICES ## what `make build` made: binary, podrun-oci link, man pages, completions, docs below DESTDIR and PREFIX
	install -D -m 755 target/podrun '$(DESTDIR)$(PREFIX)/bin/podrun'
	ln -sf podrun '$(DESTDIR)$(PREFIX)/bin/podrun-oci'
	install -d '$(DESTDIR)$(PREFIX)/share/man/man1'
	target/podrun man '$(DESTDIR)$(PREFIX)/share/man/man1'
	@complete() { install -d "$$(dirname "$$2")"; target/podrun completion "$$1" >"$$2"; echo "completion $$1 > $$2"; }; \
	complete bash '$(DESTDIR)$(PREFIX)/share/bash-completion/completions/podrun'; \
	complete zsh '$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_podrun'; \
	complete fish '$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/podrun.fish'
	install -D -m 644 --target-directory '$(DESTDIR)$(PREFIX)/share/doc/podrun' LICENSE target/NOTICES
	install -D -m 644 --target-directory '$(DESTDIR)$(PREFIX)/share/doc/podrun/docs' docs/*.md

.PHONY: uninstall
uninstall: ## takes away what `make install` put there; images and pods stay
	rm -f '$(DESTDIR)$(PREFIX)'/bin/podrun '$(DESTDIR)$(PREFIX)'/bin/podrun-oci '$(DESTDIR)$(PREFIX)'/share/man/man1/podrun*.1
	rm -f '$(DESTDIR)$(PREFIX)/share/bash-completion/completions/podrun' \
		'$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_podrun' '$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/podrun.fish'
	rm -rf '$(DESTDIR)$(PREFIX)/share/doc/podrun'

.PHONY: clean
clean: ## remove target/, and what tests and peers made there as root
	rm -rf target 2>/dev/null || $(SUDO) rm -rf target
