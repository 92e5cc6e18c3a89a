package buildflags

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// columns is how wide the help is: what a terminal beside an editor shows.
const columns = 100

// Usages is the help on the flags of set, in groups. Flags without a group come
// last.
func Usages(set *pflag.FlagSet) string {
	parts := make(map[string]*pflag.FlagSet)
	set.VisitAll(func(f *pflag.Flag) {
		title := ""
		if in := f.Annotations[annotation]; len(in) == 1 {
			title = in[0]
		}
		if parts[title] == nil {
			parts[title] = pflag.NewFlagSet(title, pflag.ContinueOnError)
			parts[title].SortFlags = false
		}
		parts[title].AddFlag(f)
	})
	var out strings.Builder
	for _, title := range append(slices.Clone(groups), "") {
		if parts[title] == nil || !parts[title].HasAvailableFlags() {
			continue
		}
		if out.Len() > 0 {
			out.WriteByte('\n')
		}
		if title == "" {
			title = "Other flags"
		}
		out.WriteString(title + ":\n" + parts[strings.TrimPrefix(title, "Other flags")].FlagUsagesWrapped(columns))
	}
	return out.String()
}

// Words are the values of flags that have a few, for shells to complete.
func Words() map[string][]string {
	return map[string][]string{
		"progress":   {"auto", "tty", "plain", "rawjson", "quiet", "none"},
		"network":    networks,
		"call":       {"build", "check", "outline", "targets"},
		"allow":      {"network.host", "security.insecure", "device"},
		"sbom":       {"true", "false", "generator="},
		"provenance": {"true", "false", "mode=min", "mode=max"},
		"attest":     {"type=sbom", "type=provenance"},
		"output":     {"type=local,dest=", "type=tar,dest=", "type=oci,dest=", "type=docker,dest=", "type=image", "type=registry"},
		"platform":   {"linux/amd64", "linux/arm64"},
	}
}
