package integration_test

import (
	"archive/tar"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFilesAreCopiedBothWays(t *testing.T) {
	s := openStackCommands(t, pairOfServices)
	s.stack("up", "-q", "--no-deps", "db").want(t, 0)
	defer s.down()
	if err := os.MkdirAll(filepath.Join(s.dir, "in", "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, s.dir, "in/sub/b", "b")
	writeFile(t, s.dir, "in/a", "a")
	if err := os.Symlink("a", filepath.Join(s.dir, "in", "link")); err != nil {
		t.Fatal(err)
	}
	s.stack("cp", "in", "db:/tmp").want(t, 0)
	s.stack("cp", "in/.", "db:/srv/new").want(t, 0)
	s.stack("cp", "in/a", "db:/tmp/renamed").want(t, 0)
	f := s.stack("exec", "db", "sh", "-c", "cat /tmp/in/sub/b /srv/new/a /tmp/renamed /tmp/in/link; stat -c %U:%G /tmp/in/a").want(t, 0)
	if f.stdout != "baaaroot:root\n" {
		t.Errorf("in the container there is %q", f.stdout)
	}
	s.stack("cp", "db:/tmp/in", "out").want(t, 0)
	s.stack("cp", "db:/tmp/in/.", ".").want(t, 0)
	s.stack("cp", "db:/tmp/renamed", "out/").want(t, 0)
	for _, name := range []string{"out/a", "out/link", "out/renamed", "a"} {
		if content, err := os.ReadFile(filepath.Join(s.dir, name)); err != nil || string(content) != "a" {
			t.Errorf("%s = %q, %v", name, content, err)
		}
	}
	archive := s.stack("cp", "db:/tmp/in", "-").want(t, 0).stdout
	s.fed(archive, "cp", "-", "db:/var").want(t, 0)
	if f := s.stack("exec", "db", "cat", "/var/in/sub/b").want(t, 0); f.stdout != "b" {
		t.Errorf("the archive brought %q", f.stdout)
	}
	// Hard links go along, whatever the copy is called.
	s.stack("exec", "db", "sh", "-c", "ln /tmp/in/a /tmp/in/sub/hard").want(t, 0)
	if err := os.Mkdir(filepath.Join(s.dir, "content"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.stack("cp", "db:/tmp/in", "linked").want(t, 0)
	s.stack("cp", "db:/tmp/in/.", "content").want(t, 0)
	for _, name := range []string{"linked/a", "linked/sub/hard", "content/a", "content/sub/hard"} {
		if content, err := os.ReadFile(filepath.Join(s.dir, name)); err != nil || string(content) != "a" {
			t.Errorf("%s = %q, %v", name, content, err)
		}
	}
	s.stack("cp", "db:/nowhere", ".").want(t, 1).wantError(t, "", "/nowhere")
	s.stack("cp", "nowhere", "db:/tmp").want(t, 1).wantError(t, "", "nowhere")
}

func TestFilesAreCopiedIntoEveryReplica(t *testing.T) {
	s := openStackCommands(t, `
name: many
services: {web: {image: busybox, init: true, user: "1000:1000", command: sleep 1000, scale: 2}}
`)
	s.stack("up", "-q").want(t, 0)
	defer s.down()
	content := func(replica, file string) string {
		t.Helper()
		return s.stack("exec", "--index", replica, "web", "sh", "-c", "cat "+file+" 2>/dev/null; stat -c ' %u:%g' "+file+" 2>/dev/null; true").want(t, 0).stdout
	}
	writeFile(t, s.dir, "a", "a")
	s.stack("cp", "a", "web:/tmp/all").want(t, 0)
	s.stack("cp", "--index", "2", "a", "web:/tmp/one").want(t, 0)
	s.stack("cp", "--index", "3", "a", "web:/tmp/none").want(t, 1).wantError(t, "", "container 3")
	archive := s.stack("cp", "--index", "2", "web:/tmp/one", "-").want(t, 0).stdout
	said, err := tar.NewReader(strings.NewReader(archive)).Next()
	if err != nil {
		t.Fatal(err)
	}
	owner := fmt.Sprintf("a %d:%d\n", said.Uid, said.Gid)
	s.fed(archive, "cp", "-", "web:/var/tmp").want(t, 0)
	s.fed(archive, "cp", "-", "web:/etc/passwd").want(t, 1).wantError(t, "", "web-")
	sub := filepath.Join(s.dir, "sub")
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	s.typed(t, "typed", sub, nil, "stack", "-f", "../compose.yml", "cp", "..", "web:/tmp").want(t, 0)
	for _, c := range []struct{ replica, file, want string }{
		{"1", "/tmp/all", "a 0:0\n"},
		{"2", "/tmp/all", "a 0:0\n"},
		{"1", "/tmp/one", ""},
		{"2", "/tmp/one", "a 0:0\n"},
		{"1", "/var/tmp/one", owner},
		{"2", "/var/tmp/one", owner},
		{"1", "/tmp/" + filepath.Base(s.dir) + "/a", "a 0:0\n"},
	} {
		if got := content(c.replica, c.file); got != c.want {
			t.Errorf("%s of replica %s is %q, want %q", c.file, c.replica, got, c.want)
		}
	}
}
