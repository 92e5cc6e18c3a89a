package buildxsetup

import (
	"testing"

	"github.com/containerd/platforms"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestAPlatformIsNativeWhenTheProcessorRunsIt(t *testing.T) {
	amd64 := []string{"linux/amd64", "linux/amd64/v2", "linux/amd64/v3", "linux/386", "linux/arm64", "linux/riscv64"}
	arm64 := []string{"linux/arm64", "linux/arm/v7", "linux/arm/v6", "linux/amd64"}
	for _, test := range []struct {
		name     string
		worker   []string
		pinned   []string
		platform string
		want     bool
	}{
		{"its own", amd64, nil, "linux/amd64", true},
		{"a variant of its own", amd64, nil, "linux/amd64/v3", true},
		{"its 32-bit mode", amd64, nil, "linux/386", true},
		{"an emulated one", amd64, nil, "linux/arm64", false},
		{"one that it does not offer", amd64, nil, "linux/amd64/v4", false},
		{"arm64 with the variant that everybody leaves out", arm64, nil, "linux/arm64/v8", true},
		{"arm on arm64", arm64, nil, "linux/arm/v7", true},
		{"amd64 on arm64", arm64, nil, "linux/amd64", false},
		{"another system", []string{"linux/amd64", "windows/amd64"}, nil, "windows/amd64", false},
		{"an emulated one that is pinned", amd64, []string{"linux/arm64"}, "linux/arm64", true},
		{"its own when another is pinned", amd64, []string{"linux/arm64"}, "linux/amd64", false},
		{"a pinned one without a worker", nil, []string{"linux/amd64"}, "linux/amd64", true},
		{"no worker", nil, nil, "linux/amd64", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := Node{Pinned: test.pinned != nil, Platforms: parsed(t, test.pinned)}
			if test.worker != nil {
				n.setWorkers([]Worker{{Platforms: parsed(t, test.worker)}})
			}
			if got := n.Native(parsed(t, []string{test.platform})[0]); got != test.want {
				t.Errorf("Native(%s) = %v, want %v", test.platform, got, test.want)
			}
		})
	}
}

func parsed(t *testing.T, names []string) []ocispecs.Platform {
	t.Helper()
	var all []ocispecs.Platform
	for _, name := range names {
		p, err := platforms.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}
