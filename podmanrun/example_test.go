package podmanrun_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/dockless-ci/dockless/podmanrun"
)

// A compose project is read once; its plan says what would start when.
func ExampleLoad() {
	p, err := podmanrun.Load(context.Background(), podmanrun.LoadOptions{Files: []string{"testdata/shop/compose.yml"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, step := range podmanrun.Plan(p) {
		fmt.Println(step.Wave, step.Service, step.Image, step.After)
	}
	// Output:
	// 0 cache redis:7 []
	// 0 db mysql:8 []
	// 1 migrate shop-migrate [{db service_healthy}]
	// 2 web shop [{cache service_started} {migrate service_completed_successfully}]
}

// A part of a project is started with what it depends on.
func ExampleProject_Only() {
	p, err := podmanrun.Load(context.Background(), podmanrun.LoadOptions{Files: []string{"testdata/shop/compose.yml"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	part, err := p.Only([]string{"migrate"}, true)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(part.ServiceNames())
	// Output: [db migrate]
}

// The services of a job take the options of "docker create".
func ExampleServices() {
	p, err := podmanrun.Services("job-7", map[string]podmanrun.Service{
		"db": {Image: "mysql:8", Ports: []string{"3306"}, Options: "--health-cmd \"mysqladmin ping\" --health-interval 2s"},
	})
	fmt.Println(p.Name(), p.ServiceNames(), err)

	_, err = podmanrun.Services("job-7", map[string]podmanrun.Service{"db": {Image: "mysql:8", Options: "--gpus all"}})
	fmt.Println(err)
	// Output:
	// job-7 [db] <nil>
	// service db: option --gpus is not supported
}

// A stack comes up on a Podman service, tells where its ports are, and is
// removed again.
func ExampleClient_Up() {
	ctx := context.Background()
	log := slog.New(slog.DiscardHandler)
	client, err := podmanrun.Open(ctx, podmanrun.Config{Host: "unix:///run/podman/podman.sock", Program: "podman", ConnectTimeout: 5 * time.Second}, log)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	defer func() { _ = client.Close() }() // a service of somebody else has nothing to report
	project, err := podmanrun.Load(ctx, podmanrun.LoadOptions{Files: []string{"compose.yml"}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	stack, err := client.Up(ctx, project, podmanrun.UpOptions{Owner: podmanrun.Owner{Agent: "agent-1"}, WaitTimeout: 2 * time.Minute})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	fmt.Println("mysql is at", stack.Environment()["DOCKLESS_DB_HOST"], stack.Environment()["DOCKLESS_DB_PORT_3306"])
	if err := client.Down(ctx, stack.Project(), podmanrun.DownOptions{Volumes: true}); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}
