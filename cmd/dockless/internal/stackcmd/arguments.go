package stackcmd

import (
	"path/filepath"
	"slices"
	"strings"
)

// Arguments writes letters out in full that mean something else behind a
// subcommand of stack than in front of it, as they do for docker compose: -p is
// short for --project-name in front and for --publish behind run, and -f is short
// for --file in front and for --follow behind logs, unless a compose file follows.
func Arguments(args []string) []string {
	if len(args) == 0 || args[0] != "stack" {
		return args
	}
	out := slices.Clone(args)
	command := 1
	for ; command < len(out) && strings.HasPrefix(out[command], "-") && out[command] != "--"; command++ {
		word := out[command]
		switch { // every flag that stack itself has takes a value, but for help
		case word == "-h", word == "--help", strings.Contains(word, "="):
		case word == "-p":
			out[command] = "--project-name"
			command++
		case strings.HasPrefix(word, "-p"):
			out[command] = "--project-name=" + word[len("-p"):]
		case strings.HasPrefix(word, "--"), len(word) == len("-f"):
			command++
		}
	}
	if command >= len(out) || out[command] != "logs" {
		return out
	}
	for i := command + 1; i < len(out) && out[i] != "--"; i++ {
		if out[i] == "-f" && (i+1 == len(out) || !isComposeFile(out[i+1])) {
			out[i] = "--follow"
		}
	}
	return out
}

// isComposeFile reports whether a word is more likely a compose file than a service.
func isComposeFile(word string) bool {
	return slices.Contains([]string{".yml", ".yaml", ".json"}, filepath.Ext(word))
}
