package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/logging"
	"github.com/dockless-ci/dockless/internal/mask"
)

// emulatorShutdown bounds how long open requests may end by themselves. Long
// polls do not: they are cut.
const emulatorShutdown = 2 * time.Second

func newEmulatorCommand() *cobra.Command {
	var (
		addr, pat, state string
		pools            []string
		lock             time.Duration
	)
	cmd := &cobra.Command{
		Use:   "emulator",
		Short: "An Azure DevOps in a process, for tests, demos and load",
		Long: `emulator speaks the agent's side of Azure DevOps over HTTP: pools, sessions,
encrypted messages, locks, timelines, logs. It keeps its state and refuses wrong
orders. It prints one JSON line with its address when it is ready.

Queue a pipeline:   curl -H 'Content-Type: application/yaml' --data-binary @azure-pipelines.yml 'URL/_emulator/jobs?repo=PATH'
Follow its job:     curl URL/_emulator/jobs/ID
Read its report:    curl URL/_emulator/jobs/ID/report`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var logConfig logging.Config
			if err := loadSettings(&logConfig); err != nil {
				return err
			}
			log := logging.New(cmd.ErrOrStderr(), quieter(logConfig))
			srv, err := emulator.New(emulator.Config{Pools: pools, PAT: mask.NewSecret(pat), StateDir: state, LockDuration: lock}, log)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, srv.Close()) }()
			err = serveEmulator(cmd, addr, srv)
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&addr, "addr", "127.0.0.1:8090", "address to listen on; port 0 picks a free one")
	flags.StringSliceVar(&pools, "pool", []string{"Default"}, "pool that exists; may be repeated")
	flags.StringVar(&pat, "pat", "secret", "personal access token that registers agents")
	flags.StringVar(&state, "state", "", "directory that keeps logs and state; empty is a temporary one")
	flags.DurationVar(&lock, "lock", 10*time.Minute, "how long a request stays locked to its agent without a renewal")
	return cmd
}

func serveEmulator(cmd *cobra.Command, addr string, srv *emulator.Server) error {
	ctx := cmd.Context()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return hint.With(fmt.Errorf("listening on %s: %w", addr, err), "choose another address with --addr; port 0 picks a free one")
	}
	url := "http://" + listener.Addr().String()
	web := &http.Server{
		Handler:           srv,
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	if err := json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]string{"url": url}); err != nil {
		return errors.Join(err, listener.Close())
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return srv.Run(ctx) })
	g.Go(func() error {
		if err := web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), emulatorShutdown)
		defer cancel()
		if err := web.Shutdown(end); err != nil {
			return web.Close()
		}
		return nil
	})
	err = g.Wait()
	if _, ok := errors.AsType[errInterrupted](context.Cause(cmd.Context())); ok {
		return nil // told to stop is how an emulator ends
	}
	return err
}
