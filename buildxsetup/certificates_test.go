package buildxsetup_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/hint"
)

func TestBothSidesOfMutualTLSAreLookedAt(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	addr := startFakeTLS(t, &fakeBuildkitd{}, ours)
	// A certificate of a stranger beside the authority of the node.
	mixed := theirs.dir(t)
	if err := os.WriteFile(filepath.Join(mixed, "ca.pem"), ours.pem, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ addr, dir, problem, hint string }{
		"all is well":                            {addr, ours.dir(t), "", ""},
		"nobody is there":                        {"tcp://127.0.0.1:1", ours.dir(t), "", ""},
		"the node's is of another authority":     {addr, theirs.dir(t), "unknown authority", "ca.pem in BUILDKIT_TLS_DIR must have signed"},
		"ours is of another authority":           {addr, mixed, "does not accept the client's certificate", "was not signed by an authority that buildkitd trusts"},
		"a unix socket, which has none":          {"unix:///run/nowhere.sock", ours.dir(t), "", ""},
		"plain text, which has none of the both": {"tcp://127.0.0.1:1", "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, nodes, err := buildxsetup.Nodes(t.Context(), buildxsetup.Config{Hosts: c.addr, TLSDir: c.dir, Name: "b", Timeout: time.Second, DockerConfig: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			got, err := nodes[0].Certificates(t.Context())
			hints := strings.Join(hint.All(err), "\n")
			switch {
			case c.problem == "" && err != nil, c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem)), !strings.Contains(hints, c.hint):
				t.Errorf("Certificates() = %v, hints %q, want %q and %q", err, hints, c.problem, c.hint)
			}
			if secure := c.dir != "" && strings.HasPrefix(c.addr, "tcp"); (got.Client != nil) != secure {
				t.Errorf("our certificate is %v", got.Client)
			}
			if seen := c.addr == addr && c.dir != "" && c.problem != "unknown authority"; (got.Server != nil) != seen {
				t.Errorf("the node's certificate is %v", got.Server)
			}
		})
	}
}
