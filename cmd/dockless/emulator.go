package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/settings"
	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/logging"
	"github.com/dockless-ci/dockless/internal/mask"
	"github.com/dockless-ci/dockless/internal/statuspage"
)

func newEmulatorCommand() *cobra.Command {
	var addr, pat string
	config := emulator.Defaults()
	cmd := &cobra.Command{
		Use:   "emulator",
		Short: "An Azure DevOps in a process, for tests, demos and load",
		Long: `emulator speaks the agent's side of Azure DevOps over HTTP: pools, sessions,
encrypted messages, locks, timelines, logs. It keeps its state and refuses wrong
orders. It prints one JSON line with its address when it is ready.

Look at everything: URL/ in a browser, on this machine or with --status-page public
Queue a pipeline:   curl -H 'Content-Type: application/yaml' --data-binary @azure-pipelines.yml 'URL/_emulator/jobs?repo=PATH'
Offer it a task:    curl --data-binary @task.zip URL/_emulator/tasks
Look at its job:    curl URL/_emulator/jobs/ID
Follow its log:     curl URL/_emulator/jobs/ID/feed?follow=1
Read its report:    curl URL/_emulator/jobs/ID/report
Make calls fail:    curl -d '{"match":"PATCH /jobrequests/","kind":"status","value":503,"count":2}' URL/_emulator/faults
                    kinds are status, delay, drop, reset, expire-session, revoke-token, lose-lock and clock-skew;
                    GET lists the faults, DELETE removes them`,
		Args: cmdline.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmdline.OneOf("--status-page", config.Status.Access, statuspage.Loopback, statuspage.Public, statuspage.Off); err != nil {
				return err
			}
			var logConfig logging.Config
			if err := settings.Load(&logConfig); err != nil {
				return err
			}
			config.PAT, config.Version = mask.NewSecret(pat), version
			if err := config.Validate(); err != nil {
				return cmdline.Unusable(err)
			}
			srv, err := emulator.New(config, logging.New(cmd.ErrOrStderr(), settings.Quieter(logConfig)))
			if err != nil {
				return hint.With(err, "set --state to a directory that can be written")
			}
			return serveEmulator(cmd, addr, srv)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&addr, "addr", "127.0.0.1:8090", "`ADDRESS` to listen on; port 0 picks a free one")
	flags.StringSliceVar(&config.Pools, "pool", config.Pools, "pool `NAME` that exists; may be repeated")
	flags.StringVar(&pat, "pat", "secret", "personal access `TOKEN` that registers agents")
	flags.StringVar(&config.StateDir, "state", "", "`DIR` for logs and attachments; empty is a temporary one")
	flags.DurationVar(&config.LockDuration, "lock", config.LockDuration, "how far a renewal moves a request's lock")
	flags.DurationVar(&config.LockGrace, "lock-grace", config.LockGrace, "how long after its lock expired a job is abandoned")
	flags.DurationVar(&config.SessionExpiry, "session-expiry", config.SessionExpiry, "how long a session lives that nobody polls")
	flags.StringVar(&config.Status.Access, "status-page", config.Status.Access, "`WHO` sees the status page at /: loopback, public or off")
	flags.StringSliceVar(&config.Status.Hosts, "status-host", nil, "further `NAME` under which browsers may ask for it; may be repeated")
	cmdline.CompleteWords(cmd, "status-page", statuspage.Loopback, statuspage.Public, statuspage.Off)
	flags.DurationVar(&config.PollHold, "poll", config.PollHold, "how long an empty message poll is held")
	return cmd
}

func serveEmulator(cmd *cobra.Command, addr string, srv *emulator.Server) error {
	ctx := cmd.Context()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		err = hint.With(fmt.Errorf("listening on %s: %w", addr, err), "choose another address with --addr; port 0 picks a free one")
		return errors.Join(err, srv.Close())
	}
	ready := map[string]string{"url": "http://" + listener.Addr().String()}
	if err := json.NewEncoder(cmd.OutOrStdout()).Encode(ready); err != nil {
		return errors.Join(err, listener.Close(), srv.Close())
	}
	err = srv.Serve(ctx, listener)
	if cmdline.Interrupted(ctx) {
		return nil // told to stop is how an emulator ends
	}
	return err
}
