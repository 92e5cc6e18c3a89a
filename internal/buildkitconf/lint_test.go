package buildkitconf

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/cmd/buildkitd/config"
)

// ceiling is a tier with which a configuration has no fault.
const ceiling = "[[worker.oci.gcpolicy]]\nall = true\nreservedSpace = \"1GB\"\nmaxUsedSpace = \"50GB\"\n"

func onDisk(size int64, kind string) Surroundings {
	return Surroundings{Stat: func(string) (Volume, error) { return Volume{Size: size, Type: kind}, nil }}
}

func TestPlantedFaultsAreFound(t *testing.T) {
	tests := map[string]struct {
		document string
		around   Surroundings
		rule     string
		level    Level
		line     int
	}{
		"collection switched off":       {document: "[worker.oci]\ngc = false\n", rule: "no-gc", level: Fault, line: 2},
		"only tiers with an age":        {document: "[[worker.oci.gcpolicy]]\nkeepDuration = \"48h\"\nmaxUsedSpace = \"1GB\"\n", rule: "no-ceiling", level: Fault, line: 1},
		"only tiers with a filter":      {document: "[[worker.oci.gcpolicy]]\nfilters = [\"type==regular\"]\nmaxUsedSpace = \"1GB\"\n", rule: "no-ceiling", level: Fault, line: 1},
		"a tier that keeps nothing":     {document: "[worker.oci]\n[[worker.oci.gcpolicy]]\nall = true\n", rule: "keeps-nothing", level: Fault, line: 2},
		"more reserved than allowed":    {document: "[worker.oci]\nreservedSpace = \"60GB\"\nmaxUsedSpace = \"50GB\"\n", rule: "reserved-above-max", level: Fault, line: 1},
		"the same in shares":            {document: "[worker.oci]\nreservedSpace = \"60%\"\nmaxUsedSpace = \"50%\"\n", rule: "reserved-above-max", level: Fault, line: 1},
		"the same in one of each":       {document: "[worker.oci]\nreservedSpace = \"60%\"\nmaxUsedSpace = \"50GB\"\n", around: onDisk(100*gb, "ext4"), rule: "reserved-above-max", level: Fault, line: 1},
		"the last tier with an age":     {document: ceiling + "[[worker.oci.gcpolicy]]\nkeepDuration = 172800\nmaxUsedSpace = \"1GB\"\n", rule: "last-tier-age", level: Warning, line: 5},
		"internal records spared":       {document: "[[worker.oci.gcpolicy]]\nmaxUsedSpace = \"50GB\"\n", rule: "spares-internal", level: Warning, line: 1},
		"a ceiling above the volume":    {document: ceiling, around: onDisk(20*gb, "ext4"), rule: "ceiling-above-volume", level: Fault, line: 1},
		"a ceiling near the volume":     {document: ceiling, around: onDisk(51*gb, "ext4"), rule: "ceiling-near-volume", level: Warning, line: 1},
		"more free than there is":       {document: "[worker.oci]\nmaxUsedSpace = \"5GB\"\nminFreeSpace = \"30GB\"\n", around: onDisk(20*gb, "ext4"), rule: "free-above-volume", level: Fault, line: 1},
		"limits beside a policy":        {document: "[worker.oci]\nmaxUsedSpace = \"5GB\"\n" + ceiling, rule: "limit-without-effect", level: Warning, line: 2},
		"copies for snapshots":          {document: "[worker.oci]\nsnapshotter = \"native\"\n", rule: "native-snapshotter", level: Warning, line: 2},
		"root on the machine":           {document: "[worker.oci]\nenabled = true\n", rule: "no-user-namespace", level: Remark},
		"no process sandbox":            {document: "[worker.oci]\nnoProcessSandbox = true\n", rule: "no-process-sandbox", level: Warning, line: 2},
		"none in a user namespace":      {document: "[worker.oci]\nrootless = true\nnoProcessSandbox = true\n", rule: "no-process-sandbox", level: Remark, line: 3},
		"a root on NFS":                 {document: "debug = false\nroot = \"/mnt/nfs\"\n", around: onDisk(gb, "nfs"), rule: "network-root", level: Fault, line: 2},
		"a root in a container":         {document: "root = \"/x\"\n", around: onDisk(gb, "overlay"), rule: "overlay-root", level: Warning, line: 1},
		"a key that is misspelt":        {document: "[worker.oci]\n\nmaxUsedSpce = \"5GB\"\n", rule: "unknown-key", level: Warning, line: 3},
		"a table that is misspelt":      {document: "[workers.oci]\ngc = true\n", rule: "unknown-key", level: Warning, line: 1},
		"a misspelt key of a tier":      {document: ceiling + "minFree = 1\n", rule: "unknown-key", level: Warning, line: 5},
		"an inline table":               {document: "grpc = { addresss = [\"unix:///x\"] }\n", rule: "unknown-key", level: Warning, line: 1},
		"a deprecated limit":            {document: "[worker.oci]\ngckeepstorage = 9000\n", rule: "deprecated", level: Warning, line: 2},
		"a deprecated limit of a tier":  {document: "[[worker.oci.gcpolicy]]\nall = true\nkeepBytes = \"5GB\"\n", rule: "deprecated", level: Warning, line: 3},
		"root for who asks":             {document: "insecure-entitlements = [\"security.insecure\"]\n", rule: "entitlement", level: Warning, line: 1},
		"the host's network":            {document: "insecure-entitlements = [\"network.host\"]\n", rule: "entitlement", level: Warning, line: 1},
		"a port without TLS":            {document: "[grpc]\naddress = [\"unix:///run/b.sock\", \"tcp://0.0.0.0:1234\"]\n", rule: "no-tls", level: Warning, line: 2},
		"TLS without clients' ones":     {document: "[grpc]\naddress = [\"tcp://0.0.0.0:1234\"]\n[grpc.tls]\ncert = \"c\"\nkey = \"k\"\n", rule: "no-client-certificates", level: Warning, line: 3},
		"no TOML":                       {document: "[worker.oci\n", rule: "syntax", level: Fault, line: 1},
		"a key given twice":             {document: "root = \"/a\"\nroot = \"/b\"\n", rule: "syntax", level: Fault, line: 2},
		"a limit that is no size":       {document: "[worker.oci]\nmaxUsedSpace = \"plenty\"\n", rule: "value", level: Fault, line: 2},
		"a text for a truth":            {document: "[worker.oci]\ngc = \"yes\"\n", rule: "value", level: Fault, line: 2},
		"a list for a text":             {document: "root = [\"/a\"]\n", rule: "value", level: Fault, line: 1},
		"a value for a table":           {document: "worker = 3\n", rule: "value", level: Fault, line: 1},
		"a table for an array of those": {document: "[worker.oci.gcpolicy]\nall = true\n", rule: "value", level: Fault, line: 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			findings := Lint(test.document, test.around)
			i := slices.IndexFunc(findings, func(f Finding) bool { return f.Rule == test.rule })
			if i < 0 {
				t.Fatalf("Lint() = %+v, want %s", findings, test.rule)
			}
			if f := findings[i]; f.Level != test.level || f.Line != test.line || f.Text == "" || f.Hint == "" && f.Rule != "syntax" {
				t.Errorf("Lint() = %+v, want level %s, line %d, a text and a hint", f, test.level, test.line)
			}
		})
	}
}

