package buildkitconf

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Level says how bad a finding is.
type Level int

// Levels.
const (
	Remark  Level = iota + 1 // worth knowing
	Warning                  // works, until it does not
	Fault                    // wedges builds sooner or later, or is no configuration at all
)

func (l Level) String() string {
	switch l {
	case Remark:
		return "remark"
	case Warning:
		return "warning"
	case Fault:
		return "fault"
	}
	return "unknown"
}

// MarshalText writes the level's name.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// Finding is one thing that is wrong with a configuration.
type Finding struct {
	Line  int    `json:"line,omitempty"` // counted from one; zero: not of one line
	Level Level  `json:"level"`
	Rule  string `json:"rule"` // stable name, "no-ceiling"
	Text  string `json:"text"`
	Hint  string `json:"hint,omitempty"`
}

// Surroundings are what a configuration does not say itself.
type Surroundings struct {
	// Stat looks at the volume of a root directory. Nil when the configuration
	// belongs to another machine.
	Stat func(root string) (Volume, error)
}

// Lint returns what is wrong with a buildkitd.toml, in the order of its lines.
// Any text is allowed; what buildkitd would not start with is a [Fault].
func Lint(document string, around Surroundings) []Finding {
	root, wrong := parse(document)
	if wrong != nil {
		return []Finding{*wrong}
	}
	l := &linter{root: root}
	l.checkKeys("", root, shape{kind: table, keys: known})
	l.checkRoot(around)
	l.checkAccess()
	for _, name := range []string{"oci", "containerd"} {
		worker := root.get("worker", name)
		if worker != nil && !worker.get("enabled").isFalse() {
			l.checkWorker(name, worker)
		}
	}
	slices.SortStableFunc(l.findings, func(a, b Finding) int { return cmp.Compare(a.Line, b.Line) })
	return l.findings
}

type linter struct {
	root     *node
	volume   Volume
	findings []Finding
}

func (l *linter) add(line int, level Level, rule, hint, format string, args ...any) {
	l.findings = append(l.findings, Finding{Line: line, Level: level, Rule: rule, Text: fmt.Sprintf(format, args...), Hint: hint})
}

// checkKeys finds keys that buildkitd passes over and values it cannot read.
func (l *linter) checkKeys(path string, n *node, s shape) {
	for _, key := range n.order {
		value := n.keys[key]
		full := strings.TrimPrefix(path+"."+key, ".")
		if s.each != nil {
			l.checkValue(full, value, *s.each)
			continue
		}
		name, of, ok := s.keys.find(key)
		if !ok {
			hint := "remove it; docs/buildkitd.toml.md of BuildKit lists the keys"
			if near := nearest(key, s.keys); near != "" {
				hint = "write " + near
			}
			l.add(value.line, Warning, "unknown-key", hint, "buildkitd knows no key %s and passes over it", full)
			continue
		}
		if of.old != "" {
			l.add(value.line, Warning, "deprecated", "write "+of.old, "%s is deprecated", strings.TrimPrefix(path+"."+name, "."))
		}
		l.checkValue(full, value, of)
	}
}

func (l *linter) checkValue(path string, n *node, s shape) {
	is := func(kinds ...unstable.Kind) bool { return slices.Contains(kinds, n.kind) }
	var fits bool
	want := ""
	switch s.kind {
	case anything:
		fits = true
	case text:
		fits, want = is(unstable.String), "a text in quotes"
	case boolean:
		fits, want = is(unstable.Bool), "true or false"
	case number:
		fits, want = is(unstable.Integer), "a number"
	case amount:
		_, err := parseSpace(strings.ReplaceAll(n.text, "_", ""))
		fits, want = is(unstable.String, unstable.Integer) && err == nil, `an amount of disk such as "20GB", "10%" or a number of bytes`
	case duration:
		_, ok := n.duration()
		fits, want = is(unstable.String, unstable.Integer) && ok, `a time such as "48h" or a number of seconds`
	case list:
		fits, want = is(unstable.Array) && !slices.ContainsFunc(n.items, func(i *node) bool { return i.kind != unstable.String }), "a list of texts"
	case table:
		if fits, want = is(unstable.Table), "a table"; fits {
			l.checkKeys(path, n, s)
		}
	case tables:
		if fits, want = is(unstable.Array), "an array of tables, [["+path+"]]"; fits {
			for _, item := range n.items {
				if item.kind != unstable.Table {
					fits = false
					break
				}
				l.checkKeys(path, item, s)
			}
		}
	}
	if !fits {
		l.add(n.line, Fault, "value", "write "+want, "buildkitd does not start with this: %s is not %s", path, want)
	}
}

