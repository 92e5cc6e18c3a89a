package buildcmd

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/console"
	"github.com/dockless-ci/dockless/internal/explain"
	"github.com/dockless-ci/dockless/internal/imagebuild"
)

// printReasons writes why steps ran, in the form of --explain: "text" for people
// on standard error, "json" for programs on standard output; empty is not at all.
func printReasons(cmd *cobra.Command, form string, r *imagebuild.Result) error {
	switch form {
	case "":
		return nil
	case "text":
		table := explain.Table(r.Reasons)
		if table == "" {
			table = "no step ran: everything came from a cache\n"
		}
		console.Say(cmd.ErrOrStderr(), "%s", table)
		return nil
	case "json":
		if err := json.NewEncoder(cmd.OutOrStdout()).Encode(r.Reasons); err != nil {
			return fmt.Errorf("writing the reasons: %w", err)
		}
		return nil
	}
	return cmdline.Unusable(fmt.Errorf("--explain takes text or json, not %q", form))
}
