package explain

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

var amd64 = ocispecs.Platform{OS: "linux", Architecture: "amd64"}

// situation is one build of a test.
type situation struct {
	dockerfile string
	files      map[string]string
	build      Build
	digests    map[string]string // of base images, by stage as BuildKit shows it
	sources    map[string]string
	node       string
	export     string
}

// record describes a build as if it had been solved.
func (s situation) record(t testing.TB, last *Record) (*Record, []Solved) {
	t.Helper()
	b := s.build
	if b.Context == "" {
		b.Context = t.TempDir()
		for name, text := range s.files {
			write(t, filepath.Join(b.Context, name), text)
		}
	}
	if s.dockerfile != "" {
		b.Dockerfile = []byte(s.dockerfile)
	}
	if b.Platforms == nil {
		b.Platforms = []ocispecs.Platform{amd64}
	}
	d, err := Describe(t.Context(), b, nil)
	if err != nil {
		t.Fatal(err)
	}
	for url, delivered := range s.sources {
		d.SetSource(url, delivered)
	}
	solved := everything(&d.record)
	for i, base := range solved {
		if digest := s.digests[short(base.Name)]; base.Base && digest != "" {
			solved[i].Name += "@" + digest
		}
	}
	d.Resolve(solved)
	r, err := d.Seal(last)
	if err != nil {
		t.Fatal(err)
	}
	r.Nodes, r.Export, r.Time = []string{s.node}, s.export, time.Now()
	return &r, solved
}

func write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// everything is a solve in which every step ran, told as BuildKit does.
func everything(r *Record) (out []Solved) {
	for _, p := range r.Platforms {
		for i, st := range p.Stages {
			if !st.Needed {
				continue
			}
			name, n := st.Name, 0
			if name == "" {
				name = fmt.Sprint("stage-", i)
			}
			if len(p.Stages) == 1 {
				name = ""
			}
			show := func(text string) string {
				n++
				return "[" + strings.TrimSpace(name+fmt.Sprintf(" %d/%d", n, st.Total)) + "] " + text
			}
			if st.Image != "" {
				out = append(out, Solved{Name: show("FROM " + string(st.Image)), Base: true})
			}
			for _, s := range st.Steps {
				if !s.Silent {
					out = append(out, Solved{Name: show(s.Word + " " + s.Text), Ran: true, Duration: time.Second})
				}
			}
		}
	}
	return out
}

// reasons maps the short names of steps to kind and text.
func reasons(list []Reason) map[string]string {
	out := make(map[string]string)
	for _, r := range list {
		out[short(r.Step)] = string(r.Kind) + ": " + r.Text
	}
	return out
}

