package imagebuild

import (
	"regexp"
	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/google/go-cmp/cmp"
)

func refs(entries []CacheEntry) []string {
	var out []string
	for _, e := range entries {
		out = append(out, e.Attrs["ref"])
	}
	return out
}

func TestABuildReadsItsBranchTheTargetAndTheDefaultBranch(t *testing.T) {
	r := &Request{Context: "/src/shop", Tags: []string{"reg.example/team/shop:7"}}
	tests := map[string]struct {
		policy   CachePolicy
		platform string
		read     []string
		write    string
	}{
		"nothing known":  {CachePolicy{}, "", []string{"c/team/shop:default"}, "c/team/shop:default"},
		"default branch": {CachePolicy{Branch: "refs/heads/main", DefaultBranch: "main"}, "", []string{"c/team/shop:main"}, "c/team/shop:main"},
		"a branch": {
			CachePolicy{Branch: "fix-1", DefaultBranch: "main"},
			"",
			[]string{"c/team/shop:fix-1", "c/team/shop:main"},
			"c/team/shop:fix-1",
		},
		"a pull request": {
			CachePolicy{Branch: "refs/pull/42/merge", TargetBranch: "refs/heads/release", DefaultBranch: "main"},
			"",
			[]string{"c/team/shop:pull-42-merge-d060d3f1", "c/team/shop:release", "c/team/shop:main"},
			"c/team/shop:pull-42-merge-d060d3f1",
		},
		"a platform": {
			CachePolicy{Branch: "main", DefaultBranch: "main"},
			"linux/arm64,linux/amd64",
			[]string{"c/team/shop:main-linux-arm64-linux-amd64"},
			"c/team/shop:main-linux-arm64-linux-amd64",
		},
		"a name": {CachePolicy{Name: "Mono Repo/api", Branch: "main"}, "", []string{"c/mono-repo/api:main"}, "c/mono-repo/api:main"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.policy.Repo = "c/"
			if diff := cmp.Diff(test.read, refs(test.policy.imports(r, test.platform))); diff != "" {
				t.Errorf("imports (-want +got):\n%s", diff)
			}
			if got := test.policy.export(r, test.platform).Attrs["ref"]; got != test.write {
				t.Errorf("export to %q, want %q", got, test.write)
			}
		})
	}
}

func TestAForkWritesOnlyIntoItsOwnScope(t *testing.T) {
	r := &Request{Context: "/src/shop"}
	ours := CachePolicy{Repo: "c", Branch: "main", DefaultBranch: "main"}
	fork := CachePolicy{Repo: "c", Fork: "mallory/shop", Branch: "main", TargetBranch: "main", DefaultBranch: "main"}
	other := CachePolicy{Repo: "c", Fork: "trent/shop", Branch: "main", DefaultBranch: "main"}
	write := fork.export(r, "").Attrs["ref"]
	if write == ours.export(r, "").Attrs["ref"] || write == other.export(r, "").Attrs["ref"] {
		t.Errorf("the fork writes to %s, which is not its own", write)
	}
	if diff := cmp.Diff([]string{write, "c/shop:main"}, refs(fork.imports(r, ""))); diff != "" {
		t.Errorf("the fork reads (-want +got):\n%s", diff)
	}
	// A branch of ours that is named like the fork's scope stays apart.
	tag := strings.TrimPrefix(write, "c/shop:")
	if imitation := (CachePolicy{Repo: "c", Branch: tag}).export(r, "").Attrs["ref"]; imitation == write {
		t.Errorf("branch %q shares the fork's scope", tag)
	}
}

func TestTheExportIsOneThatAnyRegistryTakesAndNoBuildFailsFor(t *testing.T) {
	got := CachePolicy{Repo: "c", Branch: "main"}.export(&Request{Context: "/src/shop"}, "")
	want := CacheEntry{Type: "registry", Attrs: map[string]string{
		"ref": "c/shop:main", "mode": "max", "oci-mediatypes": "true", "image-manifest": "true", "compression": "zstd", "ignore-error": "true",
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("export (-want +got):\n%s", diff)
	}
	for name, p := range map[string]CachePolicy{"no repository": {Branch: "main"}, "read only": {Repo: "c", ReadOnly: true}} {
		if got := p.export(&Request{Context: "/src/shop"}, ""); got.Type != "" {
			t.Errorf("export with %s = %+v, want none", name, got)
		}
	}
}

func FuzzCacheScope(f *testing.F) {
	for _, seed := range []string{"main", "refs/heads/feature/x", "fork.x", "", "-", "..", strings.Repeat("long/", 60), "ÜÄ"} {
		f.Add(seed, seed+"x", "linux/amd64")
	}
	tag := regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
	f.Fuzz(func(t *testing.T, a, b, fork string) {
		for _, p := range []CachePolicy{{Repo: "reg:5000/c", Name: b, Branch: a}, {Repo: "reg:5000/c", Name: b, Branch: a, Fork: fork}} {
			ref := p.export(&Request{}, "linux/amd64/v2").Attrs["ref"]
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
