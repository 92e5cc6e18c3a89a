package buildcache

import (
	"regexp"
	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/google/go-cmp/cmp"
)

func refs(entries []Entry) []string {
	var out []string
	for _, e := range entries {
		out = append(out, e.Attrs["ref"])
	}
	return out
}

func TestABuildReadsItsBranchTheTargetAndTheDefaultBranch(t *testing.T) {
	tests := map[string]struct {
		policy   Policy
		platform string
		read     []string
		write    string
	}{
		"nothing known":  {Policy{}, "", []string{"c/team/shop:default"}, "c/team/shop:default"},
		"default branch": {Policy{Branch: "refs/heads/main", DefaultBranch: "main"}, "", []string{"c/team/shop:main"}, "c/team/shop:main"},
		"a branch": {
			Policy{Branch: "fix-1", DefaultBranch: "main"},
			"",
			[]string{"c/team/shop:fix-1", "c/team/shop:main"},
			"c/team/shop:fix-1",
		},
		"a pull request": {
			Policy{Branch: "refs/pull/42/merge", TargetBranch: "refs/heads/release", DefaultBranch: "main"},
			"",
			[]string{"c/team/shop:pull-42-merge-d060d3f1", "c/team/shop:release", "c/team/shop:main"},
			"c/team/shop:pull-42-merge-d060d3f1",
		},
		"a platform": {
			Policy{Branch: "main", DefaultBranch: "main"},
			"linux/arm64,linux/amd64",
			[]string{"c/team/shop:main-linux-arm64-linux-amd64"},
			"c/team/shop:main-linux-arm64-linux-amd64",
		},
		"a name": {Policy{Name: "Mono Repo/api", Branch: "main"}, "", []string{"c/mono-repo/api:main"}, "c/mono-repo/api:main"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.policy.Repo = "c/"
			if test.policy.Name == "" {
				test.policy.Name = "team/shop"
			}
			if diff := cmp.Diff(test.read, refs(test.policy.Imports(test.platform))); diff != "" {
				t.Errorf("imports (-want +got):\n%s", diff)
			}
			if got := test.policy.Export(test.platform).Attrs["ref"]; got != test.write {
				t.Errorf("export to %q, want %q", got, test.write)
			}
		})
	}
}

func TestAForkWritesOnlyIntoItsOwnScope(t *testing.T) {
	ours := Policy{Repo: "c", Name: "shop", Branch: "main", DefaultBranch: "main"}
	fork := Policy{Repo: "c", Name: "shop", Fork: "mallory/shop", Branch: "main", TargetBranch: "main", DefaultBranch: "main"}
	other := Policy{Repo: "c", Name: "shop", Fork: "trent/shop", Branch: "main", DefaultBranch: "main"}
	write := fork.Export("").Attrs["ref"]
	if write == ours.Export("").Attrs["ref"] || write == other.Export("").Attrs["ref"] {
		t.Errorf("the fork writes to %s, which is not its own", write)
	}
	if diff := cmp.Diff([]string{write, "c/shop:main"}, refs(fork.Imports(""))); diff != "" {
		t.Errorf("the fork reads (-want +got):\n%s", diff)
	}
	// A branch of ours that is named like the fork's scope stays apart.
	tag := strings.TrimPrefix(write, "c/shop:")
	if imitation := (Policy{Repo: "c", Name: "shop", Branch: tag}).Export("").Attrs["ref"]; imitation == write {
		t.Errorf("branch %q shares the fork's scope", tag)
	}
}

func TestTheExportIsOneThatAnyRegistryTakesAndNoBuildFailsFor(t *testing.T) {
	got := Policy{Repo: "c", Name: "shop", Branch: "main"}.Export("")
	want := Entry{Type: "registry", Attrs: map[string]string{
		"ref": "c/shop:main", "mode": "max", "oci-mediatypes": "true", "image-manifest": "true", "compression": "zstd", "ignore-error": "true",
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("export (-want +got):\n%s", diff)
	}
	for name, p := range map[string]Policy{"no repository": {Branch: "main"}, "off": {Repo: "c", Name: "shop", Mode: ModeOff}} {
		if got := p.Export(""); got.Type != "" {
			t.Errorf("export with %s = %+v, want none", name, got)
		}
	}
}

func FuzzCacheScope(f *testing.F) {
	for _, seed := range []string{"main", "refs/heads/feature/x", "fork.x", "_fork.x", "", "-", "..", strings.Repeat("long/", 60), "ÜÄ"} {
		f.Add(seed, seed+"x", "linux/amd64")
	}
	tag := regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
	f.Fuzz(func(t *testing.T, a, b, fork string) {
		for _, p := range []Policy{{Repo: "reg:5000/c", Name: b, Branch: a}, {Repo: "reg:5000/c", Name: b, Branch: a, Fork: fork}} {
			ref := p.Export("linux/amd64/v2").Attrs["ref"]
			named, err := reference.ParseNormalizedNamed(ref)
			if err != nil {
				t.Fatalf("reference %q of branch %q: %v", ref, a, err)
			}
			if tagged, ok := named.(reference.Tagged); !ok || !tag.MatchString(tagged.Tag()) {
				t.Errorf("reference %q has no valid tag", ref)
			}
		}
		trim := func(s string) string { return strings.TrimPrefix(strings.TrimPrefix(s, "refs/heads/"), "refs/") }
		if trim(a) != trim(b) && scope(a) == scope(b) {
			t.Errorf("branches %q and %q share the scope %q", a, b, scope(a))
		}
		if fork != "" && forkScope(fork, a) == scope(b) {
			t.Errorf("fork %q of %q and branch %q share a scope", fork, a, b)
		}
	})
}