func TestAReasonNamesWhatSomebodyChanged(t *testing.T) {
	const shop = "FROM busybox AS build\nARG MODE=fast\nENV LEVEL=$MODE\nUSER root\nWORKDIR /src\nCOPY go.mod .\nRUN --mount=type=secret,id=token make\nFROM scratch\nCOPY --from=build /src/out /\n"
	files := map[string]string{"go.mod": "module x"}
	plain := situation{dockerfile: shop, files: files, node: "n"}
	change := func(old, now string) situation {
		s := plain
		s.dockerfile = strings.Replace(shop, old, now, 1)
		return s
	}
	given := func(value string) situation {
		s := plain
		s.build.Arguments = map[string]string{"MODE": value}
		return s
	}
	digest := func(d string) situation {
		s := plain
		s.digests = map[string]string{"[build 1/4]": d}
		return s
	}
	option := func(name, value string) situation {
		s := plain
		s.build.Options = map[string]string{name: value}
		return s
	}
	long := strings.Repeat("x", 300)
	tests := map[string]struct {
		last, now  situation
		step, want string
	}{
		"the user":                   {plain, change("USER root", "USER me"), "[build 4/4]", "instruction-changed: a line before it changed: was USER root, is USER me"},
		"a shell":                    {plain, change("USER root", "USER root\nSHELL [\"ash\"]"), "[build 4/4]", `instruction-changed: the line SHELL ["ash"] is new`},
		"an ENV that is gone":        {plain, change("ENV LEVEL=$MODE\n", ""), "[build 4/4]", "instruction-changed: the line ENV LEVEL=$MODE is gone"},
		"the default of an argument": {plain, change("=fast", "=slow"), "[build 4/4]", "instruction-changed: a line before it changed: was ARG MODE=fast, is ARG MODE=slow"},
		"a default that is not used": {given("x"), func() situation { s := change("=fast", "=slow"); s.build = given("x").build; return s }(), "[build 4/4]", "evicted: nothing changed, and the node has dropped the result"},
		"an argument":                {given("one"), given("two"), "[build 4/4]", "argument-changed: build argument MODE has another value"},
		"an argument that is new":    {plain, given("two"), "[build 4/4]", "argument-changed: build argument MODE is given now"},
		"an empty argument":          {given(""), plain, "[build 4/4]", "argument-changed: build argument MODE is no longer given"},
		"a secret":                   {plain, change("id=token", "id=key"), "[build 4/4]", "secret-changed: it mounts another secret: was token, is key"},
		"a secret and the command":   {plain, change("id=token make", "id=key make all"), "[build 4/4]", "instruction-changed: the instruction changed: was RUN --mount=type=secret,id=token make, is RUN --mount=type=secret,id=key make all"},
		"the base":                   {digest("sha256:aaaabbbbccccdddd"), digest("sha256:ddddccccbbbbaaaa"), "[build 2/4]", "base-changed: the base image changed from sha256:aaaabbbbcccc to sha256:ddddccccbbbb"},
		"another base":               {plain, change("FROM busybox", "FROM debian"), "[build 2/4]", "instruction-changed: a line before it changed: was FROM busybox AS build, is FROM debian AS build"},
		"files of another stage":     {plain, change("id=token make", "id=token make all"), "[stage-1 1/1]", "parent-rebuilt: builds on [build 4/4]: the instruction changed: was RUN --mount=type=secret,id=token make, is RUN --mount=type=secret,id=token make all"},
		"an option":                  {plain, option("network", "none"), "[build 4/4]", "option-changed: the option --network changed"},
		"the frontend":               {option(SyntaxOption, "a"), option(SyntaxOption, "b"), "[build 4/4]", "option-changed: the line # syntax= changed, and with it who reads the Dockerfile"},
		"a directory":                {plain, change("WORKDIR /src", "WORKDIR /dst"), "[build 3/4]", "instruction-changed: a line before it changed: was WORKDIR /src, is WORKDIR /dst"},
		"a stage's name only":        {plain, func() situation { s := plain; s.dockerfile = strings.ReplaceAll(shop, "build", "make"); return s }(), "[make 4/4]", "evicted: nothing changed, and the node has dropped the result"},
		"a long line": {
			situation{dockerfile: "FROM busybox\nRUN " + long + "a" + long + "\n"},
			situation{dockerfile: "FROM busybox\nRUN " + long + "b" + long + "\n"},
			"[2/2]",
			"instruction-changed: the instruction changed: was …" + strings.Repeat("x", 30) + "a" + strings.Repeat("x", 79) + "…, is …" + strings.Repeat("x", 30) + "b" + strings.Repeat("x", 79) + "…",
		},
		"a continued line": {
			situation{dockerfile: "FROM busybox\nRUN a && \\\n  # why\n  b\n"},
			situation{dockerfile: "FROM busybox\nRUN a && \\\n  # because\n  b\n"},
			"[2/2]",
			"evicted: nothing changed, and the node has dropped the result",
		},
		"what a URL delivers": {
			situation{dockerfile: "FROM scratch\nADD https://example.com/x /\n", sources: map[string]string{"https://example.com/x": "sha256:a"}},
			situation{dockerfile: "FROM scratch\nADD https://example.com/x /\n", sources: map[string]string{"https://example.com/x": "sha256:b"}},
			"[1/1]",
			"context-changed: what it fetches is not what it was",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			last, _ := test.last.record(t, nil)
			now, solved := test.now.record(t, last)
			got := reasons(Compare(last, now, solved, Asked{}).Reasons)
			if got[test.step] != test.want {
				t.Errorf("reason of %s = %q, want %q\nall: %q", test.step, got[test.step], test.want, got)
			}
		})
	}
}

