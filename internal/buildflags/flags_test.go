package buildflags

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/shlex"
	"github.com/spf13/pflag"

	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/imagebuild"
)

// typed reads a command line.
func typed(tb testing.TB, s Surroundings, line string) (*Flags, imagebuild.Request, error) {
	tb.Helper()
	words, err := shlex.Split(line)
	if err != nil {
		tb.Fatal(err)
	}
	var f Flags
	set := pflag.NewFlagSet("build", pflag.ContinueOnError)
	f.Register(set)
	if err := set.Parse(words); err != nil {
		return &f, imagebuild.Request{}, err
	}
	context := "."
	if set.NArg() > 0 {
		context = set.Arg(0)
	}
	r, err := f.Request(s, context)
	return &f, r, err
}

func TestFlagsBecomeARequest(t *testing.T) {
	dir := t.TempDir()
	for _, sub := range []string{"docs", "layout"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	s := Surroundings{Dir: dir, LookupEnv: env(map[string]string{"FROM_ENV": "e", "SSH_AUTH_SOCK": "/run/agent"})}
	for line, want := range map[string]imagebuild.Request{
		"":                                {Context: dir},
		"-f a/Dockerfile docs":            {Context: in("docs"), Dockerfile: in("a/Dockerfile")},
		"-f https://example.com/D .":      {Context: dir, Dockerfile: "https://example.com/D"},
		"-f in/D https://x.com/a.git#m:d": {Context: "https://x.com/a.git#m:d", Dockerfile: "in/D"},
		"github.com/a/b":                  {Context: "github.com/a/b"},
		"git@x.com:a/b.git#main":          {Context: "git@x.com:a/b.git#main", SSH: []imagebuild.SSH{{ID: "default", Paths: []string{"/run/agent"}}}},
		"-t a:1 -t b --target t --pull --push --no-cache":                              {Context: dir, Tags: []string{"a:1", "b"}, Target: "t", Pull: true, Push: true, NoCache: true},
		"--platform linux/arm64,linux/amd64":                                           {Context: dir, Platforms: []string{"linux/arm64,linux/amd64"}},
		"--build-arg A=1 --build-arg FROM_ENV --label l=x --annotation index:k=v":      {Context: dir, BuildArgs: map[string]string{"A": "1", "FROM_ENV": "e"}, Labels: map[string]string{"l": "x"}, Annotations: map[string]string{"index:k": "v"}},
		"--annotation manifest[linux/amd64],index:org.example=1=2":                     {Context: dir, Annotations: map[string]string{"manifest[linux/amd64],index:org.example": "1=2"}},
		"--build-context docs=docs --build-context base=docker-image://busybox":        {Context: dir, Contexts: map[string]string{"docs": in("docs"), "base": "docker-image://busybox"}},
		"--build-context docker.io/library/busybox:latest=oci-layout://layout:1":       {Context: dir, Contexts: map[string]string{"busybox": "oci-layout://" + in("layout:1")}},
		"--build-context r=https://x.com/a.git":                                        {Context: dir, Contexts: map[string]string{"r": "https://x.com/a.git"}},
		"--add-host db:10.0.0.5 --add-host h=host-gateway,six:[::1],1.2.3.4":           {Context: dir, AddHosts: []string{"db:10.0.0.5", "h:host-gateway", "six:::1", "six:1.2.3.4"}},
		"--ulimit nofile=10:20 --ulimit nproc=5 --shm-size 64m --network host":         {Context: dir, Ulimits: []string{"nofile=10:20", "nproc=5:5"}, ShmSize: 64 << 20, Network: "host"},
		"--network none --cgroup-parent ci --allow network.host --allow device=gpu":    {Context: dir, Network: "none", CgroupParent: "ci", Allow: []string{"network.host", "device=gpu"}},
		"--resource memory=1g --cpu-shares 512 --resource cpuset-cpus=0-2,4":           {Context: dir, Resources: map[string]string{"memory": "1073741824", "cpu-shares": "512", "cpuset-cpus": "0-2,4"}},
		"-m 1m --memory-swap -1":                                                       {Context: dir, Resources: map[string]string{"memory": "1048576", "memory-swap": "-1"}},
		"--no-cache-filter a --no-cache-filter b,c --force-rm --rm=false --compress":   {Context: dir, NoCacheFilter: []string{"a", "b,c"}},
		"--sbom true --provenance mode=max":                                            {Context: dir, Attestations: map[string]string{"sbom": "", "provenance": "mode=max"}},
		"--attest type=sbom,generator=a/b --attest type=provenance --provenance=false": {Context: dir, Attestations: map[string]string{"sbom": "generator=a/b"}},
		`--attest 'type=provenance,"builder-id=a,b"'`:                                  {Context: dir, Attestations: map[string]string{"provenance": `"builder-id=a,b"`}},
		"-o type=registry,name=x/y:1,compression=zstd":                                 {Context: dir, Push: true, Tags: []string{"x/y:1"}, PushAttrs: map[string]string{"compression": "zstd"}},
		"-t a -o type=image,name=b,push=true":                                          {Context: dir, Tags: []string{"a"}, Outputs: []imagebuild.Output{{Type: "image", Attrs: map[string]string{"push": "true", "name": "b"}}}},
		"-t a -t b -o 'type=registry,\"name=b,a\"'":                                    {Context: dir, Tags: []string{"a", "b"}, Push: true},
		"--push -t a -o type=image,push=false,name=b":                                  {Context: dir, Push: true, Tags: []string{"a"}, Outputs: []imagebuild.Output{{Type: "image", Attrs: map[string]string{"push": "false", "name": "b"}}}},
		"--push -t a -o type=image,name=a,force-compression=true":                      {Context: dir, Push: true, Tags: []string{"a"}, PushAttrs: map[string]string{"force-compression": "true"}},
		"-o type=image,push=true,push-by-digest=true,name=x":                           {Context: dir, Outputs: []imagebuild.Output{{Type: "image", Attrs: map[string]string{"push": "true", "push-by-digest": "true", "name": "x"}}}},
		"-o out -o type=oci,dest=a.tar":                                                {Context: dir, Outputs: []imagebuild.Output{{Type: "local", Dest: in("out")}, {Type: "oci", Dest: in("a.tar")}}},
		"-o type=local,dest=sub/out,mode=delete":                                       {Context: dir, Outputs: []imagebuild.Output{{Type: "local", Dest: in("sub/out"), Attrs: map[string]string{"mode": "delete"}}}},
		"-o type=local,dest=/tmp/x,mode=delete --allow buildx.local.delete":            {Context: dir, Outputs: []imagebuild.Output{{Type: "local", Dest: "/tmp/x", Attrs: map[string]string{"mode": "delete"}}}},
		"--cache-from type=local,src=cache --build-arg BUILDKIT_INLINE_CACHE=1":        {Context: dir, BuildArgs: map[string]string{"BUILDKIT_INLINE_CACHE": "1"}, CacheFrom: []buildcache.Entry{{Type: "local", Attrs: map[string]string{"src": in("cache")}}}, CacheTo: []buildcache.Entry{{Type: "inline"}}},
	} {
		_, got, err := typed(t, s, line)
		if err != nil {
			t.Errorf("%q = %v", line, err)
			continue
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreTypes(imagebuild.Secret{})); diff != "" {
			t.Errorf("%q (-want +got):\n%s", line, diff)
		}
	}
}

func TestTheEnvironmentCountsAsItDoesForBuildx(t *testing.T) {
	s := Surroundings{LookupEnv: env(map[string]string{"SOURCE_DATE_EPOCH": "7", "DOCKER_DEFAULT_PLATFORM": "linux/arm64"})}
	if _, got, err := typed(t, s, ""); err != nil || got.BuildArgs["SOURCE_DATE_EPOCH"] != "7" || !cmp.Equal(got.Platforms, []string{"linux/arm64"}) {
		t.Errorf("request = %+v, %v, want the epoch and the platform of the environment", got, err)
	}
	if _, got, err := typed(t, s, "--build-arg SOURCE_DATE_EPOCH=9 --platform linux/amd64"); err != nil || got.BuildArgs["SOURCE_DATE_EPOCH"] != "9" || !cmp.Equal(got.Platforms, []string{"linux/amd64"}) {
		t.Errorf("request = %+v, %v, want the epoch and the platform of the flags", got, err)
	}
}

func TestEveryBadFlagIsNamedAtOnceWithAHint(t *testing.T) {
	bad := map[string]string{
		"--secret nonsense": "--secret",
		"--ssh =x":          "--ssh",
		"--output type=zip": "--output",
		"--output type=local,dest=/x,mode=delete": "--output",
		"-o type=docker,compression=zstd":         "--output",
		"-t a -o type=docker,name=b":              "--output",
		"--sbom .":                                "--sbom",
		"--cache-to type=registry":                "--cache-to",
		"--cache-from a,b":                        "--cache-from",
		"--provenance=mode=all":                   "--provenance",
		"--sbom=perhaps":                          "--sbom",
		"--attest type=licence":                   "--attest",
		"--annotation bad[:k=v":                   "--annotation",
		"--annotation k":                          "--annotation",
		"--build-arg =x":                          "--build-arg",
		"--build-context x":                       "--build-context",
		"--build-context UPPER=/":                 "--build-context",
		"--build-context a=missing":               "--build-context",
		"--add-host db":                           "--add-host",
		"--add-host db:nowhere":                   "--add-host",
		"--ulimit many=1":                         "--ulimit",
		"--shm-size big":                          "--shm-size",
		"--network cni0":                          "--network",
		"--allow everything":                      "--allow",
		"--allow network.host=yes":                "--allow",
		"--resource gpus=1":                       "--resource",
		"--resource cpu-quota=0":                  "--resource",
		"--memory plenty":                         "--resource",
		"--call dance":                            "--call",
		"--call check,format=xml":                 "--call",
		"--check --call outline":                  "--check",
		"--squash":                                "--squash",
		"--security-opt seccomp=unconfined":       "--security-opt",
		"--iidfile id -o out":                     "--iidfile",
		"-o - -o type=oci,dest=-":                 "--output",
		"-f - -":                                  "--file",
	}
	s := Surroundings{Dir: t.TempDir(), Stdin: strings.NewReader(""), Stdout: &bytes.Buffer{}}
	for line, want := range bad {
		_, _, err := typed(t, s, line)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q = %v, want an error that names %s", line, err, want)
		}
	}
	_, _, err := typed(t, s, "--shm-size big --network cni0 --secret nonsense --build-arg ''")
	for _, want := range []string{"--shm-size", "--network", "--secret", "--build-arg"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error %v lacks %s", err, want)
		}
	}
	if hints := hint.All(err); len(hints) < 3 {
		t.Errorf("hints = %q, want one for each flag", hints)
	}
	if _, _, err := typed(t, Surroundings{}, "-"); err == nil || !strings.Contains(err.Error(), "standard input") {
		t.Errorf("a context on a standard input that is not there = %v", err)
	}
}

