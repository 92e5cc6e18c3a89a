// Command registry is the image registry of the test rig: distribution's
// handlers on a file store, over plain HTTP on a free port of 127.0.0.1. It is
// a process of its own because the library keeps goroutines for the life of the
// process, and so that a test can kill or freeze it like a real one.
//
//	registry -dir STORE -addr-file FILE [-readonly]
//
// It writes its host:port to FILE once it listens.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // the store on disk
	"github.com/sirupsen/logrus"
)

// headerTimeout bounds the wait for a request's header; its body may take as
// long as a large layer does.
const headerTimeout = time.Minute

func main() {
	dir := flag.String("dir", "", "folder of the store")
	addrFile := flag.String("addr-file", "", "file to write host:port to")
	readOnly := flag.Bool("readonly", false, "refuse pushes, so that several registries can share a store")
	flag.Parse()
	// A question for a blob that is not there yet counts as an error in it.
	logrus.SetLevel(logrus.FatalLevel)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := serve(ctx, config(*dir, *readOnly), *addrFile)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// serve answers requests until ctx ends.
func serve(ctx context.Context, config *configuration.Configuration, addrFile string) error {
	app := handlers.NewApp(ctx, config)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	server := &http.Server{Handler: app, ReadHeaderTimeout: headerTimeout}
	// Renamed into place, so that a reader never sees half an address.
	part := addrFile + ".part"
	err = errors.Join(os.WriteFile(part, []byte(listener.Addr().String()), 0o600), os.Rename(part, addrFile))
	if err != nil {
		return errors.Join(fmt.Errorf("telling the address: %w", err), listener.Close())
	}
	// Not gently: a client that never ends its upload must not hold a test.
	stopped := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stopped()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving: %w", err)
	}
	return app.Shutdown()
}

func config(store string, readOnly bool) *configuration.Configuration {
	c := &configuration.Configuration{
		Storage: configuration.Storage{
			"filesystem": configuration.Parameters{"rootdirectory": store},
			"delete":     configuration.Parameters{"enabled": true},
			"maintenance": configuration.Parameters{
				"uploadpurging": map[any]any{"enabled": false},
				"readonly":      map[any]any{"enabled": readOnly},
			},
		},
	}
	// An index may be pushed before all its platforms are, as a cache's is.
	c.Validation.Manifests.Indexes.Platforms = "none"
	c.Catalog.MaxEntries = 1000
	return c
}