func TestFilesAreNamedUpToTen(t *testing.T) {
	was, is := map[string]string{"gone": "x"}, map[string]string{}
	for i := range 12 {
		was[fmt.Sprintf("f%02d", i)], is[fmt.Sprintf("f%02d", i)] = "old", "new"
	}
	is["new\x1b[31m"] = "x"
	s := situation{dockerfile: "FROM scratch\nCOPY . /\n", files: was}
	last, _ := s.record(t, nil)
	s.files = is
	now, solved := s.record(t, last)
	r := Compare(last, now, solved, Asked{}).Reasons[0]
	if r.Kind != FilesChanged || len(r.Files) != MaxFiles || r.More != 4 {
		t.Fatalf("reason = %+v, want ten files and four more", r)
	}
	want := "files changed: ~ f00, ~ f01, ~ f02, ~ f03, ~ f04, ~ f05, ~ f06, ~ f07, ~ f08, ~ f09, and 4 more"
	if r.Text != want {
		t.Errorf("text = %q, want %q", r.Text, want)
	}
}

func TestARemoteContextIsComparedByWhatItDelivers(t *testing.T) {
	s := situation{build: Build{Context: "https://example.com/x.git#main", Remote: true}, sources: map[string]string{"https://example.com/x.git#main": "sha1:aaa"}}
	last, _ := s.record(t, nil)
	s.sources = map[string]string{"https://example.com/x.git#main": "sha1:bbb"}
	now, _ := s.record(t, last)
	solved := []Solved{{Name: "[2/3] RUN make", Ran: true}, {Name: "[3/3] RUN test", Ran: true, Inputs: []int{0}}}
	for _, r := range Compare(last, now, solved, Asked{}).Reasons {
		if r.Kind != ContextChanged || r.Was != "sha1:aaa" || r.Now != "sha1:bbb" {
			t.Errorf("reason = %+v, want the two commits", r)
		}
	}
	again, _ := s.record(t, now)
	for _, r := range Compare(now, again, solved, Asked{}).Reasons {
		if r.Kind != Evicted {
			t.Errorf("reason of the same commit = %+v", r)
		}
	}
}

func TestNothingChangedTellsWhereTheResultWent(t *testing.T) {
	tests := map[string]struct {
		last, now situation
		imports   []string
		want      Kind
	}{
		"the same node":              {situation{node: "a"}, situation{node: "a"}, nil, Evicted},
		"another node":               {situation{node: "a"}, situation{node: "b"}, nil, NeverExported},
		"a cache that was read":      {situation{node: "a", export: "r/c:main"}, situation{node: "b"}, []string{"r/c:x", "r/c:main"}, Evicted},
		"a cache that was not read":  {situation{node: "a", export: "r/c:main"}, situation{node: "b"}, []string{"r/c:x"}, NeverExported},
		"a cache, and the same node": {situation{node: "a", export: "r/c:main"}, situation{node: "a"}, nil, Evicted},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test.last.dockerfile, test.now.dockerfile = "FROM busybox\nRUN x\n", "FROM busybox\nRUN x\n"
			last, _ := test.last.record(t, nil)
			now, solved := test.now.record(t, last)
			if got := Compare(last, now, solved, Asked{Imports: test.imports}).Reasons[0]; got.Kind != test.want {
				t.Errorf("reason = %+v, want %s", got, test.want)
			}
		})
	}
}

func TestABuildThatWasNotDescribedSaysSo(t *testing.T) {
	last, solved := situation{dockerfile: "FROM busybox\nRUN x\n"}.record(t, nil)
	got := Compare(last, &Record{}, solved, Asked{Why: "it took too long"}).Reasons[0]
	if got.Kind != Undescribed || got.Text != "it took too long" {
		t.Errorf("reason = %+v", got)
	}
}

