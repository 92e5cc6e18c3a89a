package buildkitconf

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/cmd/buildkitd/config"
	"github.com/moby/buildkit/util/disk"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestConfigurationsForVolumes(t *testing.T) {
	for name, test := range map[string]struct {
		size int64
		o    Options
	}{
		"20GB":        {20 * gb, Options{Rootless: true, NoProcessSandbox: true}},
		"100GB":       {100 * gb, Options{Registries: map[string]Registry{"registry:5000": {HTTP: true}, "docker.io": {Mirrors: []string{"mirror.example.com"}, CA: []string{"/etc/ca.pem"}}}}},
		"1TB":         {1024 * gb, Options{Worker: "containerd", Root: "/data", Addresses: []string{"tcp://0.0.0.0:1234"}, TLS: TLS{CA: "/c/ca.pem", Cert: "/c/cert.pem", Key: "/c/key.pem"}}},
		"shared500GB": {500 * gb, Options{Shared: true, Snapshotter: "overlayfs", Registries: map[string]Registry{"r": {Insecure: true}}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Generate(test.size, test.o)
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".toml")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("Generate() (-golden +got):\n%s", diff)
			}
		})
	}
}

// TestWhatIsGeneratedHasNoFault reads what is generated with buildkitd's own
// reader and with ours.
func TestWhatIsGeneratedHasNoFault(t *testing.T) {
	for size := minVolume; size < 1<<46; size = size*7/4 + 4097 {
		for _, shared := range []bool{false, true} {
			document, err := Generate(size, Options{Shared: shared, Rootless: true})
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range Lint(document, Surroundings{Stat: func(string) (Volume, error) { return Volume{Size: size, Free: size, Type: "ext4"}, nil }}) {
				t.Errorf("for %s, shared %v: line %d: %s: %s", Human(size), shared, f.Line, f.Rule, f.Text)
			}
			policy := buildkitPolicy(t, document, size)
			most, free := Ceiling(policy)
			last := policy[len(policy)-1]
			if !last.All || last.KeepDuration != 0 || len(last.Filter) > 0 || last.ReservedSpace >= last.MaxUsedSpace || last.ReservedSpace == 0 || free == 0 {
				t.Errorf("for %s: the last tier is %+v", Human(size), last)
			}
			if most+free > size || most == 0 {
				t.Errorf("for %s: a ceiling of %s and %s free do not fit", Human(size), Human(most), Human(free))
			}
			for i, p := range policy[:3] {
				if p.KeepDuration == 0 || p.MaxUsedSpace == 0 || p.MaxUsedSpace >= most {
					t.Errorf("for %s: tier %d is %+v", Human(size), i+1, p)
				}
			}
		}
	}
}

// buildkitPolicy is what buildkitd makes of a configuration.
func buildkitPolicy(t *testing.T, document string, size int64) []client.PruneInfo {
	t.Helper()
	file := filepath.Join(t.TempDir(), "buildkitd.toml")
	if err := os.WriteFile(file, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.LoadFile(file)
	if err != nil {
		t.Fatalf("buildkitd reads\n%s\n%v", document, err)
	}
	var out []client.PruneInfo
	stat := disk.DiskStat{Total: size}
	for _, p := range c.Workers.OCI.GCPolicy {
		out = append(out, client.PruneInfo{
			All: p.All, Filter: p.Filters, KeepDuration: p.KeepDuration.Duration,
			ReservedSpace: p.ReservedSpace.AsBytes(stat), MaxUsedSpace: p.MaxUsedSpace.AsBytes(stat), MinFreeSpace: p.MinFreeSpace.AsBytes(stat),
		})
	}
	return out
}

func TestWhatCannotBeGeneratedIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		size int64
		o    Options
	}{
		"a tiny volume":        {minVolume - 1, Options{}},
		"no volume":            {0, Options{}},
		"an unknown worker":    {gb, Options{Worker: "docker"}},
		"containerd's sandbox": {gb, Options{Worker: "containerd", NoProcessSandbox: true}},
	} {
		if text, err := Generate(test.size, test.o); err == nil || text != "" {
			t.Errorf("%s: Generate() = %q, %v, want an error", name, text, err)
		}
	}
}

func TestTextIsQuotedForTOML(t *testing.T) {
	for _, text := range []string{`a"b\c`, "line\nbreak\ttab\x7f", "ünïcode", "\xff"} {
		document, err := Generate(gb, Options{Root: text})
		if err != nil {
			t.Fatal(err)
		}
		root, wrong := parse(document)
		if wrong != nil {
			t.Fatalf("%q: %+v", text, wrong)
		}
		want := text
		if text == "\xff" {
			want = "\uFFFD"
		}
		if got := root.get("root").string(); got != want {
			t.Errorf("the root reads %q, want %q", got, want)
		}
	}
}

func TestSizesAreWrittenAsTheyAreRead(t *testing.T) {
	for n, want := range map[int64]string{128 * mb: "128MB", gb: "1GB", 3*gb/2 + 5: "1536MB", 75*gb + 12: "75GB"} {
		got := sizeText(n)
		back, err := ParseSize(got)
		if got != want || err != nil || back > n {
			t.Errorf("sizeText(%d) = %q, read as %d, %v; want %q and no more", n, got, back, err, want)
		}
	}
	if n, err := ParseSize("100Gi"); n != 100*gb || err != nil {
		t.Errorf("ParseSize(100Gi) = %d, %v", n, err)
	}
	for _, text := range []string{"", "i", "plenty", "-3GB", "3XB"} {
		if n, err := ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", text, n)
		}
	}
}
