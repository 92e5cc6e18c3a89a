package imagebuild

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/client"
	"github.com/tonistiigi/fsutil"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/hint"
)

// argSyntax is the build argument that names a frontend as # syntax= does.
const argSyntax = "BUILDKIT_SYNTAX"

// options returns what all solves of the build have in common.
func (s *solver) options(imports []buildcache.Entry) (client.SolveOpt, error) {
	attachables, err := s.attachables()
	if err != nil {
		return client.SolveOpt{}, err
	}
	attrs, err := s.attrs()
	if err != nil {
		return client.SolveOpt{}, err
	}
	opt := client.SolveOpt{
		Frontend:            "dockerfile.v0",
		FrontendAttrs:       attrs,
		LocalMounts:         make(map[string]fsutil.FS),
		CacheImports:        solveEntries(imports, s.r.Insecure),
		Session:             attachables,
		SharedKey:           s.sharedKey(),
		AllowedEntitlements: s.entitlements(),
	}
	if syntax := strings.TrimSpace(s.r.BuildArgs[argSyntax]); syntax != "" {
		image, _, _ := strings.Cut(syntax, " ")
		opt.Frontend = "gateway.v0"
		attrs["source"], attrs["cmdline"] = image, s.r.BuildArgs[argSyntax]
	}
	if err := s.addSources(&opt); err != nil {
		return client.SolveOpt{}, err
	}
	if s.merger != nil {
		// All parts have the form of an image for several platforms, so that each
		// output holds each platform apart and every step names its own.
		attrs["multi-platform"] = "true"
	}
	return opt, nil
}

// argMounts is the build argument that BuildKit puts before the ids of cache
// mounts. It is in the cache key of a step whose mount has no id of its own and is
// shared, so that the fork runs such a step itself; others hit everybody's caches.
const argMounts = "BUILDKIT_CACHE_MOUNT_NS"

// attrs returns the settings of the Dockerfile frontend.
func (s *solver) attrs() (map[string]string, error) {
	out := make(map[string]string)
	for k, v := range s.r.BuildArgs {
		out["build-arg:"+k] = v
	}
	if fork := s.r.Cache.Fork; fork != "" {
		// What a fork's steps leave in a cache mount, nobody else's find there.
		sum := sha256.Sum256([]byte(fork))
		out["build-arg:"+argMounts] = "fork-" + hex.EncodeToString(sum[:16]) + strings.ReplaceAll("-"+s.r.BuildArgs[argMounts], "/", "-")
	}
	for k, v := range s.r.Labels {
		out["label:"+k] = v
	}
	s.addAttestations(out)
	if s.r.Target != "" {
		out["target"] = s.r.Target
	}
	if s.platform != "" {
		out["platform"] = s.platform
	}
	if len(s.r.NoCacheFilter) > 0 {
		out["no-cache"] = strings.Join(s.r.NoCacheFilter, ",")
	}
	if s.r.NoCache {
		out["no-cache"] = ""
	}
	if s.r.Pull {
		out["image-resolve-mode"] = "pull"
	}
	if err := s.addSandbox(out); err != nil {
		return nil, err
	}
	return out, nil
}

// addAttestations asks for attestations. BuildKit takes a provenance's builder
// from its settings, and puts every option that begins with "vcs:" into the
// metadata of its mode min too, under buildkit_metadata.vcs.
func (s *solver) addAttestations(out map[string]string) {
	for kind, settings := range s.r.Attestations {
		p := s.r.Provenance
		if kind == "provenance" {
			if p.Builder != "" && !hasField(settings, "builder-id") {
				settings = strings.TrimPrefix(settings+","+csvField("builder-id="+p.Builder), ",")
			}
			for k, v := range map[string]string{"source": p.Source, "revision": p.Revision, "run": p.Run, "job": p.Job} {
				if v != "" {
					out["vcs:"+k] = v
				}
			}
		}
		out["attest:"+kind] = settings
	}
}

// hasField reports whether a comma-separated list of key=value has the key.
func hasField(list, key string) bool {
	return slices.ContainsFunc(strings.Split(list, ","), func(f string) bool {
		return strings.HasPrefix(strings.TrimLeft(f, ` "`), key+"=")
	})
}

