# `make demo` and `make test` do all that a fresh Debian or Ubuntu machine with Rust needs.
# `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -ec
PREFIX ?= /usr/local
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
PROGRAMS := vstun vstun-director vstun-realserver
# Newer than the sources when the release programs are up to date.
BUILT := $(TARGET)/release/.built
BPF := fast_path real_server arrival
SOURCES := Cargo.toml Cargo.lock build.rs $(shell find src -name '*.rs') $(BPF:%=bpf/%.bpf.o)
BINS := $(DESTDIR)$(PREFIX)/bin
DOCS := $(DESTDIR)$(PREFIX)/share/doc/vstun
MANUALS := $(TARGET)/release/manuals
COMPLETIONS = $(addprefix $(SHARE)/,bash-completion/completions zsh/site-functions \
	fish/vendor_completions.d)
SHARE := $(DESTDIR)$(PREFIX)/share
UNITS := $(DESTDIR)$(PREFIX)/lib/systemd/system

.PHONY: help build demo test part-cargo part-netns cargo-test netns-test bench lint bpf doc fuzz \
	deps install uninstall clean
help:       ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

build:      ## the three programs, target/release/vstun*
	$(CARGO) build --release --locked --bins
	$(TARGET)/release/vstun manuals $(MANUALS)
	@touch $(BUILT)

# For `sudo make install`: root's PATH often lacks cargo, and needs none if the user has built
# everything.
$(BUILT): $(SOURCES)
	@command -v $(CARGO) >/dev/null || { echo "the programs are not built, or older than their" \
	"sources, and there is no $(CARGO) in this PATH: run \`make build\` as the user who has it," \
	"then install again" >&2; exit 1; }
	$(CARGO) build --release --locked --bins
	$(TARGET)/release/vstun manuals $(MANUALS)
	@touch $@

demo: deps build ## client, director, three real servers here; KEEP=1 leaves them up, with a shell
	$(TARGET)/release/vstun demo $(if $(KEEP),--keep)

# Both parts wait most of their time, so they run side by side: what cargo says follows.
test: deps  ## everything; the last line counts it
	@$(CARGO) test --locked --no-run
	@logs=$$(mktemp -d) && trap 'rm -rf '$$logs EXIT; \
	$(MAKE) --no-print-directory -j2 LOGS_OF_PARTS=$$logs part-cargo part-netns; \
	cat $$logs/cargo; \
	netns-tests/tally $$logs/cargo $$logs/netns

part-cargo:
	@{ $(MAKE) --no-print-directory cargo-test || echo "broken: cargo test"; } \
	  >$(LOGS_OF_PARTS)/cargo 2>&1

part-netns:
	@{ netns-tests/run || echo "broken: netns-tests"; } 2>&1 | tee $(LOGS_OF_PARTS)/netns

# Some of them wait, so there are two for each core. Every balancer reserves some MiB. Fresh memory
# from the kernel is zero already; reused heap memory would have to be cleared.
cargo-test: ## unit, table, pair, layering and fuzz smoke tests
	MALLOC_MMAP_THRESHOLD_=131072 RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$((2 * $$(nproc)))} \
		$(CARGO) test --locked --no-fail-fast

netns-test: deps ## scripted tests in namespaces; TESTS="10-web 12-udp@6in4" runs these
	$(CARGO) build --locked --bins
	netns-tests/run $(TESTS)

bench:      ## each layer's cost; ratios to bare loops, Linux, HAProxy, nginx; QUICK=1: 3 minutes
	@netns-tests/deps bench
	benches/run

lint:       ## formatting, clippy, documentation, licences
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --locked --document-private-items
	$(if $(shell command -v cargo-deny),$(CARGO) deny check,@echo "cargo deny: not installed, skipped")

# Byte for byte the same from any folder with this version of the compiler.
bpf:        ## the eBPF objects from their sources; needs clang-14, llvm-14 and libbpf-dev
	cd bpf && for name in $(BPF); do \
	  clang-14 -target bpf -mcpu=v3 -O2 -g -Wall -I/usr/include/$$(uname -m)-linux-gnu \
	    -fdebug-compilation-dir=. -ffile-prefix-map=$$PWD=. -c $$name.bpf.c -o $$name.bpf.o && \
	  llvm-strip-14 -g $$name.bpf.o && \
	  llvm-objcopy-14 --remove-section .BTF.ext --remove-section .rel.BTF.ext $$name.bpf.o; done
	cd bpf && sha256sum $(foreach name,$(BPF),$(name).bpf.c $(name).bpf.o) >SHA256SUMS

doc:        ## API documentation, target/doc/vstun
	$(CARGO) doc --no-deps --locked --document-private-items

fuzz:       ## fuzz each target for FUZZ_SECONDS (60)
	fuzz/run $(or $(FUZZ_SECONDS),60)

deps:       ## names what is missing for demo and test, and installs it (bench looks after itself)
	@netns-tests/deps

install: $(BUILT) ## programs, manual, completions, systemd units below DESTDIR/PREFIX (/usr/local)
	install -d $(BINS) $(DOCS) $(UNITS) $(SHARE)/man/man5 $(SHARE)/man/man8 $(COMPLETIONS)
	install -m 755 $(addprefix $(TARGET)/release/,$(PROGRAMS)) $(BINS)
	! command -v strip >/dev/null || strip --strip-debug $(addprefix $(BINS)/,$(PROGRAMS))
	install -m 644 $(wildcard config.example README.md CHANGELOG.md LICENSE-*) $(DOCS)
	install -m 644 $(wildcard docs/*.md docs/*.svg docs/*.png) $(DOCS)
	install -d $(DOCS)/prometheus $(DOCS)/grafana
	install -m 644 dist/prometheus/*.yml $(DOCS)/prometheus
	install -m 644 dist/grafana/* $(DOCS)/grafana
	install -m 644 $(MANUALS)/man/*.5 $(SHARE)/man/man5
	install -m 644 $(MANUALS)/man/*.8 $(SHARE)/man/man8
	install -m 644 $(MANUALS)/bash/* $(word 1,$(COMPLETIONS))
	install -m 644 $(MANUALS)/zsh/* $(word 2,$(COMPLETIONS))
	install -m 644 $(MANUALS)/fish/* $(word 3,$(COMPLETIONS))
	for unit in dist/systemd/*.service; do \
	  sed 's|/usr/local|$(PREFIX)|g' $$unit | install -m 644 /dev/stdin $(UNITS)/$${unit##*/}; done

uninstall:  ## what install put there
	rm -f $(addprefix $(BINS)/,$(PROGRAMS))
	rm -f $(addprefix $(UNITS)/,$(notdir $(wildcard dist/systemd/*.service)))
	rm -f $(SHARE)/man/man5/vstun.toml.5 $(SHARE)/man/man8/vstun.8 $(SHARE)/man/man8/vstun-*.8
	rm -f $(foreach folder,$(COMPLETIONS),$(addprefix $(folder)/,$(PROGRAMS) \
		$(addprefix _,$(PROGRAMS)) $(addsuffix .fish,$(PROGRAMS))))
	rm -rf $(DOCS)

clean:      ## what the build made
	$(CARGO) clean
