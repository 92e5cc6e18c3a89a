package main

import (
	"bytes"
	"flag"
	"os"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files")

const settingsPage = "../../docs/configuration.md"

func TestTheSettingsPageIsNotStale(t *testing.T) {
	var got bytes.Buffer
	if err := writeSettings(&got, settingsSections()); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(settingsPage, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(settingsPage)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("docs/configuration.md is stale, run make docs (-page +structs):\n%s", diff)
	}
}

func TestEverySettingExplainsItself(t *testing.T) {
	for _, s := range settingsSections() {
		for _, f := range settingsOf(s.config) {
			if f.Tag.Get("desc") == "" {
				t.Errorf("%s.%s has no desc", reflect.TypeOf(s.config).Elem(), f.Name)
			}
		}
	}
}
