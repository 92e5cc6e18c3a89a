package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dockless-ci/dockless/podmanrun"
)

// openTerminal returns a pseudo-terminal and a function that closes it and
// returns everything that was written to it.
func openTerminal(t *testing.T) (tty *os.File, screen func() string) {
	t.Helper()
	control, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = control.Close() })
	fd := int(control.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 100}); err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tty.Close() })
	all := make(chan string, 1)
	go func() {
		written, _ := io.ReadAll(control) // ends with EIO once the other side is closed
		all <- string(written)
	}()
	return tty, func() string {
		_ = tty.Close()
		return <-all
	}
}

func TestATerminalShowsStepsAndTheLogOfTheFailedOne(t *testing.T) {
	tty, screen := openTerminal(t)
	d, err := newDisplay("auto", tty)
	if err != nil {
		t.Fatal(err)
	}
	play(newTerminal(d, false))
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	got := screen()
	for _, want := range []string{"[+] Running", "=> ERROR [Build] Compile", "=> [Build] Push (skipped)", "> [Build] Compile:", "cc main.c"} {
		if !strings.Contains(got, want) {
			t.Errorf("the screen lacks %q:\n%s", want, got)
		}
	}
}

func TestATerminalShowsServices(t *testing.T) {
	tty, screen := openTerminal(t)
	d, err := newStackDisplay(tty, false)
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
	d, err := newStackDisplay(&out, false)
	if err != nil {
		t.Fatal(err)
	}
	d.(*stackLines).start = time.Now()
	d.event(podmanrun.Event{Service: "db", Kind: podmanrun.EventExited, Text: "code 1\nsee its log"})
	if got, want := out.String(), "  0.00s  db           exited  code 1; see its log\n"; got != want {
		t.Errorf("line = %q, want %q", got, want)
	}
	quiet, err := newStackDisplay(&out, true)
	if err != nil {
		t.Fatal(err)
	}
	before := out.Len()
	quiet.event(podmanrun.Event{Service: "db", Kind: podmanrun.EventStarted})
	if out.Len() != before {
		t.Errorf("quiet printed %q", out.String()[before:])
	}
}
