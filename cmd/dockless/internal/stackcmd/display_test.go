package stackcmd

import (
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/console/consoletest"
	"github.com/dockless-ci/dockless/podmanrun"
)

func TestATerminalShowsServices(t *testing.T) {
	tty, screen := consoletest.Terminal(t)
	d, err := newStackDisplay(t.Context(), tty, false)
	if err != nil {
		t.Fatal(err)
	}
	d.event(podmanrun.Event{Service: "db", Kind: podmanrun.EventPulling, Text: "layer 1"})
	d.event(podmanrun.Event{Service: "db", Kind: podmanrun.EventStarted})
	d.event(podmanrun.Event{Service: "web", Kind: podmanrun.EventStarted})
	d.event(podmanrun.Event{Service: "db", Kind: podmanrun.EventHealthy})
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	got := screen()
	for _, want := range []string{"[+] Starting", "=> db healthy", "=> web started", "(2/2)"} {
		if !strings.Contains(got, want) {
			t.Errorf("the screen lacks %q:\n%s", want, got)
		}
	}
}

func TestAPipeGetsALinePerEventAndQuietNone(t *testing.T) {
	var out strings.Builder
	d, err := newStackDisplay(t.Context(), &out, false)
	if err != nil {
		t.Fatal(err)
	}
	d.(*stackLines).start = time.Now()
	d.event(podmanrun.Event{Service: "db", Kind: podmanrun.EventExited, Text: "code 1\nsee its log"})
	if got, want := out.String(), "  0.00s  db           exited  code 1; see its log\n"; got != want {
		t.Errorf("line = %q, want %q", got, want)
	}
	quiet, err := newStackDisplay(t.Context(), &out, true)
	if err != nil {
		t.Fatal(err)
	}
	before := out.Len()
	quiet.event(podmanrun.Event{Service: "db", Kind: podmanrun.EventStarted})
	if out.Len() != before {
		t.Errorf("quiet printed %q", out.String()[before:])
	}
}