func TestQuestionsInsteadOfABuild(t *testing.T) {
	for line, want := range map[string]Query{
		"":             {},
		"--call build": {},
		"--check":      {Method: "lint"},
		"--call check,format=json,ignorestatus=true": {Method: "lint", JSON: true, IgnoreStatus: true},
		"--call outline": {Method: "outline"},
	} {
		if f, _, err := typed(t, Surroundings{}, line); err != nil || f.Query != want {
			t.Errorf("%q asks %+v, %v, want %+v", line, f.Query, err, want)
		}
	}
}

func TestStandardInputIsADockerfileOrAnArchive(t *testing.T) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: "Dockerfile", Size: 4, Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("FROM")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	whole := bytes.Clone(archive.Bytes())
	_, r, err := typed(t, Surroundings{Stdin: &archive}, "-f in/Dockerfile -")
	if err != nil || r.ContextArchive == nil || r.Context != "" || r.Dockerfile != "in/Dockerfile" {
		t.Fatalf("an archive = %+v, %v", r, err)
	}
	for range 2 { // each solve reads it
		if got, err := io.ReadAll(io.NewSectionReader(r.ContextArchive, 0, r.ContextArchive.Size())); err != nil || !bytes.Equal(got, whole) {
			t.Errorf("the archive came as %d bytes, %v, want %d", len(got), err, len(whole))
		}
	}
	for line, dockerfile := range map[string]string{"-": "FROM scratch", "-f - .": "FROM scratch"} {
		_, r, err := typed(t, Surroundings{Stdin: strings.NewReader(dockerfile)}, line)
		if err != nil || r.DockerfileText == nil || r.ContextArchive != nil {
			t.Fatalf("%q = %+v, %v", line, r, err)
		}
		if got, err := io.ReadAll(r.DockerfileText); err != nil || string(got) != dockerfile {
			t.Errorf("%q has the Dockerfile %q, %v", line, got, err)
		}
	}
	for text, line := range map[string]string{"": "-", "FROM scratch": "-f other -"} {
		if _, _, err := typed(t, Surroundings{Stdin: strings.NewReader(text)}, line); err == nil || len(hint.All(err)) == 0 {
			t.Errorf("%q with %q on standard input = %v, want an error with a hint", line, text, err)
		}
	}
}

