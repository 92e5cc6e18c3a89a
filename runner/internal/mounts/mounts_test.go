package mounts_test

import (
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/runner/internal/mounts"
)

var table = mounts.Table{
	{Host: "/azp/1", Inside: "/__w/1"},
	{Host: "/azp/_temp", Inside: "/__w/_temp"},
	{Host: "/opt/tools", Inside: "/__t"},
}

func TestPathsInTextsAreFoundWhole(t *testing.T) {
	for text, want := range map[string]string{
		"/azp/1":                          "/__w/1",
		"/azp/1/s/a b":                    "/__w/1/s/a b",
		"cd '/azp/1/s' && ls /opt/tools":  "cd '/__w/1/s' && ls /__t",
		"-Da=/azp/1/s:/azp/_temp,/tmp":    "-Da=/__w/1/s:/__w/_temp,/tmp",
		`{"file":"/azp/_temp/x.json"}`:    `{"file":"/__w/_temp/x.json"}`,
		"file:///azp/1/s":                 "file:///__w/1/s",
		"https://host//azp/1":             "https://host//azp/1",
		"-I/azp/1/include -L/azp/1":       "-I/__w/1/include -L/__w/1",
		"x-I/azp/1":                       "x-I/azp/1",
		"/azp/10/s":                       "/azp/10/s",
		"/azp/1.old":                      "/azp/1.old",
		"/azp/1-b /azp/_temporary":        "/azp/1-b /azp/_temporary",
		"/data/azp/1":                     "/data/azp/1",
		"./azp/1 ~/azp/1 $HOME/azp/1":     "./azp/1 ~/azp/1 $HOME/azp/1",
		"${HOME}/azp/1 $(pwd)/azp/1":      "${HOME}/azp/1 $(pwd)/azp/1",
		"/azp/1\n/azp/1/s\n":              "/__w/1\n/__w/1/s\n",
		"/azp/1ä":                         "/azp/1ä",
		"nothing":                         "nothing",
		"":                                "",
		"/azp/1/s//azp/1":                 "/__w/1/s//azp/1",
		"@/azp/1/rsp \"/opt/tools/node\"": "@/__w/1/rsp \"/__t/node\"",
	} {
		if got := table.Inside(text); got != want {
			t.Errorf("Inside(%q) = %q, want %q", text, got, want)
		}
	}
	if got, want := table.Outside("cp /__w/1/s/x /__t/y /__w"), "cp /azp/1/s/x /opt/tools/y /__w"; got != want {
		t.Errorf("Outside = %q, want %q", got, want)
	}
}

func TestAPathOfTheContainerStaysInItsMount(t *testing.T) {
	for inside, want := range map[string]string{
		"/__w/1/s/report.md":   "/azp/1/s/report.md",
		"/__w/1":               "/azp/1",
		"/__w/1/../_temp/x":    "/azp/_temp/x",
		"/__w/1/../../etc/pwd": "",
		"/__w":                 "",
		"/etc/passwd":          "",
		"/__w/10":              "",
		"relative":             "",
	} {
		got, ok := table.HostPath(inside)
		if got != want || ok != (want != "") {
			t.Errorf("HostPath(%q) = %q, %t, want %q", inside, got, ok, want)
		}
	}
	if !table.Sees("/azp/1/s") || table.Sees("/azp/2") || table.Sees("/") {
		t.Error("what is mounted is not what the container sees")
	}
}

func FuzzTranslation(f *testing.F) {
	for _, text := range []string{"/azp/1/s", "a /azp/_temp:/opt/tools", "\xff/azp/1", "/__w/1 /azp/1", "//azp/1//"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		inside := table.Inside(text)
		if again := table.Inside(inside); again != inside {
			t.Errorf("Inside(%q) = %q, and of that %q", text, inside, again)
		}
		if !strings.Contains(text, "/__") { // else it comes back changed
			if back := table.Outside(inside); back != text {
				t.Errorf("%q came back as %q", text, back)
			}
		}
		if host, ok := table.HostPath(text); ok && !table.Sees(host) {
			t.Errorf("HostPath(%q) = %q, which is not mounted", text, host)
		}
	})
}
