package podmanrun

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

func TestTheEndOfAContainerIsToldInWords(t *testing.T) {
	limited := &createRequest{CreateRequest: libpod.CreateRequest{ResourceLimits: &libpod.Resources{Memory: &libpod.MemoryLimit{Limit: 64 << 20}}}}
	for name, c := range map[string]struct {
		code    int
		killed  bool
		request *createRequest
		kind    FailureKind
		want    string
	}{
		"its own code":     {3, false, limited, FailureExited, "the container ended with exit code 3"},
		"125":              {125, false, limited, FailureExited, "the container ended with exit code 125 (what starts programs in it failed itself)"},
		"126":              {126, false, limited, FailureExited, "the container ended with exit code 126 (a program was found but could not be run)"},
		"127":              {127, false, limited, FailureExited, "the container ended with exit code 127 (a program was not found)"},
		"SIGTERM":          {143, false, limited, FailureExited, "the container ended with exit code 143 (killed by SIGTERM, which asks it to end)"},
		"SIGSEGV":          {139, false, limited, FailureExited, "the container ended with exit code 139 (killed by SIGSEGV, an invalid memory access)"},
		"more than signal": {255, false, limited, FailureExited, "the container ended with exit code 255"},
		"memory, told":     {137, true, limited, FailureOutOfMemory, "out of memory: it needed more than its limit of 64MiB; the container ended with exit code 137 (killed by SIGKILL)"},
		"memory, a child":  {1, true, limited, FailureOutOfMemory, "out of memory: it needed more than its limit of 64MiB; the container ended with exit code 1"},
		"memory, guessed":  {137, false, limited, FailureOutOfMemory, "out of memory, most likely: it was killed, and its limit is 64MiB; the container ended with exit code 137 (killed by SIGKILL)"},
		"memory, machine": {
			137, true, &createRequest{}, FailureOutOfMemory,
			"out of memory: the machine or the pod has no more, and the container has no limit of its own; the container ended with exit code 137 (killed by SIGKILL)",
		},
	} {
		if kind, text := endOf(c.code, c.killed, c.request); kind != c.kind || text != c.want {
			t.Errorf("%s: %s, %q, want %s, %q", name, kind, text, c.kind, c.want)
		}
	}
}

func TestAFailureIsWrittenForPrograms(t *testing.T) {
	failed := &ServiceError{
		Project: "p", Service: "db", Replica: 2, Kind: FailureExited, Err: hint.With(errors.New("the container ended with exit code 0"), "look"),
		Exited: true, Logs: []string{"boom"}, Chain: []string{"web", "db"},
	}
	got, err := json.Marshal(failed)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"project":"p","service":"db","replica":2,"kind":"exited","message":"service db-2: the container ended with exit code 0 (web waits for db)",` +
		`"hints":["look"],"exitCode":0,"logs":["boom"],"chain":["web","db"]}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("the JSON differs (-want +got):\n%s", diff)
	}
}

func TestListenersMeetWhenOneIsOnEveryAddress(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"", "127.0.0.1", true},
		{"0.0.0.0", "10.0.0.1", true},
		{"[::]", "10.0.0.1", true},
		{"127.0.0.1", "127.0.0.1", true},
		{"[::1]", "::1", true},
		{"127.0.0.1", "10.0.0.1", false},
	} {
		if got := meet(c.a, c.b); got != c.want {
			t.Errorf("meet(%q, %q) = %t, want %t", c.a, c.b, got, c.want)
		}
	}
}
