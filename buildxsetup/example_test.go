package buildxsetup_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/dockless-ci/dockless/buildxsetup"
)

// Point the builder "dockless" at a buildkitd and look at its nodes. Here a
// stand-in plays buildkitd.
func ExampleEnsure() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	socket := filepath.Join(dir, "buildkitd.sock")
	listener, err := new(net.ListenConfig).Listen(ctx, "unix", socket)
	if err != nil {
		panic(err)
	}
	defer (&fakeBuildkitd{}).serve(listener, nil)()

	builder, err := buildxsetup.Ensure(ctx, buildxsetup.Config{
		Hosts:        "unix://" + socket,
		Name:         "dockless",
		Timeout:      10 * time.Second,
		DockerConfig: filepath.Join(dir, "docker"),
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = builder.Close(ctx) }()
	for _, node := range builder.Nodes {
		fmt.Println(builder.Name, node.Name, len(node.Platforms), "platforms")
	}
	// Output: dockless dockless0 2 platforms
}
