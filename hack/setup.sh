#!/bin/sh
# Prepares a Debian or Ubuntu machine for this repository's tests and demo.
#
#   hack/setup.sh [tests|lint|deploy|bench]...
#
# tests   (default) Debian packages, buildkitd, buildctl, docker, buildx and
#         compose, a test with testcontainers-go, the libraries of tasks for Node,
#         the container configuration of the test host, headless Chromium, and the
#         base images
# lint    golangci-lint
# deploy  kustomize, kubeconform and the Kubernetes API description
# bench   the peers that the benchmarks compare with
#
# It needs Go and root, or sudo for the packages. It may be repeated: what is
# there already is left alone, and with nothing to do it ends at once. All it
# makes lies in .build/, except for the Debian packages; no configuration of the
# user or the machine is changed.
set -eu

cd "$(dirname "$0")/.."
root=$PWD
build=$root/.build
bin=$build/bin
stamps=$build/stamps

# What the real components of the tests need. mmdebstrap makes the base images.
packages="podman runc conmon netavark aardvark-dns containernetworking-plugins iptables
fuse-overlayfs slirp4netns uidmap catatonit mmdebstrap git git-lfs ca-certificates openssl nodejs
zip unzip bzip2 xz-utils 7zip gcc g++ libc6-dev python3 libatomic1 strace pkg-config libseccomp-dev qemu-user-static"
# A program of each package that has one, to see quickly that all is there.
programs="podman runc conmon iptables fuse-overlayfs slirp4netns newuidmap catatonit mmdebstrap git git-lfs openssl node npm
zip unzip bzip2 xz 7zz gcc g++ python3 strace pkg-config qemu-aarch64-static qemu-x86_64-static
/usr/lib/podman/netavark /usr/lib/podman/aardvark-dns /usr/lib/cni/bridge"
# A Node that is not Debian's brings npm along and refuses Debian's.
command -v npm >/dev/null || packages="$packages npm"

buildkit=0.34.2
buildx=0.38.2
docker=29.8.2
compose_version=5.5.0

# The flags of the repository's own builds must not reach the tools' modules.
unset GOFLAGS GOOS GOARCH GOWORK 2>/dev/null || true
export CGO_ENABLED=0

say() { printf 'setup: %s\n' "$*"; }
fail() {
	printf 'setup: %s\n' "$*" >&2
	exit 1
}

# as_root runs a command as root.
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		fail "installing packages and building images need root: run this as root, or install sudo"
	fi
}

# found tells whether every named program is there; root's places are looked at
# too, because a user's PATH may lack them.
found() {
	for program in "$@"; do
		PATH=$PATH:/usr/sbin:/sbin:/usr/libexec/podman command -v "$program" >/dev/null || return 1
	done
}

