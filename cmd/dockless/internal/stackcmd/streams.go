package stackcmd

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/console"
	"github.com/dockless-ci/dockless/podmanrun"
)

// streamFlags say what a command in a container is connected to.
type streamFlags struct {
	interactive, tty, noTTY, detach bool
}

func (f *streamFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVarP(&f.interactive, "interactive", "i", true, "connect standard input")
	flags.BoolVarP(&f.tty, "tty", "t", true, "give the command a terminal, when this one has one")
	flags.BoolVarP(&f.noTTY, "no-tty", "T", false, "give the command no terminal, even if this one has one")
	flags.BoolVarP(&f.detach, "detach", "d", false, "leave the command to itself once it runs")
	flags.SetInterspersed(false) // what follows the service is the command's own
}

// open connects what the command has to what this one has. The terminal is made
// raw by start, so that every key reaches the command, and is as before after stop.
func (f *streamFlags) open(cmd *cobra.Command) *terminalStreams {
	s := &terminalStreams{Streams: podmanrun.Streams{Out: cmd.OutOrStdout(), Err: cmd.ErrOrStderr()}}
	if f.detach {
		return s
	}
	if f.interactive {
		s.In = cmd.InOrStdin()
	}
	in, isFile := cmd.InOrStdin().(*os.File)
	out, terminal := console.Terminal(cmd.OutOrStdout())
	if !isFile || !terminal || !f.interactive || !f.tty || f.noTTY || !term.IsTerminal(int(in.Fd())) {
		return s
	}
	s.TTY, s.in, s.out = true, in, out
	s.sizes = make(chan podmanrun.TerminalSize, 1)
	s.Resize = s.sizes
	s.measure()
	return s
}

// terminalStreams are streams that may be those of a terminal.
type terminalStreams struct {
	podmanrun.Streams
	in, out *os.File
	sizes   chan podmanrun.TerminalSize // has the newest size
	state   *term.State
	changed chan os.Signal
	done    chan struct{}
}

// start makes the terminal raw and follows its size.
func (s *terminalStreams) start() (err error) {
	if !s.TTY {
		return nil
	}
	if s.state, err = term.MakeRaw(int(s.in.Fd())); err != nil {
		return err
	}
	s.changed, s.done = make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(s.changed, syscall.SIGWINCH)
	go func() {
		defer close(s.done)
		s.measure() // the size may have changed since, and the first message may have come too early
		for range s.changed {
			s.measure()
		}
	}()
	return nil
}

// measure offers the size of the terminal, in place of one that nobody took.
func (s *terminalStreams) measure() {
	columns, rows, err := term.GetSize(int(s.out.Fd()))
	if err != nil {
		return
	}
	select {
	case <-s.sizes:
	default:
	}
	select {
	case s.sizes <- podmanrun.TerminalSize{Rows: uint16(rows), Columns: uint16(columns)}: //nolint:gosec // the kernel keeps them in 16 bits
	default:
	}
}

// stop gives the terminal back as it was.
func (s *terminalStreams) stop() error {
	if s.state == nil {
		return nil
	}
	signal.Stop(s.changed)
	close(s.changed)
	<-s.done
	return term.Restore(int(s.in.Fd()), s.state)
}
