package buildcmd

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/console"
	"github.com/dockless-ci/dockless/internal/imagebuild"
)

// query asks what --call or --check wants to know, and prints it. A check that
// found something ends with exit code 1.
func (f *buildFlags) query(cmd *cobra.Command, b *imagebuild.Builder, r imagebuild.Request, p imagebuild.Progress) error {
	reply, err := b.Query(cmd.Context(), r, f.Query.Method, p)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if f.Query.JSON {
		_, err = fmt.Fprintf(out, "%s\n", reply.JSON)
	} else if _, err = out.Write(reply.Text); err == nil && f.Query.Method == "lint" {
		err = summarize(cmd, reply)
	}
	if err == nil && reply.Status != 0 && !f.Query.IgnoreStatus {
		return cmdline.ExitWith(cmdline.ExitFailed)
	}
	return err
}

// summarize says in a line what a check came to. A Dockerfile that could not be
// built at all is an error.
func summarize(cmd *cobra.Command, reply *imagebuild.Reply) error {
	var found struct {
		Warnings   []json.RawMessage `json:"warnings"`
		BuildError *struct {
			Message string `json:"message"`
		} `json:"buildError"`
	}
	if err := json.Unmarshal(reply.JSON, &found); err != nil {
		return fmt.Errorf("reading the result of the check: %w", err)
	}
	if found.BuildError != nil {
		return fmt.Errorf("checking the Dockerfile: %w", errors.New(found.BuildError.Message))
	}
	text := "no warnings"
	switch n := len(found.Warnings); {
	case n == 1:
		text = "one warning"
	case n > 1:
		text = fmt.Sprintf("%d warnings", n)
	}
	console.Say(cmd.OutOrStdout(), "Check complete: %s.\n", text)
	return nil
}