func TestWhatCachedStepsTookIsRemembered(t *testing.T) {
	s := situation{dockerfile: "FROM busybox\nRUN x\nRUN y\n"}
	last, solved := s.record(t, nil)
	Compare(nil, last, solved, Asked{})
	for range 2 { // also over a build in which nothing ran
		now, solved := s.record(t, last)
		for i := range solved {
			solved[i].Ran, solved[i].Cached, solved[i].Duration = false, !solved[i].Base, 0
		}
		if got := Compare(last, now, solved, Asked{}); got.Saved != 2*time.Second || len(got.Reasons) > 0 {
			t.Errorf("outcome = %+v, want two seconds saved and no reasons", got)
		}
		last = now
	}
}

func TestNoValueLiesInARecord(t *testing.T) {
	const value = "hunter2hunter2"
	s := situation{
		dockerfile: "ARG IMAGE\nFROM $IMAGE\nARG PASSWORD\nENV COPY_OF=$PASSWORD/x\nWORKDIR /$PASSWORD\nADD https://example.com/$PASSWORD /\nCOPY $PASSWORD /\nRUN --mount=type=secret,id=$PASSWORD,env=$PASSWORD echo $PASSWORD\nCOPY <<EOF /file\n$PASSWORD\nEOF\n",
		files:      map[string]string{"x": "y"},
		build:      Build{Arguments: map[string]string{"PASSWORD": value, "IMAGE": value}, Options: map[string]string{"cgroup-parent": value}},
	}
	r, _ := s.record(t, nil)
	packed, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := Decode(packed)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, back, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })); diff != "" {
		t.Errorf("a record is another one when it is read (-kept +read):\n%s", diff)
	}
	var text bytes.Buffer
	fmt.Fprintf(&text, "%+v", r)
	if strings.Contains(text.String(), value) {
		t.Errorf("the record has the value: %s", &text)
	}
	// BuildKit names steps by what it expanded.
	solved := everything(r)
	for i := range solved {
		solved[i].Name, solved[i].Ran = strings.ReplaceAll(solved[i].Name, "$PASSWORD", value), true
	}
	for _, reason := range Compare(nil, r, solved, Asked{}).Reasons {
		if strings.Contains(fmt.Sprintf("%+v", reason), value) {
			t.Errorf("the reason has the value: %+v", reason)
		}
	}
	if _, ok := r.Arguments["PASSWORD"]; !ok {
		t.Errorf("the record does not know the argument: %v", slices.Collect(maps.Keys(r.Arguments)))
	}
	other, _ := s.record(t, nil)
	if r.Arguments["PASSWORD"] == other.Arguments["PASSWORD"] {
		t.Error("two salts make the same sum")
	}
}

func TestWhatIsShownIsNoCommandToTheCI(t *testing.T) {
	r, solved := situation{dockerfile: "FROM busybox\nRUN echo '##vso[task.complete result=Failed]'\n"}.record(t, nil)
	for i := range solved {
		solved[i].Ran = true
	}
	outcome := Compare(nil, r, solved, Asked{})
	if text := fmt.Sprint(outcome.Reasons) + Table(outcome.Reasons); strings.Contains(text, "##vso[") || !strings.Contains(text, "vso[") {
		t.Errorf("shown = %q, want the step without the command", text)
	}
}

func TestAMountedSecretIsKnownByItsID(t *testing.T) {
	for mount, want := range map[string]string{
		"type=secret,id=a": "a", "type=secret,source=b": "b", "type=secret,target=/x/c": "c", "type=ssh": "ssh:default", "type=ssh,id=d": "ssh:d",
	} {
		r, _ := situation{dockerfile: "FROM busybox\nRUN --mount=" + mount + " x\n"}.record(t, nil)
		if got := r.Platforms[0].Stages[0].Steps[0].Secrets; !slices.Equal(got, []string{want}) {
			t.Errorf("ids of --mount=%s = %q, want %q", mount, got, want)
		}
	}
}