func TestWhatIsRightHasNoFinding(t *testing.T) {
	for name, document := range map[string]string{
		"nothing":                        "",
		"a ceiling":                      ceiling + "[worker.containerd]\nenabled = false\ngc = false\n",
		"other case":                     "[Worker.OCI]\nRootless = true\nMAXUSEDSPACE = \"5GB\"\n",
		"the older form of a ceiling":    "[worker.oci]\nrootless = true\nreservedSpace = 9_000_000_000\n",
		"free space alone":               "[worker.oci]\nrootless = true\nminFreeSpace = \"20%\"\n",
		"labels and registries by names": "[worker.oci]\nrootless = true\n[worker.oci.labels]\n\"any.thing\" = \"x\"\n[registry.\"a:1\"]\nhttp = true\n[[registry.\"a:1\".keypair]]\nkey = \"k\"\ncert = \"c\"\n",
		"mutual TLS":                     "[grpc]\naddress = [\"tcp://0.0.0.0:1234\"]\ntls = { ca = \"a\", cert = \"c\", key = \"k\" }\n",
	} {
		if findings := Lint(strings.Replace(document, ceiling, ceiling+"[worker.oci]\nrootless = true\n", 1), onDisk(100*gb, "ext4")); name != "a ceiling" && len(findings) > 0 {
			t.Errorf("%s: Lint() = %+v, want nothing", name, findings)
		}
	}
	if findings := Lint("[worker.oci]\nrootless = true\n"+ceiling+"[worker.containerd]\nenabled = false\ngc = false\n", onDisk(100*gb, "ext4")); len(findings) > 0 {
		t.Errorf("a ceiling: Lint() = %+v, want nothing", findings)
	}
}

