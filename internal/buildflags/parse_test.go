package buildflags

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/imagebuild"
)

func TestASecretComesFromWhereTheFlagSays(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"token.txt": "from file", "plain": "from file of that name"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := Surroundings{Dir: dir, LookupEnv: env(map[string]string{"TOKEN": "from env", "named": "from env of that name", "empty": ""})}
	for flag, want := range map[string]string{
		"id=a,src=token.txt":                             "from file",
		"id=a,source=" + filepath.Join(dir, "token.txt"): "from file",
		"type=file,id=a,src=token.txt":                   "from file",
		"id=a,env=TOKEN":                                 "from env",
		"type=env,id=a,src=TOKEN":                        "from env",
		"ID=a,Env=TOKEN":                                 "from env",
		"id=named":                                       "from env of that name",
		"id=plain":                                       "from file of that name",
		"id=empty":                                       "",
		`"id=a","src=token.txt"`:                         "from file",
	} {
		secret, err := ParseSecret(flag, s)
		if err != nil {
			t.Errorf("ParseSecret(%q) = %v", flag, err)
			continue
		}
		if got, err := secret.Open(t.Context()); err != nil || string(got) != want {
			t.Errorf("secret %q = %q, %v, want %q", flag, got, err, want)
		}
	}
}

func TestAWrongSecretIsRefusedWithAHint(t *testing.T) {
	for _, flag := range []string{"", "id", "src=x", "id=a,src=b,env=c", "id=a,color=red", "id=a,type=vault", `"id=a`} {
		if _, err := ParseSecret(flag, Surroundings{}); err == nil {
			t.Errorf("ParseSecret(%q) = nil, want an error", flag)
		}
	}
	for name, flag := range map[string]string{"variable": "id=a,env=MISSING", "file": "id=a,src=missing"} {
		secret, err := ParseSecret(flag, Surroundings{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := secret.Open(t.Context()); err == nil || len(hint.All(err)) == 0 {
			t.Errorf("opening a secret of a missing %s = %v, want an error with a hint", name, err)
		}
	}
}

func TestOutputs(t *testing.T) {
	var stdout bytes.Buffer
	s := Surroundings{Dir: "/base", Stdout: &stdout}
	for flag, want := range map[string]imagebuild.Output{
		"out":                  {Type: "local", Dest: "/base/out"},
		"-":                    {Type: "tar", Dest: "-", Stdout: &stdout},
		"type=local,dest=/abs": {Type: "local", Dest: "/abs"},
		"type=oci,dest=image.tar,compression=zstd": {Type: "oci", Dest: "/base/image.tar", Attrs: map[string]string{"compression": "zstd"}},
		"type=oci,dest=dir,tar=false":              {Type: "oci", Dest: "/base/dir", Attrs: map[string]string{"tar": "false"}},
		"type=docker":                              {Type: "docker"}, // for the local engine
		"type=docker,dest=-":                       {Type: "docker", Dest: "-", Stdout: &stdout},
		"type=registry":                            {Type: "image", Attrs: map[string]string{"push": "true"}},
		"type=image,name=a,push=true":              {Type: "image", Attrs: map[string]string{"name": "a", "push": "true"}},
		"type=cacheonly":                           {Type: "cacheonly"},
		`type=image,"name=a,b"`:                    {Type: "image", Attrs: map[string]string{"name": "a,b"}},
	} {
		got, err := ParseOutput(flag, s)
		if err != nil {
			t.Errorf("ParseOutput(%q) = %v", flag, err)
			continue
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(imagebuild.Output{}, "Stdout")); diff != "" || (want.Stdout == nil) != (got.Stdout == nil) {
			t.Errorf("ParseOutput(%q) (-want +got):\n%s", flag, diff)
		}
	}
	for _, flag := range []string{"", "type=", "dest=x", "type=local", "type=local,dest=-", "type=oci,tar=false,dest=-", "type=zip,dest=x", "type=image,dest=x", "type=oci,x"} {
		if got, err := ParseOutput(flag, s); err == nil {
			t.Errorf("ParseOutput(%q) = %+v, want an error", flag, got)
		}
	}
	if _, err := ParseOutput("type=docker,dest=-", Surroundings{}); err == nil || len(hint.All(err)) == 0 {
		t.Errorf("an archive without a place to go = %v, want an error with a hint", err)
	}
}

func TestCacheEntries(t *testing.T) {
	for flag, want := range map[string]buildcache.Entry{
		"reg/cache:main": {Type: "registry", Attrs: map[string]string{"ref": "reg/cache:main"}},
		"type=registry,ref=reg/cache:main,mode=max": {Type: "registry", Attrs: map[string]string{"ref": "reg/cache:main", "mode": "max"}},
		"type=local,src=/cache":                     {Type: "local", Attrs: map[string]string{"src": "/cache"}},
		"type=inline":                               {Type: "inline"},
	} {
		got, err := ParseCache(flag)
		if err != nil {
			t.Errorf("ParseCache(%q) = %v", flag, err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("ParseCache(%q) (-want +got):\n%s", flag, diff)
		}
	}
	for _, flag := range []string{"", "type=registry", "a,b", "mode=max", "type=local,x"} {
		if got, err := ParseCache(flag); err == nil {
			t.Errorf("ParseCache(%q) = %+v, want an error", flag, got)
		}
	}
}

func TestAttestations(t *testing.T) {
	for flag, want := range map[string]struct {
		settings string
		wanted   bool
	}{
		"": {}, "true": {"", true}, "false": {}, "1": {"", true},
		"mode=max": {"mode=max", true}, "disabled=true": {}, "disabled=1": {}, "mode=max,Disabled=T": {},
		"disabled=0": {"", true}, "disabled=False,mode=max": {"mode=max", true}, `"generator=a,b",disabled=f`: {`"generator=a,b"`, true},
		"generator=reg/scanner:1,x=y": {"generator=reg/scanner:1,x=y", true},
	} {
		settings, wanted, err := ParseAttestation(flag)
		if settings != want.settings || wanted != want.wanted || err != nil {
			t.Errorf("ParseAttestation(%q) = %q, %t, %v, want %+v", flag, settings, wanted, err, want)
		}
	}
	for _, flag := range []string{"max", "disabled", "disabled=", "disabled=maybe", "disabled=true,disabled=x"} {
		if _, _, err := ParseAttestation(flag); err == nil || len(hint.All(err)) == 0 {
			t.Errorf("ParseAttestation(%s) = %v, want an error with a hint", flag, err)
		}
	}
}

func TestSSHAgents(t *testing.T) {
	s := Surroundings{Dir: "/base", LookupEnv: env(map[string]string{"SSH_AUTH_SOCK": "/run/agent"})}
	for flag, want := range map[string]imagebuild.SSH{
		"default":          {ID: "default", Paths: []string{"/run/agent"}},
		"git=key1,/k/key2": {ID: "git", Paths: []string{"/base/key1", "/k/key2"}},
	} {
		got, err := ParseSSH(flag, s)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("ParseSSH(%q): %v (-want +got):\n%s", flag, err, diff)
		}
	}
	for _, flag := range []string{"", "=x"} {
		if _, err := ParseSSH(flag, s); err == nil {
			t.Errorf("ParseSSH(%q) = nil, want an error", flag)
		}
	}
	if _, err := ParseSSH("default", Surroundings{}); err == nil || len(hint.All(err)) == 0 {
		t.Errorf("ParseSSH without an agent = %v, want an error with a hint", err)
	}
}

func TestPairs(t *testing.T) {
	got, err := ParsePairs([]string{"A=1", "B=x=y", "C=", "FROM_ENV", "MISSING"}, env(map[string]string{"FROM_ENV": "e"}))
	want := map[string]string{"A": "1", "B": "x=y", "C": "", "FROM_ENV": "e"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("ParsePairs: %v (-want +got):\n%s", err, diff)
	}
	if got, err := ParsePairs([]string{"bare"}, nil); err != nil || !cmp.Equal(got, map[string]string{"bare": ""}) {
		t.Errorf("ParsePairs without lookup = %v, %v", got, err)
	}
	if _, err := ParsePairs([]string{"=x"}, nil); err == nil {
		t.Error("ParsePairs(=x) = nil, want an error")
	}
}

func FuzzParseFlags(f *testing.F) {
	for _, seed := range []string{"id=a,src=b", "type=local,dest=x", "type=registry,ref=a/b:c", "-", `"a=b","c`, "a,b,,=", "default=x,y"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, flag string) {
		s := Surroundings{Dir: "/base", Stdout: &bytes.Buffer{}}
		if secret, err := ParseSecret(flag, s); err == nil && secret.ID == "" {
			t.Errorf("ParseSecret(%q) has no id", flag)
		}
		if out, err := ParseOutput(flag, s); err == nil {
			if out.Type == "" || out.Dest == "-" && out.Stdout == nil {
				t.Errorf("ParseOutput(%q) = %+v", flag, out)
			}
			if out.Dest != "" && out.Dest != "-" && !filepath.IsAbs(out.Dest) {
				t.Errorf("ParseOutput(%q) goes to %q, want an absolute path", flag, out.Dest)
			}
		}
		if c, err := ParseCache(flag); err == nil && (c.Type == "" || c.Type == "registry" && c.Attrs["ref"] == "") {
			t.Errorf("ParseCache(%q) = %+v", flag, c)
		}
		if a, err := ParseSSH(flag, s); err == nil && (a.ID == "" || len(a.Paths) == 0 || strings.Contains(a.ID, "=")) {
			t.Errorf("ParseSSH(%q) = %+v", flag, a)
		}
		if _, _, err := ParseAttestation(flag); err != nil {
			return
		}
	})
}

// env is a caller's environment.
func env(pairs map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { v, ok := pairs[name]; return v, ok }
}

// A caller that may read more than the one it builds for says how files are opened.
func TestSecretsAreOpenedAsTheCallerSays(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"open", "closed"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	opened := func(path string) (*os.File, error) {
		if filepath.Base(path) == "closed" {
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission}
		}
		return os.Open(path)
	}
	around := Surroundings{Dir: dir, Open: opened}
	for name, want := range map[string]error{"open": nil, "closed": fs.ErrPermission} {
		secret, err := ParseSecret("id=s,src="+name, around)
		if err != nil {
			t.Fatal(err)
		}
		if value, err := secret.Open(t.Context()); !errors.Is(err, want) || (err == nil && string(value) != name) {
			t.Errorf("the secret from %s = %q, %v, want %v", name, value, err, want)
		}
	}
}
