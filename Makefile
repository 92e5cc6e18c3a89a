# Everything a developer or the CI types. `make help` lists it.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# remote and containers_image_openpgp keep Podman's bindings free of cgo.
export GOFLAGS := -tags=remote,containers_image_openpgp -buildvcs=false
export PATH := $(CURDIR)/.build/bin:$(PATH)

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)
# Podman and buildkitd of the tests run as root; everybody else uses sudo for them.
AS_ROOT := $(shell [ "$$(id -u)" = 0 ] || echo "sudo -E env PATH=$$PATH")
# Most of those that run beside each other wait for a bound to pass: more of them than cores.
INTEGRATION = go test -race -count=1 -timeout 55m -parallel 4 $(if $(AS_ROOT),-exec '$(AS_ROOT)')
# The tests whose outcome can depend on the generation of Podman.
ON_PODMAN = Stack|Logs|Service|Images|Owner|Container|DockerCommand|DockerComposeTask|APull|ARefusal|AMirror|Depend|AVolume|TenJobs|ADeadAgent
# The packages that need nothing but Go; test/ needs the real components.
UNIT = $(shell go list ./... 2>/dev/null | grep -v '/test/')

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: setup
setup: ## install and build what the tests and the demo need (Debian, Ubuntu)
	@hack/setup.sh

.PHONY: build
build: ## the static binaries, in .build/bin
	@mkdir -p .build/bin
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o .build/bin/ ./cmd/dockless ./cmd/dockless-probe

.PHONY: demo
demo: setup build ## a real pipeline job through every part of the system, twice
	@go build -o .build/bin/demo ./test/demo
	@$(AS_ROOT) .build/bin/demo

.PHONY: test
test: setup build dist ## everything: unit tests with the race detector, then the integration tests
	@hack/setup.sh deploy
	$(MAKE) --no-print-directory race
	$(MAKE) --no-print-directory integration
	@# One after the other: ports that Podman publishes take the connections of whoever listens there too.
	$(MAKE) --no-print-directory newest-podman

.PHONY: unit
unit: ## unit tests only, without the race detector
	go test $(UNIT)

.PHONY: race
race: ## unit tests with the race detector
	go test -race $(UNIT)

.PHONY: integration
integration: build dist ## real Podman, buildkitd and registry; needs `make setup`
	$(INTEGRATION) -p 1 ./test/...

.PHONY: newest-podman
newest-podman: ## the integration tests of what containers do, on the newest Podman; needs `make setup`
	DOCKLESS_TEST_PODMAN=podman5 $(INTEGRATION) -run '$(ON_PODMAN)' ./test/integration

.PHONY: check
check: fmt-check vet lint unit build dist ## what must be clean before every commit

.PHONY: fmt
fmt: lint-tools ## format every Go file
	golangci-lint fmt

.PHONY: fmt-check
fmt-check: ## fail when a Go file is not formatted
	@files=$$(git ls-files '*.go' | grep -v /vendor/ | xargs gofmt -l); \
	if [ -n "$$files" ]; then echo "not formatted, run make fmt:"; echo "$$files"; exit 1; fi

.PHONY: vet
vet: ## go vet
	go vet ./...

.PHONY: lint-tools
lint-tools:
	@hack/setup.sh lint

.PHONY: lint
lint: lint-tools ## golangci-lint, its version pinned in tools/
	golangci-lint run ./...

.PHONY: dist
dist: ## the static binaries for amd64 and arm64, in .build/dist; this is also the cross-compilation check
	@for arch in amd64 arm64; do mkdir -p .build/dist/linux-$$arch; \
		GOARCH=$$arch CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o .build/dist/linux-$$arch/ ./cmd/dockless ./cmd/dockless-probe; \
	done

.PHONY: docs
docs: ## regenerate docs/configuration.md and docs/metrics.md
	go run ./cmd/dockless docs settings > docs/configuration.md
	go run ./cmd/dockless docs metrics > docs/metrics.md

.PHONY: bench
bench: setup build ## measure the budgets against their peers, write docs/benchmarks.md
	@hack/setup.sh bench
	go build -o .build/bin/bench ./test/bench
	$(AS_ROOT) .build/bin/bench -out docs/benchmarks.md

.PHONY: soak
soak: setup build ## 500 jobs through 20 agents while every tenth request fails, and a server that goes away for a minute
	go build -o .build/bin/soak ./test/soak/cmd
	$(AS_ROOT) .build/bin/soak

.PHONY: stack-soak
stack-soak: setup ## 50 times ten stacks at once on one Podman, after which nothing may be left
	DOCKLESS_TEST_STACK_ROUNDS=50 go test -count=1 -timeout 2h -v $(if $(AS_ROOT),-exec '$(AS_ROOT)') -run TestTenJobs ./test/integration

.PHONY: images
images: setup ## build the base images of the tests
	go run ./test/images

.PHONY: image
image: setup build dist ## the container image of the agent, as an OCI archive in .build
	dockless build . --target agent -o type=oci,dest=.build/dockless-image.tar

.PHONY: fuzz
fuzz: ## every fuzz target for a short while
	@for pkg in $$(grep -rl --include='*_test.go' '^func Fuzz' . | grep -v /vendor/ | xargs -n1 dirname | sort -u); do \
		for target in $$(grep -rhoE '^func Fuzz[A-Za-z]+' $$pkg/*_test.go | sed 's/func //'); do \
			echo "== $$pkg $$target"; go test -run '^$$' -fuzz "^$$target$$" -fuzztime 10s $$pkg; \
		done; done

.PHONY: update
update: ## rewrite golden files
	go test $$(grep -rl --include='*_test.go' '"update"' . | xargs -n1 dirname | sort -u) -update

.PHONY: vuln
vuln: ## known vulnerabilities; needs the vulnerability database
	go run golang.org/x/vuln/cmd/govulncheck@v1.1.4 ./...
