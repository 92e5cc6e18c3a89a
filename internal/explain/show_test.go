package explain

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestATableTellsCausesFirst(t *testing.T) {
	list := []Reason{
		{Step: "[a 2/4] RUN one", Kind: Evicted, Text: "nothing changed"},
		{Step: "[b 2/4] COPY . .", Kind: FilesChanged, Text: "files changed: ~ main.go"},
		{Step: "[b 3/4] RUN go build", Kind: ParentRebuilt, Parent: "[b 2/4] COPY . .", Text: "builds on [b 2/4]: …"},
		{Step: "[b 4/4] RUN go test", Kind: ParentRebuilt, Parent: "[b 3/4] RUN go build", Text: "builds on [b 3/4]: …"},
		{Step: "[a 3/4] RUN two", Kind: Evicted, Text: "nothing changed"},
	}
	want := `why 5 steps ran:
  [b 2/4] COPY . .: files changed: ~ main.go
    and 2 steps that build on it
  [a 2/4] RUN one and 1 more: nothing changed
`
	if got := Table(list); got != want {
		t.Errorf("Table() =\n%s\nwant\n%s", got, want)
	}
	if got := Table(nil); got != "" {
		t.Errorf("Table() of nothing = %q", got)
	}
	var many []Reason
	for i := range 50 {
		many = append(many, Reason{Step: fmt.Sprint("[", i, "/50] RUN"), Kind: FilesChanged, Text: fmt.Sprint("file ", i)})
	}
	got := Table(many)
	if lines := strings.Count(got, "\n"); lines != maxLines+1 || !strings.HasSuffix(got, "  and 31 steps more, see the summary\n") {
		t.Errorf("Table() has %d lines:\n%s", lines, got)
	}
}

func TestASummaryCannotBeBrokenOutOf(t *testing.T) {
	evil := "x` | <script>alert(1)</script>\n# heading\n[a](javascript:b)\x1b[31m\u202e"
	got := Markdown(Summary{
		Names: []string{evil}, Digest: evil, Platforms: []string{evil}, Nodes: []string{evil}, Steps: 3, Cached: 1, Duration: time.Second, Saved: 90 * time.Second,
		Reasons: []Reason{{Step: evil, Line: 3, Kind: FilesChanged, Text: evil}}, Exports: []Export{{Ref: evil, Failure: evil}, {Ref: "r/c:main", Duration: time.Second}},
	})
	for i, line := range strings.Split(got, "\n") {
		if strings.Count(line, "`")%2 != 0 || strings.HasPrefix(line, "# ") || strings.ContainsAny(line, "\x1b\u202e") {
			t.Errorf("line %d lets something out: %q", i, line)
		}
		for n, part := range strings.Split(line, "`") {
			if n%2 == 0 && (strings.Contains(part, "<") || strings.Contains(part, "](")) {
				t.Errorf("line %d has %q outside of code", i, part)
			}
		}
		if strings.HasPrefix(line, "|") && strings.Count(line, "|") != 4 {
			t.Errorf("line %d has other columns: %q", i, line)
		}
	}
	for _, want := range []string{"1 of 3 steps cached, which saved 90.0 s", "`r/c:main` exported in 1.0 s", "| 3 |"} {
		if !strings.Contains(got, want) {
			t.Errorf("the summary lacks %q:\n%s", want, got)
		}
	}
}

func TestStepsAreKnownByHowBuildKitShowsThem(t *testing.T) {
	for name, want := range map[string]label{
		"[2/3] RUN x":                               {number: 2, total: 3, text: "RUN x"},
		"[build  2/12] COPY . .":                    {stage: "build", number: 2, total: 12, text: "COPY . ."},
		"[linux/arm64 build 1/2] FROM a@sha256:b":   {platform: "linux/arm64", stage: "build", number: 1, total: 2, text: "FROM a@sha256:b"},
		"[linux/amd64->arm64 2/2] RUN a\nb":         {platform: "linux/amd64->arm64", number: 2, total: 2, text: "RUN a b"},
		"[stage-1 2/2] ONBUILD RUN x":               {stage: "stage-1", number: 2, total: 2, onBuild: true, text: "RUN x"},
		"[2/2] LINK COPY --link a /":                {number: 2, total: 2, text: "COPY --link a /"},
		"[internal] load build context":             {},
		"[2/99999999999999999999999999999999] RUN ": {number: 2, total: 1<<63 - 1, text: "RUN "},
	} {
		if got, _ := parseLabel(name); got != want {
			t.Errorf("parseLabel(%q) = %+v, want %+v", name, got, want)
		}
	}
}

func TestAFileIsReadAgainOnlyWhenItChanged(t *testing.T) {
	dir := t.TempDir()
	sums := &Sums{Dir: filepath.Join(t.TempDir(), "sums")}
	old := time.Now().Add(-time.Hour)
	file := filepath.Join(dir, "a")
	write(t, file, "a")
	if err := os.Chtimes(file, old, old); err != nil {
		t.Fatal(err)
	}
	var read int
	describe := func() Sum {
		t.Helper()
		read = 0
		d, err := Describe(t.Context(), Build{
			Dockerfile: []byte("FROM scratch\nCOPY a /\n"), Context: dir, Platforms: []ocispecs.Platform{amd64},
			Open: func(name string) (*os.File, error) {
				if name == file {
					read++
				}
				return os.Open(name)
			},
		}, sums)
		if err != nil {
			t.Fatal(err)
		}
		return d.record.Contexts[0].Sums[0]
	}
	first := describe()
	if describe(); read != 1 {
		t.Errorf("a file that changed just now was read %d times, want 1: its next change might not show", read)
	}
	time.Sleep(settled + 100*time.Millisecond)
	describe() // settled now, and remembered
	if again := describe(); read != 0 || again != first {
		t.Errorf("an unchanged file was read %d times", read)
	}
	write(t, file, "b")
	if err := os.Chtimes(file, old, old); err != nil {
		t.Fatal(err)
	}
	if now := describe(); read != 1 || now == first {
		t.Errorf("a file that changed within its size and age was read %d times", read)
	}
}
