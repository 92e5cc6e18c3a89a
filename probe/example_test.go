//go:build linux && (amd64 || arm64)

package probe_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/probe"
)

func Example() {
	dir, err := os.MkdirTemp("", "probe")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // an example
	path := filepath.Join(dir, "page")

	w, err := probe.Create(path)
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close() //nolint:errcheck // an example
	poll, err := w.Slot("poll", 30*time.Second)
	if err != nil {
		log.Fatal(err)
	}
	poll.Set(probe.Starting, probe.ReasonBuilder)

	r, err := probe.Open(path)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close() //nolint:errcheck // an example
	fmt.Println(r.Ask(probe.IsReady, probe.Query{}).Text)

	poll.Set(probe.Ready, probe.ReasonIdle)
	for range 3 {
		poll.Beat() // once in every round of the loop that must not stand still
	}
	answer, _, _ := strings.Cut(r.Ask(probe.IsReady, probe.Query{}).Text, ": poll ")
	fmt.Println(answer)
	// Output:
	// not ready: slot poll is starting (builder does not answer)
	// ready: 1 slot
}
