package gitsource

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Protocol §8.2, refspecs.
func TestWhatIsFetched(t *testing.T) {
	for name, c := range map[string]struct {
		source Source
		want   []string
		target string
	}{
		"branch":         {Source{Ref: "refs/heads/main", Commit: "abc"}, nil, "abc"},
		"tip":            {Source{Ref: "refs/heads/a/b"}, nil, "refs/remotes/origin/a/b"},
		"shallow commit": {Source{Ref: "refs/heads/main", Commit: "abc", Depth: 1}, []string{"+abc:refs/remotes/origin/abc"}, "abc"},
		"shallow tip":    {Source{Ref: "refs/heads/main", Depth: 1}, []string{"+refs/heads/main:refs/remotes/origin/main"}, "refs/remotes/origin/main"},
		"pull request":   {Source{Ref: "refs/pull/7/merge", Commit: "abc"}, []string{"+refs/heads/*:refs/remotes/origin/*", "+refs/pull/7/merge:refs/remotes/pull/7/merge"}, "refs/remotes/pull/7/merge"},
		"tag":            {Source{Ref: "refs/tags/v1"}, []string{"+refs/tags/v1:refs/tags/v1"}, "refs/tags/v1"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, c.source.refspecs()); diff != "" {
				t.Errorf("refspecs (-want +got):\n%s", diff)
			}
			if got := c.source.target(); got != c.target {
				t.Errorf("target = %q, want %q", got, c.target)
			}
		})
	}
}

func TestTheHeaderGoesToOneServerOnly(t *testing.T) {
	for url, want := range map[string]map[string]string{
		"https://org@dev.azure.com/org/p/_git/r": {"http.https://dev.azure.com/.extraheader": "AUTHORIZATION: bearer t"},
		"http://host:8080/r":                     {"http.http://host:8080/.extraheader": "AUTHORIZATION: bearer t"},
		"ssh://git@host/r":                       nil,
		"file:///r":                              nil,
	} {
		if diff := cmp.Diff(want, (&Source{URL: url, Credentials: "bearer t"}).header()); diff != "" {
			t.Errorf("settings for %s (-want +got):\n%s", url, diff)
		}
	}
}

const clean = "[core]\n\tbare = false\n[remote \"origin\"]\n\turl = https://host/r\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n"

func TestPersistedCredentialsAreForgotten(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, ".git", "config")
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(clean), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &Source{Dir: dir, URL: "https://host/r", Credentials: "basic c2VjcmV0", Persist: true}
	if err := s.persist(t.Context()); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the configuration with credentials = %v, %v, want 0600", info.Mode(), err)
	}
	if why, ok := s.reusable(); !ok {
		t.Errorf("the repository is not known again: %s", why)
	}
	if err := s.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(clean, string(got)); diff != "" {
		t.Errorf("configuration afterwards (-want +got):\n%s", diff)
	}
}

func TestHeadersOfOthersAreForgotten(t *testing.T) {
	left := "[http \"https://host/\"]\n\textraHeader = AUTHORIZATION: basic x\n\tsslVerify = true\n[http]\n\tproxy = http://u:p@proxy\n"
	want := clean + "[http \"https://host/\"]\n\tsslVerify = true\n[http]\n"
	if diff := cmp.Diff(want, string(withoutCredentials([]byte(clean+left)))); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}
