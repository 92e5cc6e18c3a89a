package buildkitconf

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Options say what a configuration has besides its limits. The zero value is a
// worker of BuildKit's own ("oci") on a volume that nobody else writes to.
type Options struct {
	Origin    string   // how the text was made, for its first line; empty: not said
	Worker    string   // "oci" or "containerd"; empty is oci
	Root      string   // directory of buildkitd's state; empty: its default
	Addresses []string // unix:// or tcp://; empty: from the command line
	TLS       TLS
	// Shared is true when others keep data on the volume, too, as on the disk of a
	// laptop or of the machine itself.
	Shared   bool
	Rootless bool
	// NoProcessSandbox runs steps in buildkitd's own process namespace, which an
	// unprivileged pod needs.
	NoProcessSandbox bool
	Snapshotter      string // empty: BuildKit chooses
	Registries       map[string]Registry
}

// TLS names PEM files. The zero value is no TLS.
type TLS struct{ CA, Cert, Key string }

// Registry says how buildkitd speaks to one registry, by its host:port.
type Registry struct {
	HTTP     bool     // no TLS at all
	Insecure bool     // TLS with a certificate that nobody checks
	Mirrors  []string // asked first
	CA       []string // PEM files
}

// Generate returns a buildkitd.toml for a volume of size bytes: its cache stays
// below a ceiling, and a build starts with room to grow. It depends on its
// arguments only. A volume that is too small for a builder is an error.
func Generate(size int64, o Options) (string, error) {
	worker := cmp.Or(o.Worker, "oci")
	switch {
	case worker != "oci" && worker != "containerd":
		return "", fmt.Errorf("buildkitd has no worker %q", worker)
	case size < minVolume:
		return "", fmt.Errorf("a volume of %s is too small to build on: it needs %s", Human(size), Human(minVolume))
	case worker == "containerd" && o.NoProcessSandbox:
		return "", errors.New("only the oci worker can do without a process sandbox")
	}
	w := &writer{}
	w.head(size, o)
	w.listen(o)
	w.worker(worker, o)
	w.tiers(worker, limitsOf(size, o.Shared), o.Shared)
	other := map[string]string{"oci": "containerd", "containerd": "oci"}[worker]
	w.printf("\n# One worker: the other would have limits of its own on the same volume.\n[worker.%s]\n  enabled = false\n", other)
	w.registries(o.Registries)
	return w.String(), nil
}

// writer builds the text.
type writer struct{ strings.Builder }

func (w *writer) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(w, format, args...) // a strings.Builder takes everything
}

func (w *writer) head(size int64, o Options) {
	whose := "that only buildkitd writes to"
	if o.Shared {
		whose = "that others write to as well"
	}
	if o.Origin != "" {
		w.printf("# Made by: %s\n#\n", o.Origin)
	}
	w.printf("# For a volume of %s %s. BuildKit reads GB as 2^30 bytes.\n", sizeText(size), whose)
	w.WriteString(`#
# BuildKit removes cache after a build, at most once a minute, and never during
# one. It counts its records and not the blocks of the disk: databases, logs of
# builds, the layers of running steps and what the file system keeps for itself
# come on top. So the ceiling stays well below the size of the volume.
`)
	if o.Root != "" {
		w.printf("\nroot = %s\n", quote(o.Root))
	}
}

func (w *writer) listen(o Options) {
	if len(o.Addresses) == 0 && o.TLS == (TLS{}) {
		return
	}
	w.WriteString("\n[grpc]\n")
	if len(o.Addresses) > 0 {
		w.printf("  address = %s\n", quoteAll(o.Addresses))
	}
	if o.TLS != (TLS{}) {
		w.printf("  # Who has no certificate of this authority may not build: a build is a program that runs here.\n")
		w.printf("  [grpc.tls]\n    ca = %s\n    cert = %s\n    key = %s\n", quote(o.TLS.CA), quote(o.TLS.Cert), quote(o.TLS.Key))
	}
}

