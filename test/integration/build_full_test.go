package integration_test

import (
	"context"
	"sync"
	"testing"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/imagebuild"
)

func TestAFullNodeIsLeftToOthersOfItsPlatform(t *testing.T) {
	h := needNodes(t, "", "")
	var (
		mu   sync.Mutex
		full = make(map[string]bool)
	)
	b := imagebuild.New(h.setup, buildLog(t), imagebuild.Options{Gate: func(_ context.Context, n buildxsetup.Node) error {
		mu.Lock()
		defer mu.Unlock()
		if full[n.Name] {
			return &buildxsetup.FullError{Node: n.Name}
		}
		return nil
	}})
	r := imagebuild.Request{Context: writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nRUN true\n"}), Tags: []string{"a:1"}}
	first, err := b.Build(t.Context(), r, imagebuild.Progress{})
	if err != nil {
		t.Fatal(err)
	}
	full[first.Node] = true
	second, err := b.Build(t.Context(), r, imagebuild.Progress{})
	if err != nil || second.Node == first.Node {
		t.Fatalf("Build() = %+v, %v, want the other node than %s", second, err, first.Node)
	}
	full[second.Node] = true
	if _, err := b.Build(t.Context(), r, imagebuild.Progress{}); !buildxsetup.IsFull(err) {
		t.Errorf("Build() with all nodes full = %v, want a FullError", err)
	}
}
