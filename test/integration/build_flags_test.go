package integration_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/shlex"
	"github.com/spf13/pflag"

	"github.com/dockless-ci/dockless/internal/buildflags"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/imagebuild"
)

// flagged is what a command line of docker buildx build asks for. Relative paths
// start from dir.
func flagged(t *testing.T, s buildflags.Surroundings, line string) (imagebuild.Request, *buildflags.Flags) {
	t.Helper()
	words, err := shlex.Split(line)
	if err != nil {
		t.Fatal(err)
	}
	var f buildflags.Flags
	set := pflag.NewFlagSet("build", pflag.ContinueOnError)
	f.Register(set)
	if err := set.Parse(words); err != nil {
		t.Fatal(err)
	}
	context := "."
	if set.NArg() > 0 {
		context = set.Arg(0)
	}
	r, err := f.Request(s, context)
	if err != nil {
		t.Fatalf("reading %q: %v", line, err)
	}
	return r, &f
}

// files builds what a command line asks for and returns the files of the result,
// with what was shown. A Dockerfile for it ends in a stage with reports only.
func (h *buildHost) files(t *testing.T, s buildflags.Surroundings, line string) (files map[string]string, shown string) {
	t.Helper()
	r, _ := flagged(t, s, line)
	out := t.TempDir()
	r.Outputs = append(r.Outputs, imagebuild.Output{Type: "local", Dest: out})
	_, shown = h.build(t, r)
	files = make(map[string]string)
	err := fs.WalkDir(os.DirFS(out), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files[path] = read(t, filepath.Join(out, path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, shown
}

func at(dir string) buildflags.Surroundings { return buildflags.Surroundings{Dir: dir} }

// reporting is a Dockerfile whose only stage but one runs a script, with what it
// writes to /report as the result.
func reporting(run string) string {
	return "FROM busybox AS run\nRUN <<EOS\n{\n" + run + "\n} > /report 2>&1\nEOS\nFROM scratch\nCOPY --from=run /report /\n"
}

func TestFlagsShapeTheSandboxOfSteps(t *testing.T) {
	h := needBuildHost(t)
	dir := writeTree(t, map[string]string{"Dockerfile": reporting("cat /etc/hosts\ndf -k /dev/shm | tail -1\nulimit -n\nulimit -Hn")})
	files, _ := h.files(t, at(dir), "--add-host db.local:10.1.2.3 --add-host six=[fd00::1] --add-host node:host-gateway --ulimit nofile=321:654 --shm-size 7m .")
	got := strings.Join(strings.Fields(files["report"]), " ")
	for _, want := range []string{"10.1.2.3 db.local", "fd00::1 six", "127.0.0.1 node", "7168", "321 654"} {
		if !strings.Contains(got, want) {
			t.Errorf("the step saw %q, want %q in it", got, want)
		}
	}
	dir = writeTree(t, map[string]string{"Dockerfile": reporting("ls /sys/class/net; cat /proc/self/cgroup")})
	files, _ = h.files(t, at(dir), "--network none --cgroup-parent ci-of-ours .")
	if got := strings.Fields(files["report"]); len(got) == 0 || got[0] != "lo" || strings.Contains(files["report"], "eth") {
		t.Errorf("without network the step saw %q", got)
	}
}

func TestEntitlementsAreTheUsersToGive(t *testing.T) {
	h := needBuildHost(t)
	for dockerfile, allow := range map[string]string{
		"# syntax-less\nFROM busybox\nRUN --network=host true\n":      "network.host",
		"# syntax-less\nFROM busybox\nRUN --security=insecure true\n": "security.insecure",
	} {
		dir := writeTree(t, map[string]string{"Dockerfile": dockerfile})
		r, _ := flagged(t, at(dir), ".")
		if _, err := h.Build(t.Context(), r, imagebuild.Progress{}); err == nil || !strings.Contains(err.Error(), allow) {
			t.Errorf("without --allow %s the build ended as %v", allow, err)
		} else if hints := strings.Join(hint.All(err), "\n"); !strings.Contains(hints, "--allow "+allow) {
			t.Errorf("hints = %q, want --allow %s", hints, allow)
		}
		h.files(t, at(dir), "--allow "+allow+" .")
	}
	dir := writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nRUN true\n"})
	h.files(t, at(dir), "--network host .")
}

func TestNamedContexts(t *testing.T) {
	h := needBuildHost(t)
	layout := filepath.Join(t.TempDir(), "layout")
	base := writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nRUN echo laid out > /from-layout\n"})
	r, _ := flagged(t, at(base), "-t made/base:7 -o type=oci,tar=false,dest="+layout+" .")
	made, _ := h.build(t, r)
	dir := writeTree(t, map[string]string{
		"Dockerfile": `FROM alpine AS image
RUN busybox true; echo image > /from-image
FROM laid AS layout
FROM scratch
COPY --from=image /from-image /
COPY --from=layout /from-layout /
COPY --from=docs /note.txt /from-directory
COPY --from=docs . /all/
`,
		"docs/note.txt": "noted\n", "docs/.dockerignore": "*.secret\n", "docs/a.secret": "s",
	})
	for _, place := range []string{":7", "@" + made.Digest.String(), ""} {
		before := listing(t, layout)
		files, _ := h.files(t, at(dir), "--build-context docs=docs --build-context alpine=docker-image://busybox --build-context laid=oci-layout://"+layout+place+" .")
		for name, want := range map[string]string{"from-image": "image\n", "from-layout": "laid out\n", "from-directory": "noted\n", "all/note.txt": "noted\n"} {
			if files[name] != want {
				t.Errorf("with %q: %s = %q, want %q", place, name, files[name], want)
			}
		}
		if _, there := files["all/a.secret"]; there {
			t.Error("what .dockerignore of the named context excludes is in the result")
		}
		if after := listing(t, layout); after != before {
			t.Errorf("reading a layout changed it from\n%s to\n%s", before, after)
		}
	}
	r, _ = flagged(t, at(dir), "--build-context docs=docs --build-context laid=oci-layout://"+layout+":nope .")
	if _, err := h.Build(t.Context(), r, imagebuild.Progress{}); err == nil || !strings.Contains(err.Error(), "made/base:7") || len(hint.All(err)) == 0 {
		t.Errorf("a layout without the tag = %v, want an error that names what there is", err)
	}
}

// listing names the files below dir.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var names []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, _ fs.DirEntry, err error) error {
		names = append(names, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, "\n")
}

// served serves repositories to those who bring an authorization; empty is
// everybody.
func served(t *testing.T, root, authorization string) string {
	t.Helper()
	git, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	backend := &cgi.Handler{Path: git, Args: []string{"http-backend"}, Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"}, InheritEnv: []string{"PATH"}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if authorization != "" && r.Header.Get("Authorization") != authorization {
			w.Header().Set("WWW-Authenticate", "Basic")
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// committed makes a repository of files, in root/name.
func committed(t *testing.T, root, name string, files map[string]string) {
	t.Helper()
	tree := writeTree(t, files)
	for _, args := range [][]string{
		{"init", "-q", "-b", "main"},
		{"add", "-A"},
		{"-c", "user.name=Ada", "-c", "user.email=ada@example.com", "commit", "-qm", "first"},
		{"clone", "-q", "--bare", tree, filepath.Join(root, name)},
	} {
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", tree}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
}

func TestContextsFromGitAndTheWeb(t *testing.T) {
	h := needBuildHost(t)
	root := t.TempDir()
	committed(t, root, "shop.git", map[string]string{
		"sub/Dockerfile": "FROM scratch\nCOPY here /\nCOPY --from=side sub/here /side\n", "sub/other.Dockerfile": "FROM scratch\nCOPY here /other\n", "sub/here": "from git\n",
	})
	open, locked := served(t, root, ""), served(t, root, "basic eC1hY2Nlc3MtdG9rZW46aHVudGVyMg==") // x-access-token:hunter2
	for line, want := range map[string]string{
		open + "/shop.git#main:sub --build-context side=" + open + "/shop.git":                                                  "side",
		open + "/shop.git?ref=main&subdir=sub --build-context side=" + open + "/shop.git#main":                                  "side",
		"-f other.Dockerfile " + open + "/shop.git#:sub":                                                                        "other",
		"-f other.Dockerfile --secret id=GIT_AUTH_TOKEN,env=TOKEN " + locked + "/shop.git#:sub":                                 "other",
		"-f " + writeTree(t, map[string]string{"mine": "FROM scratch\nCOPY here /mine\n"}) + "/mine " + open + "/shop.git#:sub": "mine",
	} {
		s := buildflags.Surroundings{LookupEnv: variables(map[string]string{"TOKEN": "hunter2"})}
		if files, _ := h.files(t, s, "'"+strings.ReplaceAll(line, " ", "' '")+"'"); files[want] != "from git\n" {
			t.Errorf("%s gave %q, want the file %s", line, files, want)
		}
	}
	r, _ := flagged(t, buildflags.Surroundings{}, locked+"/shop.git#:sub")
	if _, err := h.Build(t.Context(), r, imagebuild.Progress{}); err == nil || !strings.Contains(strings.Join(hint.All(err), "\n"), "GIT_AUTH_TOKEN") {
		t.Errorf("a repository that wants a login = %v with hints %q, want one about GIT_AUTH_TOKEN", err, hint.All(err))
	}

	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/context.tar":
			_, _ = w.Write(archive(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY here /\n", "here": "from the web\n"}))
		case "/Dockerfile":
			_, _ = io.WriteString(w, "FROM scratch\nCOPY local /of-the-web\n")
		default:
			http.NotFound(w, r)
		}
	}))
	defer web.Close()
	if files, _ := h.files(t, buildflags.Surroundings{}, web.URL+"/context.tar"); files["here"] != "from the web\n" {
		t.Errorf("an archive of the web gave %q", files)
	}
	if files, _ := h.files(t, at(writeTree(t, map[string]string{"local": "local\n"})), "-f "+web.URL+"/Dockerfile ."); files["of-the-web"] != "local\n" {
		t.Errorf("a Dockerfile of the web gave %q", files)
	}
}

// variables is an environment.
func variables(of map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { v, ok := of[name]; return v, ok }
}

// archive is a tar archive of files.
func archive(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, text := range files {
		err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))})
		_, werr := w.Write([]byte(text))
		if err := errors.Join(err, werr); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestStandardInputIsAContextOrADockerfile(t *testing.T) {
	h := needBuildHost(t)
	in := func(data []byte) buildflags.Surroundings {
		return buildflags.Surroundings{Stdin: bytes.NewReader(data)}
	}
	files, _ := h.files(t, in(archive(t, map[string]string{"sub/D": "FROM scratch\nCOPY here /\n", "here": "piped\n"})), "-f sub/D -")
	if files["here"] != "piped\n" {
		t.Errorf("an archive on standard input gave %q", files)
	}
	files, _ = h.files(t, in([]byte(reporting("echo alone"))), "-")
	if files["report"] != "alone\n" {
		t.Errorf("a Dockerfile on standard input gave %q", files)
	}
	s := in([]byte("FROM scratch\nCOPY here /\n"))
	s.Dir = writeTree(t, map[string]string{"here": "beside\n"})
	if files, _ = h.files(t, s, "-f - ."); files["here"] != "beside\n" {
		t.Errorf("-f - gave %q", files)
	}
}

func TestIgnoreFilesHeredocsAndPartsOfTheCache(t *testing.T) {
	h := needBuildHost(t)
	dir := writeTree(t, map[string]string{
		"ctx/.dockerignore": "a\n", "ctx/a": "a", "ctx/b": "b", "ctx/c": "c",
		"elsewhere/D": "FROM scratch\nCOPY . /\n",
		"special/D":   "FROM scratch\nCOPY . /\n", "special/D.dockerignore": "b\n*.dockerignore\n",
		"here/Dockerfile": "FROM busybox AS run\nARG WHO\nCOPY <<EOT /text\nhello $WHO\nEOT\nRUN <<EOT\nset -e\ncat /proc/sys/kernel/random/uuid > /when\nEOT\nFROM busybox AS other\nRUN cat /proc/sys/kernel/random/uuid > /then\nFROM scratch AS out\nCOPY --from=run /text /when /\nCOPY --from=other /then /\n",
	})
	for line, want := range map[string]string{"-f elsewhere/D ctx": "bc", "-f special/D ctx": "ac"} {
		files, _ := h.files(t, at(dir), line)
		if got := files["a"] + files["b"] + files["c"]; got != want {
			t.Errorf("%s copied %q, want %q", line, got, want)
		}
	}
	first, _ := h.files(t, at(dir), "--build-arg WHO=world here")
	again, _ := h.files(t, at(dir), "--build-arg WHO=world here")
	part, _ := h.files(t, at(dir), "--build-arg WHO=world --no-cache-filter run --no-cache-filter out here")
	all, _ := h.files(t, at(dir), "--build-arg WHO=world --no-cache here")
	if first["text"] != "hello world\n" {
		t.Errorf("a heredoc wrote %q", first["text"])
	}
	if again["when"] != first["when"] || again["then"] != first["then"] {
		t.Error("a second build ran steps again")
	}
	if part["when"] == first["when"] || part["then"] != first["then"] {
		t.Errorf("--no-cache-filter did not run the steps of its stage alone: %q, before %q", part, first)
	}
	if all["when"] == part["when"] || all["then"] == part["then"] {
		t.Error("--no-cache did not run every step")
	}
}

func TestADockerfileIsCheckedAndDescribedWithoutABuild(t *testing.T) {
	h := needBuildHost(t)
	dir := writeTree(t, map[string]string{"Dockerfile": "FROM busybox as build\nARG COLOR=red\nRUN exit 7\nFROM build\n"})
	ask := func(line string) *imagebuild.Reply {
		t.Helper()
		r, f := flagged(t, at(dir), line)
		reply, err := h.Query(t.Context(), r, f.Query.Method, imagebuild.Progress{})
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		return reply
	}
	if got := ask("--check ."); got.Status != 1 || !strings.Contains(string(got.Text), "FromAsCasing") || !strings.Contains(string(got.JSON), `"warnings"`) {
		t.Errorf("--check = status %d\n%s", got.Status, got.Text)
	}
	if got := ask("--call outline --target build ."); got.Status != 0 || !strings.Contains(string(got.Text), "COLOR") {
		t.Errorf("--call outline = status %d\n%s", got.Status, got.Text)
	}
	if got := ask("--call targets ."); !strings.Contains(string(got.Text), "build") {
		t.Errorf("--call targets = %s", got.Text)
	}
	if got := ask("--check --build-arg BUILDKIT_DOCKERFILE_CHECK=skip=FromAsCasing ."); got.Status != 0 {
		t.Errorf("--check without the rule = status %d\n%s", got.Status, got.Text)
	}
}

func TestOutputsAreWrittenAsTheirSettingsSay(t *testing.T) {
	h := needBuildHost(t)
	dir := writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nRUN echo made > /made\n"})
	s := at(dir)
	s.LookupEnv = variables(map[string]string{"SOURCE_DATE_EPOCH": "1700000000"})
	image := h.registry + "/team/written"
	r, f := flagged(t, s, "-o type=registry,name="+image+":1,compression=zstd,force-compression=true,rewrite-timestamp=true -o type=docker,dest=a.tar -o type=oci,tar=false,dest=layout -o type=docker -t "+image+":2 .")
	if !f.Load {
		t.Error("-o type=docker without a dest does not load the image")
	}
	result, _ := h.build(t, r)
	ref, err := name.ParseReference(image + ":1") // as buildx: an output's own name counts
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range manifest.Layers {
		if !strings.HasSuffix(string(l.MediaType), "+zstd") {
			t.Errorf("a layer is %s, want zstd", l.MediaType)
		}
	}
	config, err := img.ConfigFile()
	if err != nil || config.Created.Unix() != 1700000000 {
		t.Errorf("the image was created %v, %v, want the epoch of the environment", config.Created, err)
	}
	for _, file := range []string{"a.tar", "layout/index.json"} {
		if !exists(filepath.Join(dir, file)) {
			t.Errorf("the output %s is not there", file)
		}
	}
	if result.Digest == "" {
		t.Error("the result has no digest")
	}
}

func TestStepsReachTheGivenSSHKey(t *testing.T) {
	h := needBuildHost(t)
	dir := writeTree(t, map[string]string{"Dockerfile": "FROM busybox AS run\nRUN --mount=type=ssh,id=git,required=true test -S \"$SSH_AUTH_SOCK\" && echo reached > /report\nFROM scratch\nCOPY --from=run /report /\n"})
	if out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, "key")).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	if files, _ := h.files(t, at(dir), "--ssh git=key ."); files["report"] != "reached\n" {
		t.Errorf("the step saw %q", files)
	}
}
