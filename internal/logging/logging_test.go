package logging_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/logging"
)

func TestAPipeGetsJSONAndTextHasNoColour(t *testing.T) {
	for _, test := range []struct {
		format string
		json   bool
	}{{"", true}, {"auto", true}, {"AUTO", true}, {"json", true}, {"text", false}} {
		t.Run("format "+test.format, func(t *testing.T) {
			var out bytes.Buffer
			logging.New(&out, logging.Config{Format: test.format}).Info("session opened", "pool_id", 7)
			if got := json.Valid(out.Bytes()); got != test.json {
				t.Errorf("is JSON = %t, want %t: %s", got, test.json, out.String())
			}
			if line := out.String(); !strings.Contains(line, "session opened") || strings.Contains(line, "\x1b") {
				t.Errorf("line = %q, want the message and no escape sequence", line)
			}
		})
	}
}

func TestTheLevelHoldsLinesBack(t *testing.T) {
	for _, format := range []string{"json", "text"} {
		var out bytes.Buffer
		log := logging.New(&out, logging.Config{Format: format, Level: slog.LevelWarn})
		log.Info("request lock renewed")
		if out.Len() > 0 {
			t.Errorf("%s: an info line was written at level warn: %s", format, out.String())
		}
		log.Warn("request lock is late")
		if !strings.Contains(out.String(), "request lock is late") {
			t.Errorf("%s: no warning was written", format)
		}
	}
}

func TestAFormatThatDoesNotExistIsAProblem(t *testing.T) {
	for format, ok := range map[string]bool{"": true, "auto": true, "Text": true, "json": true, "xml": false} {
		if err := (logging.Config{Format: format}).Validate(); (err == nil) != ok {
			t.Errorf("Validate of %q = %v, want ok %t", format, err, ok)
		}
	}
}
