package bake

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden is one case of testdata/cases.json. Its plan is in a file of its name;
// test/integration asks buildx for the same.
type golden struct {
	Name, Dir         string
	Targets, Set, Env []string
}

func TestFilesBecomeTargets(t *testing.T) {
	data, err := os.ReadFile("testdata/cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []golden
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	here, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			file := filepath.Join(here, strings.ReplaceAll(c.Name, " ", "_")+".golden.json")
			t.Chdir(filepath.Join("testdata", c.Dir))
			files, err := Read(nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			plan, err := Resolve(t.Context(), files, Options{Targets: c.Targets, Set: c.Set, Environ: c.Env})
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(plan, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("plan of %s (-want +got):\n%s", c.Dir, diff)
			}
		})
	}
}