func TestTheHelpShowsEveryFlagInAGroup(t *testing.T) {
	var f Flags
	set := pflag.NewFlagSet("build", pflag.ContinueOnError)
	f.Register(set)
	help := Usages(set)
	if strings.Contains(help, "Other flags") {
		t.Errorf("a flag has no group:\n%s", help)
	}
	set.VisitAll(func(f *pflag.Flag) {
		if shown := strings.Contains(help, "--"+f.Name+" ") || strings.Contains(help, "--"+f.Name+"\n"); shown == f.Hidden && f.Name != "memory" {
			t.Errorf("--%s is shown: %t, hidden: %t", f.Name, shown, f.Hidden)
		}
	})
	for name := range Words() {
		if set.Lookup(name) == nil {
			t.Errorf("Words knows --%s, which is no flag", name)
		}
	}
	for line := range strings.Lines(help) {
		if len([]rune(line)) > columns+1 {
			t.Errorf("a line of the help has %d columns: %s", len([]rune(line)), line)
		}
	}
}

func FuzzRequest(f *testing.F) {
	for _, seed := range []string{"a=b", "db:10.0.0.1,[::1]", "nofile=1:2", "type=local,dest=x,mode=delete", "index[linux/amd64]:a=b", "oci-layout://x:y@sha256:z", "memory=1g", "check,format=json"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		dir := t.TempDir()
		for _, name := range []string{"add-host", "ulimit", "shm-size", "resource", "annotation", "build-context", "output", "attest", "allow", "call"} {
			var flags Flags
			set := pflag.NewFlagSet("build", pflag.ContinueOnError)
			flags.Register(set)
			if err := set.Set(name, value); err != nil {
				continue
			}
			r, err := flags.Request(Surroundings{Dir: dir}, ".")
			if err != nil {
				continue
			}
			for _, line := range r.AddHosts {
				if strings.ContainsAny(line, ",=\"\n") {
					t.Errorf("--add-host %q becomes %q, which is no single line", value, line)
				}
			}
			for _, o := range r.Outputs {
				if o.Attrs["mode"] == "delete" && o.Type == "local" && !strings.HasPrefix(o.Dest, dir+"/") {
					t.Errorf("--output %q may delete in %s", value, o.Dest)
				}
			}
		}
	})
}
