package composefile

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/compose-spec/compose-go/v2/dotenv"
)

// knowRaw teaches compose-go the format raw of env_file, which it leaves to the
// program around it: what docker run --env-file reads.
var knowRaw = sync.OnceFunc(func() { dotenv.RegisterFormat("raw", parseRaw) })

// parseRaw reads lines NAME=VALUE, whose values are taken as they are: no quotes,
// no variables, no comments behind them. A NAME alone has the value that lookup
// knows, or is left out. Empty lines and lines that start with # are skipped.
func parseRaw(r io.Reader, file string, vars map[string]string, lookup func(string) (string, bool)) error {
	lines := bufio.NewScanner(r)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimLeft(lines.Text(), " \t")
		if number == 1 {
			line = strings.TrimPrefix(line, "\ufeff")
		}
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if name == "" || strings.ContainsAny(name, " \t") {
			return fmt.Errorf("%s:%d: %q cannot be the name of a variable", file, number, name)
		}
		if !ok && lookup != nil {
			value, ok = lookup(name)
		}
		if ok {
			vars[name] = value
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading %s: %w", file, err)
	}
	return nil
}
