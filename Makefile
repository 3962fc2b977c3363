# Every target works on a fresh clone. What a test needs and may install, it installs; else it says what to type.
GO ?= go
# The version of noid and of its agent in the guest, if not the one in internal/version.
VERSION ?=
LDFLAGS = -s -w $(if $(VERSION),-X noid/internal/version.Release=$(VERSION))
export GO VERSION

.PHONY: typescript build programs fault-build dist wheel demo python test test-kvm torture fuzz lint bench clean

build: programs
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/noid ./cmd/noid

# The programs that noid embeds: built into internal/boot/programs and two directories called program, where git ignores
# them.
programs:
	scripts/programs.sh

# noid with a fault to order at each of its steps, see test/fault. For tests alone.
fault-build: programs
	$(GO) run ./test/fault/instrument -o bin/_fault
	CGO_ENABLED=0 $(GO) build -trimpath -overlay bin/_fault/overlay.json -o bin/noid-fault ./cmd/noid

# noid for amd64 and arm64 as tar.gz, deb, rpm and apk, with manual pages, completions and checksums, in DIST.
DIST ?= bin/dist
dist:
	scripts/dist.sh $(DIST)

# The Python package as a wheel that carries noid for this machine, in DIST. PYTHON has hatchling.
wheel: build
	scripts/wheel.sh $(DIST)

# The Python package against real VMs.
python: build
	scripts/python.sh

# The quick start on a real VM, in a home of its own.
demo: build
	scripts/demo.sh

test: lint build fault-build
	scripts/test.sh

# The quick start and the conformance suite with a real KVM, inside the KVM lab.
test-kvm: build
	scripts/test-kvm.sh

# The TypeScript client, with a real VM. It needs Node 20 and npm.
typescript: build
	scripts/typescript.sh

# Every fault at every step of every command, and ten minutes of fifty noids at once: hours. 'make test' does a part of
# both.
torture: build fault-build
	scripts/torture.sh

# Every fuzz target for FUZZTIME.
FUZZTIME ?= 1m
fuzz: programs
	scripts/fuzz.sh $(FUZZTIME)

lint:
	@test -z "$$(gofmt -l bench cmd internal test)" || { echo "not gofmt-ed:"; gofmt -l bench cmd internal test; exit 1; }
	for script in scripts/*.sh .ci/run; do bash -n $$script || exit 1; done
	GOARCH=arm64 CGO_ENABLED=0 $(GO) build -o /dev/null ./cmd/noid
	for module in . bench test/page; do (cd $$module && $(GO) mod tidy -diff && $(GO) vet ./... && \
		$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...) || exit 1; done

# noid beside the bare VMM, in turns, as a table of medians: docs/performance.md. BENCHFLAGS such as
# '-pairs 5 -run 3 -json FILE'; '-set lab' is the KVM lab.
BENCHFLAGS ?=
bench: build
	scripts/bench.sh $(BENCHFLAGS)

clean:
	rm -rf bin internal/boot/programs/*.gz internal/network/program/*/noid-net.* internal/sshd/program/*/noid-sshd.*