func TestAMisspeltKeyHasASuggestion(t *testing.T) {
	for key, want := range map[string]string{"maxUsedSpce": "maxUsedSpace", "reservedspaces": "reservedSpace", "snapshoter": "snapshotter", "unrelated": "", "x": ""} {
		if got := nearest(key, known["worker"].keys["oci"].keys); got != want {
			t.Errorf("nearest(%q) = %q, want %q", key, got, want)
		}
	}
}

func TestTheVolumeIsThatOfTheRootThatBuildkitdUses(t *testing.T) {
	t.Setenv("HOME", "/home/me")
	for name, c := range map[string]struct{ document, data, want string }{
		"nothing said":                  {want: "/var/lib/buildkit"},
		"a root":                        {document: "root = \"/x\"\n[worker.oci]\nrootless = true\n", want: "/x"},
		"rootless":                      {document: "[worker.oci]\nrootless = true\n", want: "/home/me/.local/share/buildkit"},
		"rootless with containerd":      {document: "[worker.containerd]\nrootless = true\n", want: "/home/me/.local/share/buildkit"},
		"rootless with data elsewhere":  {document: "[worker.oci]\nrootless = true\n", data: "/data/me", want: "/data/me/buildkit"},
		"not rootless, data elsewhere":  {document: "[worker.oci]\nrootless = false\n", data: "/data/me", want: "/var/lib/buildkit"},
		"a root that is no root at all": {document: "root = \"\"\n", want: "/var/lib/buildkit"},
	} {
		t.Setenv("XDG_DATA_HOME", c.data)
		var asked []string
		Lint(c.document, Surroundings{Stat: func(root string) (Volume, error) {
			asked = append(asked, root)
			return Volume{Size: 100 * gb, Type: "ext4"}, nil
		}})
		if !slices.Equal(asked, []string{c.want}) {
			t.Errorf("%s: the volumes of %q were looked at, want %s", name, asked, c.want)
		}
	}
}

func TestAConfigurationIsWhereItsUserHasIt(t *testing.T) {
	t.Setenv("HOME", "/home/me")
	t.Setenv("XDG_CONFIG_HOME", "")
	if got, want := DefaultFile(true), "/home/me/.config/buildkit/buildkitd.toml"; got != want {
		t.Errorf("DefaultFile(rootless) = %s, want %s", got, want)
	}
	if got, want := DefaultFile(false), "/etc/buildkit/buildkitd.toml"; got != want {
		t.Errorf("DefaultFile() = %s, want %s", got, want)
	}
}

func TestAnUnreadableRootIsARemark(t *testing.T) {
	findings := Lint("", Surroundings{Stat: func(string) (Volume, error) { return Volume{}, errors.New("no such disk") }})
	if len(findings) != 1 || findings[0].Rule != "root" || findings[0].Level != Remark {
		t.Errorf("Lint() = %+v, want a remark", findings)
	}
}

// TestTheKeysAreThoseOfBuildkitd compares the table with the struct that
// buildkitd decodes into.
func TestTheKeysAreThoseOfBuildkitd(t *testing.T) {
	var compare func(path string, typ reflect.Type, k keys)
	compare = func(path string, typ reflect.Type, k keys) {
		seen := map[string]bool{}
		var fields func(reflect.Type)
		fields = func(typ reflect.Type) {
			for f := range typ.Fields() {
				if f.Anonymous {
					fields(f.Type)
					continue
				}
				name, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
				seen[name] = true
				s, ok := k[name]
				if !ok {
					t.Errorf("buildkitd has %s.%s, the table does not", path, name)
					continue
				}
				typ := f.Type
				for typ.Kind() == reflect.Pointer {
					typ = typ.Elem()
				}
				if want := kindOf(typ); s.kind != want && s.kind != anything {
					t.Errorf("%s.%s is of kind %d, want %d", path, name, s.kind, want)
				}
				switch {
				case s.kind == tables || s.kind == table && typ.Kind() == reflect.Slice:
					compare(path+"."+name, typ.Elem(), s.keys)
				case s.kind == table && typ.Kind() == reflect.Map && s.each != nil && typ.Elem().Kind() == reflect.Struct:
					compare(path+"."+name, typ.Elem(), s.each.keys)
				case s.kind == table && typ.Kind() == reflect.Struct:
					compare(path+"."+name, typ, s.keys)
				}
			}
		}
		fields(typ)
		for name := range k {
			if !seen[name] {
				t.Errorf("the table has %s.%s, buildkitd does not", path, name)
			}
		}
	}
	compare("", reflect.TypeFor[config.Config](), known)
}

