package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/settings"
	"github.com/dockless-ci/dockless/internal/metrics"
)

// update rewrites the pages that are looked at.
var update = flag.Bool("update", false, "rewrite golden files")

func TestTheGeneratedPagesAreNotStale(t *testing.T) {
	var settings bytes.Buffer
	if err := writeSettings(&settings, settingsSections()); err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]string{"configuration.md": settings.String(), "metrics.md": metrics.Page()} {
		path := filepath.Join("..", "..", "docs", name)
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("docs/%s is stale, run make docs (-page +code):\n%s", name, diff)
		}
	}
}

func TestEverySettingExplainsItself(t *testing.T) {
	for _, s := range settingsSections() {
		for _, f := range settings.Of(s.config) {
			if f.Tag.Get("desc") == "" {
				t.Errorf("%s.%s has no desc", reflect.TypeOf(s.config).Elem(), f.Name)
			}
		}
	}
}
