package buildcmd

import (
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/console/consoletest"
)

// A buildkitd far away says of itself what it likes.
func TestATerminalObeysNothingThatANodeSays(t *testing.T) {
	const hostile = consoletest.Hostile
	v := nodeView{
		Name: "n0", Endpoint: "tcp://n0:1234", Error: hostile, Version: hostile, Platforms: []string{hostile}, Emulated: []string{hostile + "2"},
		Snapshotter: hostile, Types: []typeView{{Type: hostile}}, Policy: []tierView{{Words: hostile}},
		biggest: []*client.UsageInfo{{RecordType: hostile, Description: hostile, CreatedAt: time.Now()}},
	}
	var b strings.Builder
	printNodes(&b, "b", []nodeView{v}, 0)
	if found := consoletest.Obeyed(b.String()); len(found) > 0 {
		t.Errorf("a terminal obeys %q in\n%s", found, b.String())
	}
	if n := strings.Count(b.String(), "owned"); n != 9 {
		t.Errorf("what the node said is shown %d times, want 9:\n%s", n, b.String())
	}
	for line := range strings.Lines(b.String()) {
		if strings.HasPrefix(line, "  ok ") {
			t.Errorf("a node's text is a line of its own: %q", line)
		}
	}
}