func kindOf(t reflect.Type) kind {
	switch {
	case t == reflect.TypeFor[config.DiskSpace]():
		return amount
	case t == reflect.TypeFor[config.Duration]():
		return duration
	}
	switch t.Kind() {
	case reflect.String:
		return text
	case reflect.Bool:
		return boolean
	case reflect.Int, reflect.Int64, reflect.Uint64:
		return number
	case reflect.Slice:
		if t.Elem().Kind() == reflect.String {
			return list
		}
		return tables
	}
	return table
}

func TestARunningWorkerIsJudgedByTheSameRules(t *testing.T) {
	good := []client.PruneInfo{{KeepDuration: time.Hour, MaxUsedSpace: 5}, {All: true, MaxUsedSpace: 50 * gb, ReservedSpace: gb, MinFreeSpace: gb}}
	for name, test := range map[string]struct {
		policy []client.PruneInfo
		labels map[string]string
		size   int64
		want   []string
	}{
		"all well":           {policy: good, size: 100 * gb},
		"no policy":          {want: []string{"no-gc"}},
		"a small volume":     {policy: good, size: 20 * gb, want: []string{"ceiling-above-volume"}},
		"only ages":          {policy: good[:1], want: []string{"no-ceiling"}},
		"copies, no sandbox": {policy: good, labels: map[string]string{labelSnapshotter: "native", labelProcessMode: "no-sandbox"}, want: []string{"native-snapshotter", "no-process-sandbox"}},
	} {
		var got []string
		for _, f := range LintRunning(test.policy, test.labels, Volume{Size: test.size}) {
			got = append(got, f.Rule)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: LintRunning() = %v, want %v", name, got, test.want)
		}
	}
	if most, free := Ceiling(good); most != 50*gb || free != gb {
		t.Errorf("Ceiling() = %d, %d", most, free)
	}
}

func TestTiersInWords(t *testing.T) {
	for want, p := range map[string]client.PruneInfo{
		"source.local, exec.cachemount unused for 2 days, above 500MB of cache":  {Filter: []string{"type==source.local", "type==exec.cachemount"}, KeepDuration: 48 * time.Hour, MaxUsedSpace: 500 * mb},
		"everything, above 75GB of cache or below 15GB of free disk; keeps 20GB": {All: true, MaxUsedSpace: 75 * gb, MinFreeSpace: 15 * gb, ReservedSpace: 20 * gb},
		"everything but internal records unused for 1h30m, at once":              {KeepDuration: 90 * time.Minute},
	} {
		if got := Words(p); got != want {
			t.Errorf("Words(%+v) = %q, want %q", p, got, want)
		}
	}
}

func TestTheVolumeOfAPathThatIsYetToBeMade(t *testing.T) {
	dir := t.TempDir()
	got, err := StatVolume(dir + "/not/yet/there")
	want, werr := StatVolume(dir)
	if err != nil || werr != nil || got.Size != want.Size || got.Size <= 0 || got.Free > got.Size {
		t.Errorf("StatVolume() = %+v, %v, want that of its parent, %+v, %v", got, err, want, werr)
	}
}

func FuzzLint(f *testing.F) {
	for _, seed := range []string{"", ceiling, "a.b.c = {d = [{e = 1}], f = 'x'}\n[[a.b.g]]\n", "[worker.oci]\ngcpolicy = [{all = true}, 3]\n", "root = 1979-05-27\n", "[[worker]]\n[worker.oci]\n", "\"\" = \"\"\n[\"\"]\n", "\ufeffroot = 'x'\r\n", "worker.oci.gc = false\nworker.oci.gcpolicy = []\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, document string) {
		lines := strings.Count(document, "\n") + 1
		for _, finding := range Lint(document, onDisk(100*gb, "nfs")) {
			if finding.Line < 0 || finding.Line > lines {
				t.Errorf("a finding on line %d of %d: %+v", finding.Line, lines, finding)
			}
			if finding.Text == "" || finding.Rule == "" || fmt.Sprint(finding.Level) == "unknown" {
				t.Errorf("an incomplete finding: %+v", finding)
			}
		}
	})
}