# current tells whether a stage has run with these inputs and its results are
# still there: current STAGE RESULT...
current() {
	stamp=$stamps/$1
	shift
	[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$inputs" ] || return 1
	for result in "$@"; do
		[ -e "$result" ] || return 1
	done
}

# done_with STAGE remembers the inputs a stage has run with.
done_with() {
	mkdir -p "$stamps"
	printf '%s\n' "$inputs" >"$stamps/$1"
}

# digest FILE... names the contents of files.
digest() { cat "$@" | sha256sum | cut -d' ' -f1; }

# go_tool DIR RESULT PACKAGE [GO-FLAG]... builds a program in the module tools/DIR.
go_tool() {
	dir=$1 result=$2 package=$3
	shift 3
	inputs=$({ printf '%s\n' "$package" "$@"; cat "tools/$dir/go.mod" "tools/$dir/go.sum"; } | sha256sum | cut -d' ' -f1)
	if current "bin-$result" "$bin/$result"; then
		return
	fi
	say "building $result (from tools/$dir; minutes the first time)"
	mkdir -p "$bin"
	(cd "tools/$dir" && CGO_ENABLED=${cgo:-0} go build -trimpath "$@" -o "$bin/$result.new" "$package")
	mv "$bin/$result.new" "$bin/$result"
	done_with "bin-$result"
}

# go_test_program DIR RESULT builds the tests of the module tools/DIR as a program.
go_test_program() {
	inputs=$(digest "tools/$1"/go.mod "tools/$1"/go.sum "tools/$1"/*.go)
	if current "bin-$2" "$bin/$2"; then
		return
	fi
	say "building $2 (from tools/$1; minutes the first time)"
	mkdir -p "$bin"
	(cd "tools/$1" && go test -c -trimpath -ldflags "-s -w" -o "$bin/$2.new" .)
	mv "$bin/$2.new" "$bin/$2"
	done_with "bin-$2"
}

need_go() {
	command -v go >/dev/null || fail "Go is missing: install it from https://go.dev/dl (version in go.mod) and put it on PATH"
}

debian_packages() {
	inputs=$(printf '%s' "$packages" | sha256sum)
	# shellcheck disable=SC2086 # lists of words
	if current packages && found $programs; then
		return
	fi
	# shellcheck disable=SC1091 # the machine's own file
	ids=$(. /etc/os-release 2>/dev/null && echo "${ID:-} ${ID_LIKE:-}") || ids=
	case " $ids " in
	*" debian "* | *" ubuntu "*) ;;
	*)
		# shellcheck disable=SC2086 # lists of words
		found $programs || fail "this is not Debian or Ubuntu: install what Debian calls" $packages "by hand, so that these programs are there:" $programs
		return
		;;
	esac
	wanted=
	for package in $packages; do
		case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true) in
		installed) ;;
		*) wanted="$wanted $package" ;;
		esac
	done
	if [ -n "$wanted" ]; then
		say "Debian packages to install:$wanted"
		as_root apt-get update -q
		# shellcheck disable=SC2086 # a list of words
		as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $wanted
	fi
	# shellcheck disable=SC2086 # a list of words
	found $programs || fail "the packages are installed, but one of these programs is missing:" $programs
	done_with packages
}

# browser installs Chromium without a display. Ubuntu has it as a snap only, which
# sees no other directory than its own: there a Chrome has to be installed by hand.
browser() {
	for program in chromium-headless-shell chromium chromium-browser google-chrome google-chrome-stable; do
		if found "$program"; then
			return
		fi
	done
	command -v apt-get >/dev/null || fail "install Chromium or Chrome by hand, so that chromium or google-chrome is on PATH"
	as_root apt-get update -q
	if ! apt-cache show chromium-headless-shell >/dev/null 2>&1; then
		fail "there is no package chromium-headless-shell here: install Chromium or Chrome by hand, so that chromium or google-chrome is on PATH"
	fi
	say "Debian package to install: chromium-headless-shell"
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends chromium-headless-shell fonts-dejavu-core
}

docker_config() {
	# The docker command finds buildx here with DOCKER_CONFIG=.build/docker, and
	# through the link in cli-plugins of a copy of this folder.
	mkdir -p "$build/docker/cli-plugins"
	[ -e "$build/docker/config.json" ] || printf '{"cliPluginsExtraDirs": ["%s"]}\n' "$bin" >"$build/docker/config.json"
}

# container_config writes how containers run on a test host. It works by hand
# with CONTAINERS_CONF and CONTAINERS_STORAGE_CONF; test/rig copies it for each
# service and puts its own directory, subnet and mirror in.
container_config() {
	inputs=$(digest hack/setup.sh; printf '%s' "$root")
	if current containers "$build/containers/containers.conf" "$build/containers/storage.conf"; then
		return
	fi
	say "writing the test host's container configuration to .build/containers"
	[ -e /etc/containers/policy.json ] || fail "/etc/containers/policy.json is missing: reinstall the package golang-github-containers-image"
	state=$build/podman
	mkdir -p "$build/containers"
	cat >"$build/containers/containers.conf" <<-END
		# Written by hack/setup.sh; changes are lost.
		[containers]
		# Podman's own defaults are above the limits of a root without
		# CAP_SYS_RESOURCE and end there with "error setting rlimit".
		default_ulimits = ["nofile=16384:16384", "nproc=32768:32768"]
		log_driver = "k8s-file"

		[engine]
		# crun refuses a host that mixes cgroup v1 and v2; there is no systemd
		# in a container to make cgroups or keep the journal.
		runtime = "runc"
		cgroup_manager = "cgroupfs"
		events_logger = "file"
		# Locks in files: those in shared memory are one set for the whole host.
		lock_type = "file"
		tmp_dir = "$state/tmp"
		# Where Podman's own clean-up after a container looks, too: it is started
		# with --root, which overrides any other place for these two.
		static_dir = "$state/graph/libpod"
		volume_path = "$state/graph/volumes"
		image_copy_tmp_dir = "$state/copy"
		# The first is for the tests, which keep their services' bridges apart.
		helper_binaries_dir = ["$state/helpers", "/usr/local/libexec/podman", "/usr/local/lib/podman", "/usr/libexec/podman", "/usr/lib/podman"]

		[network]
		network_backend = "netavark"
		network_config_dir = "$state/networks"
		default_subnet = "10.160.0.0/24"
		default_subnet_pools = [{"base" = "10.160.128.0/17", "size" = 24}]
	END
	cat >"$build/containers/storage.conf" <<-END
		# Written by hack/setup.sh; changes are lost.
		[storage]
		driver = "overlay"
		graphroot = "$state/graph"
		runroot = "$state/run"
	END
	cat >"$build/containers/registries.conf" <<-END
		# Written by hack/setup.sh; changes are lost.
		unqualified-search-registries = ["docker.io"]
		short-name-mode = "permissive"

		[[registry]]
		location = "docker.io"

		[[registry.mirror]]
		location = "127.0.0.1:5000"
		insecure = true
	END
	done_with containers
}

# own_tool RESULT PACKAGE builds a program of this repository that the tests run.
own_tool() {
	inputs=$(digest go.mod "$2"/*.go)
	if current "bin-$1" "$bin/$1"; then
		return
	fi
	say "building $1 (from $2)"
	go build -trimpath -tags=remote,containers_image_openpgp -ldflags "-s -w" -o "$bin/$1" "$2"
	done_with "bin-$1"
}

# node_modules installs what the tests run by Node, with the versions and
# checksums of the lock file. No package may run a script of its own.
node_modules() {
	inputs=$(digest tools/tasks/package.json tools/tasks/package-lock.json)
	if current node "$build/node/node_modules/azure-pipelines-task-lib/task.js" "$build/node/node_modules/azure-pipelines-tool-lib/tool.js"; then
		return
	fi
	say "installing the libraries of tasks (.build/node)"
	mkdir -p "$build/node"
	cp tools/tasks/package.json tools/tasks/package-lock.json "$build/node/"
	(cd "$build/node" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
	done_with node
}

base_images() {
	inputs=$(find test/images -type f ! -name '*_test.go' | LC_ALL=C sort | xargs cat | sha256sum)
	if current images "$build/images/complete"; then
		return
	fi
	say "building the base images (.build/images; minutes the first time)"
	if [ "$(id -u)" = 0 ]; then
		go run -tags=remote,containers_image_openpgp ./test/images -o "$build/images"
	else
		go build -tags=remote,containers_image_openpgp -o "$bin/build-images" ./test/images
		as_root "$bin/build-images" -o "$build/images" -goroot "$(go env GOROOT)"
	fi
	done_with images
}

tests_stage() {
	debian_packages
	browser
	need_go
	kit=github.com/moby/buildkit
	for tool in buildkitd buildctl; do
		go_tool buildkit $tool $kit/cmd/$tool -ldflags "-s -w -X $kit/version.Version=v$buildkit -X $kit/version.Package=$kit"
	done
	# The frontend that a line # syntax= names, for an image with nothing else in it.
	(
		export CGO_ENABLED=0
		go_tool buildkit dockerfile-frontend $kit/frontend/dockerfile/cmd/dockerfile-frontend -ldflags "-s -w"
	)
	x=github.com/docker/buildx
	go_tool buildx docker-buildx $x/cmd/buildx -ldflags "-s -w -X $x/version.Version=v$buildx -X $x/version.Package=$x"
	# Without a go.mod of its own, docker/cli counts as a module of Go 1.16.
	cli=github.com/docker/cli
	go_tool docker docker $cli/cmd/docker -gcflags="$cli/...=-lang=go1.26" -ldflags "-s -w -X $cli/cli/version.Version=$docker"
	compose=github.com/docker/compose/v5
	go_tool compose docker-compose $compose/cmd -ldflags "-s -w -X $compose/internal.Version=v$compose_version"
	# The newest generation of Podman beside Debian's; unlike the others it needs C.
	cgo=1
	go_tool podman podman5 github.com/containers/podman/v5/cmd/podman \
		-tags "containers_image_openpgp exclude_graphdriver_btrfs seccomp" -ldflags "-s -w"
	cgo=0
	go_test_program testcontainers testcontainers.test
	docker_config
	container_config
	own_tool registry ./test/rig/registry
	node_modules
	base_images
}

lint_stage() {
	need_go
	lint=github.com/golangci/golangci-lint/v2
	go_tool golangci-lint golangci-lint $lint/cmd/golangci-lint -ldflags "-s -w"
}

deploy_stage() {
	need_go
	go_tool kustomize kustomize sigs.k8s.io/kustomize/kustomize/v5 -ldflags "-s -w"
	go_tool kubeconform kubeconform github.com/yannh/kubeconform/cmd/kubeconform -ldflags "-s -w"
	go_test_program promql promql.test
	inputs=$(digest tools/kubernetes/go.mod tools/kubernetes/go.sum)
	if ! current kubernetes; then
		say "fetching the Kubernetes API description"
		(cd tools/kubernetes && go mod download k8s.io/kubernetes)
		done_with kubernetes
	fi
}

bench_stage() {
	packages="$packages podman-compose buildah" programs="$programs podman-compose buildah"
	debian_packages
}

[ $# -gt 0 ] || set -- tests
for stage in "$@"; do
	case $stage in
	tests) tests_stage ;;
	lint) lint_stage ;;
	deploy) deploy_stage ;;
	bench) bench_stage ;;
	*) fail "unknown stage $stage: tests, lint, deploy or bench" ;;
	esac
done
say "ready ($*)"
