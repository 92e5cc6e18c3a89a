// Package testcontainers_test is a test as projects write it with
// testcontainers-go. An integration test runs it in a script step of a job.
package testcontainers_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/exec"
	"github.com/testcontainers/testcontainers-go/wait"
)

func TestRedisAnswersOnItsMappedPort(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	redis, err := testcontainers.GenericContainer(ctx, testcontainers.GenericContainerRequest{
		ContainerRequest: testcontainers.ContainerRequest{
			Image: "redis", ExposedPorts: []string{"6379/tcp"},
			WaitingFor: wait.ForAll(wait.ForLog("Ready to accept connections"), wait.ForListeningPort("6379/tcp")),
		},
		Started: true,
	})
	testcontainers.CleanupContainer(t, redis)
	if err != nil {
		t.Fatalf("starting redis: %v", err)
	}
	address, err := redis.Endpoint(ctx, "")
	if err != nil {
		t.Fatalf("asking for the mapped port: %v", err)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		t.Fatalf("dialling redis: %v", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "PING\r\n")
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || strings.TrimSpace(answer) != "+PONG" {
		t.Errorf("answer to PING = %q, %v, want +PONG", answer, err)
	}
	code, out, err := redis.Exec(ctx, []string{"redis-cli", "ping"}, exec.Multiplexed())
	if err != nil || code != 0 {
		t.Fatalf("running redis-cli in the container: code %d, %v", code, err)
	}
	if text, err := bufio.NewReader(out).ReadString('\n'); err != nil || strings.TrimSpace(text) != "PONG" {
		t.Errorf("redis-cli said %q, %v, want PONG", text, err)
	}
}

func TestAFileIsCopiedIntoAContainerThatAnswersOverHTTP(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	files := []testcontainers.ContainerFile{{
		Reader: strings.NewReader("from the test\n"), ContainerFilePath: "/etc/greeting", FileMode: 0o644,
	}}
	web, err := testcontainers.Run(ctx, "nginx", testcontainers.WithExposedPorts("80/tcp"),
		testcontainers.WithFiles(files...), testcontainers.WithWaitStrategy(wait.ForHTTP("/").WithPort("80/tcp")))
	testcontainers.CleanupContainer(t, web)
	if err != nil {
		t.Fatalf("starting nginx: %v", err)
	}
	_, out, err := web.Exec(ctx, []string{"cat", "/etc/greeting"}, exec.Multiplexed())
	if err != nil {
		t.Fatalf("reading the file in the container: %v", err)
	}
	if text, _ := bufio.NewReader(out).ReadString('\n'); text != "from the test\n" {
		t.Errorf("the file that was copied in holds %q", text)
	}
}