// checkRoot looks at the volume, when it is here.
func (l *linter) checkRoot(around Surroundings) {
	if around.Stat == nil {
		return
	}
	root, line := DefaultRoot(l.rootless()), 0
	if n := l.root.get("root"); n.string() != "" {
		root, line = n.string(), n.line
	}
	v, err := around.Stat(root)
	if err != nil {
		l.add(line, Remark, "root", "", "the volume of %s cannot be looked at: %v", root, err)
		return
	}
	l.volume = v
	switch v.Type {
	case "nfs", "cifs", "smb2", "9p", "fuse":
		l.add(line, Fault, "network-root", "set root to a directory on a disk of the machine, or on a block volume",
			"%s is on %s: overlays and the locks of BuildKit's databases do not work there", root, v.Type)
	case "overlay":
		l.add(line, Warning, "overlay-root", "mount a volume at "+root,
			"%s is in a container's own layer: overlays do not stack, and the cache goes with the container", root)
	}
}

// rootless reports whether a worker is: buildkitd is one process, in one user
// namespace.
func (l *linter) rootless() bool {
	return l.root.get("worker", "oci", "rootless").isTrue() || l.root.get("worker", "containerd", "rootless").isTrue()
}

// checkAccess looks at who may do what.
func (l *linter) checkAccess() {
	if n := l.root.get("insecure-entitlements"); n != nil {
		for _, e := range n.strings() {
			switch e {
			case "security.insecure":
				l.add(n.line, Warning, "entitlement", "remove it, unless each build is trusted as root of the machine",
					"any build may ask for security.insecure, which is root without a sandbox")
			case "network.host":
				l.add(n.line, Warning, "entitlement", "remove it, unless builds need what listens on the machine itself",
					"any build may ask for network.host, and reach what listens on the machine itself")
			case "device":
				l.add(n.line, Warning, "entitlement", "remove it, unless builds need devices", "any build may ask for every device of the machine")
			}
		}
	}
	tls := l.root.get("grpc", "tls")
	addresses := l.root.get("grpc", "address")
	for _, address := range addresses.strings() {
		u, err := url.Parse(address)
		if err != nil || u.Scheme != "tcp" {
			continue
		}
		who := "whoever reaches the port"
		if ip := net.ParseIP(u.Hostname()); ip != nil && ip.IsLoopback() || u.Hostname() == "localhost" {
			who = "every user of the machine"
		}
		switch {
		case tls.get("cert").string() == "":
			l.add(addresses.line, Warning, "no-tls", "set ca, cert and key in [grpc.tls], or --tlscacert, --tlscert and --tlskey",
				"%s listens without TLS: %s runs programs here", address, who)
		case tls.get("ca").string() == "":
			l.add(tls.line, Warning, "no-client-certificates", "set ca in [grpc.tls] to the authority of the clients' certificates",
				"%s asks for no client certificate: %s runs programs here", address, who)
		}
	}
}

// checkWorker looks at a worker that is enabled.
func (l *linter) checkWorker(name string, worker *node) {
	path := "worker." + name
	if n := worker.get("snapshotter"); n.string() == "native" {
		l.add(n.line, Warning, "native-snapshotter", `set snapshotter to "overlayfs", or to "fuse-overlayfs" without root on kernels before 5.13`,
			"the native snapshotter copies the whole file system for each step")
	}
	if !worker.get("rootless").isTrue() && name == "oci" {
		l.add(0, Remark, "no-user-namespace", "run buildkitd rootless (rootlesskit, or the image moby/buildkit:rootless), if the machine allows it",
			"nothing here says that buildkitd runs in a user namespace: root in a step would be root of the machine, behind seccomp and capabilities only")
	}
	if n := worker.get("noProcessSandbox"); n.isTrue() {
		level := Warning
		if worker.get("rootless").isTrue() {
			level = Remark // as any unprivileged pod has to
		}
		l.add(n.line, level, "no-process-sandbox", "remove noProcessSandbox where steps may mount /proc",
			"steps see the processes of other builds and of buildkitd, and can end them")
	}
	if n := worker.get("gc"); n.isFalse() {
		l.add(n.line, Fault, "no-gc", "set gc to true", "garbage collection is off: the cache grows until the volume is full")
		return
	}
	tiers := readTiers(worker)
	own := worker.get("gcpolicy")
	if own != nil && len(own.items) > 0 {
		for _, key := range []string{"gckeepstorage", "reservedSpace", "maxUsedSpace", "minFreeSpace"} {
			if n := worker.get(key); n != nil {
				l.add(n.line, Warning, "limit-without-effect", "set it in the last [["+path+".gcpolicy]], or remove all of those",
					"%s.%s has no effect: the worker has a gcpolicy of its own", path, key)
			}
		}
	}
	l.findings = append(l.findings, judge(tiers, l.volume)...)
}

// nearest returns the known key that key is most likely a misspelling of: at
// most two letters differ, and less than half of them.
func nearest(key string, all keys) string {
	best, distance := "", min(3, (len(key)+1)/2)
	for name := range all {
		if d := edits(strings.ToLower(key), strings.ToLower(name)); d < distance || d == distance && best != "" && name < best {
			best, distance = name, d
		}
	}
	return best
}

// edits counts the letters to insert, remove or replace to make b of a.
func edits(a, b string) int {
	if len(a) > 64 || len(b) > 64 { // no key is that long
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