func (w *writer) worker(name string, o Options) {
	w.printf("\n[worker.%s]\n  enabled = true\n  gc = true\n", name)
	if o.Rootless {
		w.WriteString("  # In a user namespace: root in a step is nobody on the machine.\n  rootless = true\n")
	}
	if o.NoProcessSandbox {
		w.WriteString("  # An unprivileged pod may not mount /proc anew for each step.\n  noProcessSandbox = true\n")
	}
	if o.Snapshotter != "" {
		w.WriteString("  # Named, because \"auto\" copies whole trees without a word where overlays do not work.\n")
		w.printf("  snapshotter = %s\n", quote(o.Snapshotter))
	}
}

// tiers writes the policy. The tiers are tried in this order after each build, and
// each looks at the size of the whole cache.
func (w *writer) tiers(worker string, l limits, shared bool) {
	tier := func(comment string) {
		w.printf("\n  %s\n  [[worker.%s.gcpolicy]]\n", strings.ReplaceAll(strings.TrimSpace(comment), "\n", "\n  "), worker)
	}
	set := func(key, value, why string) { w.printf("    %-13s = %-8s # %s\n", key, value, why) }
	limit := func(key string, n int64, why string) { set(key, quote(sizeText(n)), why) }
	age := func(hours int, why string) { set("keepDuration", fmt.Sprintf("%q", fmt.Sprintf("%dh", hours)), why) }

	tier("# Build contexts and checkouts are sent again at little cost.")
	set("filters", `["type==source.local", "type==source.git.checkout"]`, "contexts, checkouts")
	age(contextAge, "two days without use")
	limit("maxUsedSpace", l.maxUsed/10, "once the cache has a tenth of its ceiling")

	tier("# Package caches (RUN --mount=type=cache) exist here only and are slow to fill.")
	set("filters", `["type==exec.cachemount"]`, "cache mounts")
	age(mountAge, "a long weekend does not cost them")
	limit("maxUsedSpace", l.maxUsed/2, "once the cache has half of its ceiling")

	tier("# What no branch used for a month goes before what is used daily.")
	age(recordAge, "30 days without use")
	limit("maxUsedSpace", l.maxUsed*3/4, "once the cache has three quarters of its ceiling")

	ceiling := func() {
		if shared {
			limit("reservedSpace", l.reserved, "stays when others fill the volume: 5%, at most 10GB")
			limit("maxUsedSpace", l.maxUsed, "half of the volume, at most 100GB: the rest is the others'")
			limit("minFreeSpace", l.minFree, "room for a build and for the others: 20%, at most 50GB")
			return
		}
		limit("reservedSpace", l.reserved, "stays when something else fills the volume: 20%, at most 50GB")
		limit("maxUsedSpace", l.maxUsed, "the volume, less the room below and 10% (at most 50GB) for what is not counted")
		limit("minFreeSpace", l.minFree, "room for what builds write before the next look: 15%, at most 50GB")
	}
	tier("# The ceiling: no age, so that it holds for a cache that is used every minute.")
	ceiling()
	tier("# The same for what BuildKit keeps for itself, frontends and helper images, if\n# that was not enough.")
	set("all", "true", "internal records as well")
	ceiling()
}

func (w *writer) registries(all map[string]Registry) {
	for _, host := range slices.Sorted(maps.Keys(all)) {
		r := all[host]
		w.printf("\n[registry.%s]\n", quote(host))
		if len(r.Mirrors) > 0 {
			w.printf("  mirrors = %s\n", quoteAll(r.Mirrors))
		}
		if r.HTTP {
			w.WriteString("  # No certificate: only for a registry in a network that nobody else is in.\n  http = true\n")
		}
		if r.Insecure {
			w.WriteString("  # Any certificate will do: whoever is in between can change images.\n  insecure = true\n")
		}
		if len(r.CA) > 0 {
			w.printf("  ca = %s\n", quoteAll(r.CA))
		}
	}
}

// quote writes a TOML basic string.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range strings.ToValidUTF8(s, "\uFFFD") {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func quoteAll(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = quote(s)
	}
	return "[" + strings.Join(out, ", ") + "]"
}
