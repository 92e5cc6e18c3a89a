package bake

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/hint"
)

func TestFilesThatReachOutOfTheDirectoryNeedToBeAllowed(t *testing.T) {
	base := t.TempDir()
	work := filepath.Join(base, "work")
	if err := os.MkdirAll(filepath.Join(work, "in"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(base, filepath.Join(work, "out-link")); err != nil {
		t.Fatal(err)
	}
	t.Chdir(work)
	for _, name := range []string{"x:/k", "docker-image:k", "l@k", "oci-layout:/l", "github.com/a/b", "lower/dockerfile", "lower/named.dockerignore"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o750), os.Symlink("/etc", name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		target string
		set    []string
		allow  []string
		want   string // flags of the hint; empty is allowed
	}{
		"the directory":              {target: `"context": "in", "contexts": {"a": ".", "b": "docker-image://x", "c": "https://example.com/x.git"}, "output": ["type=local,dest=in/out"]`},
		"its parent":                 {target: `"context": ".."`, want: "--allow fs.read=.."},
		"a Dockerfile elsewhere":     {target: `"dockerfile": "/etc/Dockerfile"`, want: "--allow fs.read=/etc/Dockerfile"},
		"a link out of it":           {target: `"context": "out-link"`, want: "--allow fs.read=out-link"},
		"a file that is not there":   {target: `"output": ["type=tar,dest=../new/x.tar"]`, want: "--allow fs.write=../new/x.tar"},
		"a secret":                   {target: `"secret": ["id=x,src=/etc/shadow", "id=../y", "id=env,env=HOME"]`, want: "--allow fs.read=../y --allow fs.read=/etc/shadow"},
		"a layout":                   {target: `"contexts": {"a": "oci-layout:///var/layout:tag@sha256:` + strings.Repeat("0", 64) + `"}`, want: "--allow fs.read=/var/layout"},
		"caches":                     {target: `"cache-from": ["type=local,src=/a"], "cache-to": ["type=local,dest=/b"]`, want: "--allow fs.read=/a --allow fs.write=/b"},
		"keys and an agent":          {target: `"ssh": ["default", "key=/root/.ssh/id"]`, want: "--allow fs.read=/root/.ssh/id --allow ssh"},
		"rights of steps":            {target: `"entitlements": ["security.insecure", "device=gpu"], "network": "host"`, want: "--allow device=gpu --allow network.host --allow security.insecure"},
		"an output that removes":     {target: `"output": ["type=local,dest=in,mode=delete"]`, want: "--allow buildx.local.delete"},
		"a name for a shell":         {target: `"context": "/it's"`, want: `--allow 'fs.read=/it'\''s'`},
		"what flags allow":           {target: `"context": "..", "ssh": ["default"], "network": "host", "entitlements": ["device=gpu"]`, allow: []string{"fs=..", "ssh", "network.host", "device", "image.push=x"}},
		"every file":                 {target: `"context": "/", "output": ["/out"]`, allow: []string{"fs=*"}},
		"what is typed":              {target: `"secret": ["id=t"]`, set: []string{"*.output=type=local,dest=/out", "*.secret.t=src=/t", "*.entitlements=network.host", "*.cache-from=type=local,src=/c"}},
		"a context that is typed":    {target: `"tags": []`, set: []string{"*.context=/"}, want: "--allow fs.read=/"},
		"a link like a scheme":       {target: `"contexts": {"a": "x://k"}`, want: "--allow fs.read=x://k"},
		"a link like an image":       {target: `"contexts": {"a": "docker-image:k"}`, want: "--allow fs.read=docker-image:k"},
		"a link like a repository":   {target: `"context": "github.com/a/b"`, want: "--allow fs.read=github.com/a/b"},
		"a layout with an @":         {target: `"contexts": {"a": "oci-layout://l@k"}`, want: "--allow fs.read=l@k"},
		"a directory like a layout":  {target: `"contexts": {"a": "cwd://oci-layout:///etc"}`},
		"a parent by cwd":            {target: `"contexts": {"a": "cwd://in/../.."}, "dockerfile": "cwd://../D"`, want: "--allow fs.read=.. --allow fs.read=../D"},
		"a link by cwd":              {target: `"contexts": {"a": "cwd://github.com/a/b"}, "context": "cwd://docker-image:k"`, want: "--allow fs.read=docker-image:k --allow fs.read=github.com/a/b"},
		"a Dockerfile beside a URL":  {target: `"context": "https://example.com/a.git", "dockerfile": "/etc/passwd"`, want: "--allow fs.read=/etc/passwd"},
		"a lower-case Dockerfile":    {target: `"context": "lower"`, want: "--allow fs.read=lower/dockerfile"},
		"the ignore file of another": {target: `"context": "lower", "dockerfile": "named"`, want: "--allow fs.read=lower/named.dockerignore"},
		"keys in another case":       {target: `"output": [{"type": "local", " DEST": "/o", "Mode": "delete"}], "cache-to": [{"Type": "local", "DEST": "/c"}]`, want: "--allow buildx.local.delete --allow fs.write=/c --allow fs.write=/o"},
		"settings within a setting":  {target: `"output": [{"type": "local", "dest=/o": ""}], "cache-to": [{"type": "local", "dest": "in", "a,dest": "/c"}]`, want: "--allow fs.write=/o="},
		"paths within a path":        {target: `"ssh": [{"id": "a", "paths": ["x,/root/k"]}, {"id": "b", "paths": [""]}]`, want: "--allow fs.read=/root/k --allow ssh"},
		"another place than allowed": {target: `"context": "/etcetera"`, allow: []string{"fs.read=/etc", "fs.write=/etcetera"}, want: "--allow fs.read=/etcetera"},
	} {
		t.Run(name, func(t *testing.T) {
			plan, err := resolveText(t, "b.json", `{"target": {"default": {`+c.target+`}}}`, Options{Set: c.set})
			if err != nil {
				t.Fatal(err)
			}
			access, err := ParseAccess(c.allow)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if err := plan.Check(access); err != nil {
				_, got, _ = strings.Cut(strings.Join(hint.All(err), "\n"), "add ")
			}
			if got != c.want {
				t.Errorf("missing = %q, want %q", got, c.want)
			}
		})
	}
	for _, target := range []string{
		`"ssh": [{"id": "default=/root/key"}]`, `"output": [{"type": "local", "dest": "in", "DEST": "/o"}]`,
	} {
		if _, err := resolveText(t, "b.json", `{"target": {"default": {`+target+`}}}`, Options{}); err == nil {
			t.Errorf("%s was taken", target)
		}
	}
	if _, err := ParseAccess([]string{"everything"}); err == nil {
		t.Error("ParseAccess took a word that does not exist")
	}
}