// csvField quotes a field of a comma-separated list where that needs it.
func csvField(f string) string {
	if !strings.ContainsAny(f, ",\"\n") {
		return f
	}
	return `"` + strings.ReplaceAll(f, `"`, `""`) + `"`
}

// resourceAttrs are the frontend's names of resources.
var resourceAttrs = map[string]string{
	"memory": "memory", "memory-swap": "memswap",
	"cpu-shares": "cpushares", "cpu-period": "cpuperiod", "cpu-quota": "cpuquota",
	"cpuset-cpus": "cpusetcpus", "cpuset-mems": "cpusetmems",
}

// addSandbox says how the sandbox of every step looks.
func (s *solver) addSandbox(out map[string]string) error {
	set := func(key, value string) {
		if value != "" {
			out[key] = value
		}
	}
	hosts, err := hostLines(s.r.AddHosts, s.node)
	if err != nil {
		return err
	}
	set("add-hosts", hosts)
	set("ulimit", strings.Join(s.r.Ulimits, ","))
	if s.r.ShmSize > 0 {
		out["shm-size"] = strconv.FormatInt(s.r.ShmSize, 10)
	}
	set("force-network-mode", s.r.Network)
	set("cgroup-parent", s.r.CgroupParent)
	for name, value := range s.r.Resources {
		set(resourceAttrs[name], value)
	}
	return nil
}

// entitlements returns what the build may do beyond the ordinary. Whoever asks
// for the host's network asks for the right to it.
func (s *solver) entitlements() []string {
	out := slices.Clone(s.r.Allow)
	if s.r.Network == "host" && !slices.Contains(out, "network.host") {
		out = append(out, "network.host")
	}
	return out
}

const (
	// hostGateway stands for the machine that the steps run on.
	hostGateway = "host-gateway"
	// labelGateway is the label by which Docker's own BuildKit tells its address.
	labelGateway = "org.mobyproject.buildkit.worker.moby.host-gateway-ip"
	labelNetwork = "org.mobyproject.buildkit.worker.network"
)

// hostLines turns name:address into what the frontend takes.
func hostLines(list []string, node buildxsetup.Node) (string, error) {
	var out []string
	for _, line := range list {
		name, address, _ := strings.Cut(line, ":")
		if address == hostGateway {
			var err error
			if address, err = gatewayOf(node); err != nil {
				return "", err
			}
		}
		out = append(out, name+"="+address)
	}
	return strings.Join(out, ","), nil
}

// gatewayOf returns the address by which steps reach the node they run on.
func gatewayOf(node buildxsetup.Node) (string, error) {
	for _, w := range node.Workers {
		if ip := w.Labels[labelGateway]; net.ParseIP(ip) != nil {
			return ip, nil
		}
		if w.Labels[labelNetwork] == "host" {
			return "127.0.0.1", nil // steps share the network of the node
		}
	}
	return "", hint.With(fmt.Errorf("node %s does not tell by which address its steps reach it, so host-gateway means nothing", node.Name),
		"write the address instead: --add-host NAME:ADDRESS")
}

// addSources says what the solve reads: context, Dockerfile and named contexts.
func (s *solver) addSources(opt *client.SolveOpt) error {
	caps := make(map[string]bool)
	if err := s.addContext(opt, caps); err != nil {
		return fmt.Errorf("reading the build context: %w", err)
	}
	if err := s.addDockerfile(opt); err != nil {
		return fmt.Errorf("reading the Dockerfile: %w", err)
	}
	for i, name := range slices.Sorted(maps.Keys(s.r.Contexts)) {
		if err := s.addNamed(opt, caps, name, s.r.Contexts[name], i); err != nil {
			return fmt.Errorf("reading the build context %s: %w", name, err)
		}
	}
	if len(caps) > 0 {
		opt.FrontendAttrs["frontend.caps"] = strings.Join(slices.Sorted(maps.Keys(caps)), ",")
	}
	return nil
}

// addFile gives the solve a Dockerfile of this machine.
func (s *solver) addFile(opt *client.SolveOpt, file string) (err error) {
	opt.FrontendAttrs["filename"] = filepath.Base(file)
	opt.LocalMounts[localDockerfile], err = s.localFS(filepath.Dir(file))
	return err
}
