package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLettersOfStackMeanWhatTheyDoForDockerCompose(t *testing.T) {
	for typed, want := range map[string]string{
		"stack -p shop run -p 80 web":           "stack --project-name shop run -p 80 web",
		"stack -pshop run web":                  "stack --project-name=shop run web",
		"stack -f a.yml -p shop up -p x":        "stack -f a.yml --project-name shop up -p x",
		"stack --profile p -p shop ps":          "stack --profile p --project-name shop ps",
		"stack --profile=p -p shop ps":          "stack --profile=p --project-name shop ps",
		"stack -h -p shop":                      "stack -h --project-name shop",
		"stack run -p 80 web":                   "stack run -p 80 web",
		"stack logs -f":                         "stack logs --follow",
		"stack logs -f web":                     "stack logs --follow web",
		"stack logs -f compose.yml web":         "stack logs -f compose.yml web",
		"stack -f compose.yml logs -n 3 -f web": "stack -f compose.yml logs -n 3 --follow web",
		"stack logs -- -f":                      "stack logs -- -f",
		"build -p x":                            "build -p x",
		"stack -p":                              "stack --project-name",
		"stack":                                 "stack",
	} {
		got := stackArguments(strings.Fields(typed))
		if diff := cmp.Diff(strings.Fields(want), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", typed, diff)
		}
	}
}

func TestLinesOfServicesAreAlignedAndColoured(t *testing.T) {
	var out bytes.Buffer
	p := (&lineFlags{}).printer(&out, []string{"db", "website"})
	p.line("db", "ready")
	p.line("website", "up")
	p.line("db-2", "also ready")
	if want := "db       | ready\nwebsite  | up\ndb-2     | also ready\n"; out.String() != want {
		t.Errorf("without colours:\n%s, want\n%s", out.String(), want)
	}
	out.Reset()
	p.colour = true
	p.line("db", "\x1b[31mred\x1b[0m")
	p.line("website", "")
	if want := "\x1b[36mdb     \x1b[0m  | \x1b[31mred\x1b[0m\n\x1b[33mwebsite\x1b[0m  | \n"; out.String() != want {
		t.Errorf("with colours:\n%q, want\n%q", out.String(), want)
	}
	out.Reset()
	p.prefix = false
	p.line("db", "bare")
	if out.String() != "bare\n" {
		t.Errorf("without names: %q", out.String())
	}
}

func TestATimeIsAMomentOrHowLongAgoItWas(t *testing.T) {
	if at, err := moment("2026-01-02T15:04:05Z"); err != nil || at.Unix() != 1767366245 {
		t.Errorf("moment of a time = %v, %v", at, err)
	}
	if at, err := moment("10m"); err != nil || time.Since(at) < 10*time.Minute || time.Since(at) > 11*time.Minute {
		t.Errorf("moment(10m) = %v, %v", at, err)
	}
	for _, text := range []string{"never", "-10m", "2026-13-01"} {
		if at, err := moment(text); err == nil {
			t.Errorf("moment(%s) = %v, want an error", text, at)
		}
	}
}

func TestADurationMayBeANumberOfSeconds(t *testing.T) {
	for text, want := range map[string]time.Duration{"10": 10 * time.Second, "1m30s": 90 * time.Second, "0": 0} {
		var s seconds
		if err := s.Set(text); err != nil || s.value != want || s.pointer() == nil {
			t.Errorf("Set(%s) = %v with %s, want %s", text, err, s.value, want)
		}
	}
	for _, text := range []string{"", "-1s", "soon", "99999999999"} {
		if err := new(seconds).Set(text); err == nil {
			t.Errorf("Set(%q) takes it", text)
		}
	}
	if new(seconds).pointer() != nil {
		t.Error("a flag that was not given has a value")
	}
}

func TestPathsOfContainersAreToldFromThoseOfThisMachine(t *testing.T) {
	for arg, want := range map[string][2]string{
		"web:/etc": {"web", "/etc"}, "web:": {"web", "/"}, "web-1:etc": {"web-1", "etc"},
		"./a:b": {"", "./a:b"}, "a/b:c": {"", "a/b:c"}, "plain": {"", "plain"}, "-": {"", "-"}, "../x:y": {"", "../x:y"}, ":/x": {"", ":/x"},
	} {
		service, path, in := cutServicePath(arg)
		if got := [2]string{service, path}; got != want || in != (want[0] != "") {
			t.Errorf("cutServicePath(%q) = %q, %t, want %q", arg, got, in, want)
		}
	}
}

func TestLinesAreHandedOutWhole(t *testing.T) {
	var got []string
	w := &lineWriter{line: func(text string) { got = append(got, text) }}
	for _, piece := range []string{"one\ntw", "o\r\n", "\n", "three"} {
		if n, err := w.Write([]byte(piece)); n != len(piece) || err != nil {
			t.Fatal(n, err)
		}
	}
	w.flush()
	if diff := cmp.Diff([]string{"one", "two", "three"}, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}
