package stackcmd

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/console"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/podmanrun"
)

func newLogsCommand(f *stackFlags) *cobra.Command {
	var (
		options podmanrun.LogsOptions
		since   string
		lines   lineFlags
	)
	cmd := &cobra.Command{
		Use:   "logs [SERVICE...]",
		Short: "Print what the services wrote",
		Long: `logs prints what the services, or those that are named, have written, each line
behind the name of its service. With --follow it goes on until the containers end.`,
		Example:           examples("logs", "logs -f -n 20 web", "logs --since 10m -t db"),
		ValidArgsFunction: f.services(0),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if options.Since, err = moment(since); err != nil {
				return err
			}
			options.Services, options.Owner = args, jobOwner()
			return f.onProject(cmd, func(ctx context.Context, c *podmanrun.Client, project string) error {
				printer := lines.printer(cmd.OutOrStdout(), nil)
				options.Names = printer.know
				options.Note = func(service, text string) { console.Say(cmd.ErrOrStderr(), "note: %s: %s\n", service, text) }
				err := c.Logs(ctx, project, options, printer.line)
				if err == nil && cmdline.Interrupted(ctx) {
					return cmdline.ExitWith(cmdline.ExitInterrupted)
				}
				return err
			})
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&options.Follow, "follow", false, "go on until the containers end; -f is short for it unless a compose file follows")
	flags.IntVarP(&options.Tail, "tail", "n", 0, "only the last `LINES` of each container; 0 is all of them")
	flags.BoolVarP(&options.Timestamps, "timestamps", "t", false, "put the time in front of each line")
	flags.StringVar(&since, "since", "", "only lines from `TIME` on: as 2026-01-02T15:04:05Z, or 10m for ten minutes ago")
	lines.register(cmd)
	return cmd
}

// moment reads a time, or how long ago it was.
func moment(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return time.Now().Add(-ago), nil
	}
	for _, form := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02"} {
		if at, err := time.ParseInLocation(form, text, time.Local); err == nil {
			return at, nil
		}
	}
	return time.Time{}, hint.With(cmdline.Usagef("--since %q is no time", text), "write --since 10m, or a time such as 2026-01-02T15:04:05Z")
}

// lineFlags say how lines of services are printed.
type lineFlags struct{ noColor, noPrefix bool }

func (f *lineFlags) register(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.noColor, "no-color", false, "print the names of services without colours")
	cmd.Flags().BoolVar(&f.noPrefix, "no-log-prefix", false, "print lines without the names of their services")
}

// linePrinter prints lines of services behind their names.
type linePrinter struct {
	w      io.Writer
	prefix bool
	colour bool
	width  int            // of the longest name so far
	number map[string]int // of a service, which has its colour from it
}

// printer returns what prints to w; services are those whose names it knows before
// they have said anything.
func (f *lineFlags) printer(w io.Writer, services []string) *linePrinter {
	_, terminal := console.Terminal(w)
	p := &linePrinter{
		w: w, prefix: !f.noPrefix, number: make(map[string]int),
		colour: terminal && !f.noColor && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
	}
	p.know(services)
	return p
}

// know gives services colours, and room for their names.
func (p *linePrinter) know(services []string) {
	for _, service := range services {
		if _, known := p.number[service]; !known {
			p.number[service] = len(p.number)
			p.width = max(p.width, len(service))
		}
	}
}

// serviceColours are those that are read well on dark and light screens; red is for
// errors.
var serviceColours = []int{36, 33, 32, 35, 34, 96, 93, 92, 95, 94}

// name is a service's, aligned and coloured.
func (p *linePrinter) name(service string) string {
	p.know([]string{service})
	text := fmt.Sprintf("%-*s", p.width, service)
	if !p.colour {
		return text
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", serviceColours[p.number[service]%len(serviceColours)], text)
}

// line prints one line of a service.
func (p *linePrinter) line(service, text string) {
	if !p.prefix {
		console.Say(p.w, "%s\n", text)
		return
	}
	console.Say(p.w, "%s  | %s\n", p.name(service), text)
}

// event tells what became of a service, beside what it writes.
func (p *linePrinter) event(w io.Writer, e podmanrun.Event) {
	switch e.Kind {
	case podmanrun.EventExited:
		console.Say(w, "%s exited with code %s\n", e.Subject(), e.Text)
	case podmanrun.EventUnhealthy:
		console.Say(w, "%s is unhealthy\n", e.Subject())
	case podmanrun.EventWarning:
		console.Say(w, "note: %s: %s\n", e.Subject(), e.Text)
	}
}