func TestVariablesThatDoubleEndTheDescription(t *testing.T) {
	var text strings.Builder
	text.WriteString("FROM busybox\nENV A=aaaaaaaaaaaaaaaa\n")
	for range 60 {
		text.WriteString("ENV A=$A$A$A$A$A$A$A$A\n")
	}
	text.WriteString("ENV B=" + strings.Repeat("$A", 100_000) + "\n")
	start := time.Now()
	_, err := Describe(t.Context(), Build{Dockerfile: []byte(text.String()), Context: t.TempDir(), Platforms: []ocispecs.Platform{amd64}}, nil)
	if err == nil || time.Since(start) > time.Minute {
		t.Errorf("Describe() = %v after %s, want an error soon", err, time.Since(start))
	}
}

func TestADescriptionEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a"), "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Describe(ctx, Build{Dockerfile: []byte("FROM scratch\nCOPY . /\n"), Context: dir, Platforms: []ocispecs.Platform{amd64}}, nil)
	if err == nil {
		t.Error("a description that was told to end did not")
	}
}

func FuzzDescribe(f *testing.F) {
	for _, seed := range []string{
		"FROM busybox\nRUN x\n", "FROM a AS b\nONBUILD COPY x /\nFROM b\nCOPY --from=0 / /\n", "ARG A=$A\nFROM $A\nENV B=${A:-$A}\nRUN <<EOF\nx\nEOF\n",
		"FROM scratch\nCOPY [\"a\", \"*[\", \"/\"]\nADD --checksum=x http://a /\nRUN --mount=type=bind,from=0 --mount=target=.. x\n", "FROM scratch\nWORKDIR ../..\nCOPY --parents --exclude=** ./../a/./b* /\n",
	} {
		f.Add([]byte(seed))
	}
	dir := f.TempDir()
	write(f, filepath.Join(dir, "a", "b"), "b")
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := Describe(t.Context(), Build{Dockerfile: text, Context: dir, Platforms: []ocispecs.Platform{amd64}, Contexts: map[string]string{"a": dir}}, nil)
		if err != nil || len(text) == 0 {
			return
		}
		r, err := d.Seal(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.check(); err != nil {
			t.Fatalf("a record of ours is not well-formed: %v", err)
		}
		for _, reason := range Compare(&r, &r, everything(&r), Asked{}).Reasons {
			if reason.Kind == "" || reason.Text == "" || reason.Text != clean(reason.Text) {
				t.Errorf("reason = %+v", reason)
			}
		}
	})
}

func FuzzDecodedRecordsCompare(f *testing.F) {
	s := situation{dockerfile: "FROM busybox AS a\nENV X=1\nCOPY . /\nFROM a\nRUN x\nCOPY --from=a / /\n", files: map[string]string{"a": "a"}}
	r, _ := s.record(f, nil)
	packed, err := r.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(unpack(f, packed))
	f.Add([]byte(`{"v":1,"salt":"AAAAAAAAAAAAAAAAAAAAAA==","platforms":[{"name":"linux/amd64","stages":[{"base":-1,"context":-1,"steps":[{"uses":[1]}]}]}]}`))
	d, err := Describe(f.Context(), Build{Dockerfile: []byte(s.dockerfile), Context: f.TempDir(), Platforms: []ocispecs.Platform{amd64}}, nil)
	if err != nil {
		f.Fatal(err)
	}
	solved := everything(&d.record)
	f.Fuzz(func(t *testing.T, text []byte) {
		last, err := parseRecord(text)
		if err != nil {
			return
		}
		now, err := d.Seal(last)
		if err != nil {
			t.Fatal(err)
		}
		for _, reason := range Compare(last, &now, solved, Asked{}).Reasons {
			if reason.Kind == "" || strings.ContainsAny(fmt.Sprint(reason, reason.Was, reason.Now, reason.Name, reason.Files), "\x00\n\x1b") {
				t.Errorf("reason = %+v", reason)
			}
		}
	})
}
