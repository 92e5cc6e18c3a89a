// Package logging knows how the program's own log looks: colour on a terminal,
// JSON where a collector reads it. Only cmd picks a handler; every other
// package is handed a *slog.Logger.
package logging

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/term"
)

// Config says how the log looks.
type Config struct {
	Level  slog.Level `envconfig:"LOG_LEVEL" default:"info" desc:"least level that is written: debug, info, warn or error"`
	Format string     `envconfig:"LOG_FORMAT" default:"auto" desc:"auto (text on a terminal, JSON on a pipe), text or json"`
}

// Validate reports a format that does not exist.
func (c Config) Validate() error {
	switch strings.ToLower(c.Format) {
	case "", "auto", "text", "json":
		return nil
	}
	return fmt.Errorf("LOG_FORMAT %q is none of auto, text, json", c.Format)
}

// New returns a logger that writes to w, which may be written to concurrently
// by the logger alone.
func New(w io.Writer, c Config) *slog.Logger {
	tty := isTerminal(w)
	format := strings.ToLower(c.Format)
	if format == "" || format == "auto" {
		format = "json"
		if tty {
			format = "text"
		}
	}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: c.Level}))
	}
	return slog.New(tint.NewTextHandler(w, &tint.Options{Level: c.Level, TimeFormat: time.TimeOnly, NoColor: !tty}))
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
