package buildcmd

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/console"
	"github.com/dockless-ci/dockless/internal/bake"
)

func (f *bakeFlags) listTargets(cmd *cobra.Command, files []bake.File, o bake.Options) error {
	list, err := bake.Targets(cmd.Context(), files, o)
	if err != nil {
		return cmdline.Unusable(err)
	}
	if f.output == "json" {
		return console.PrintJSON(cmd.OutOrStdout(), list)
	}
	t := console.NewTable(cmd.OutOrStdout())
	console.Say(t, "TARGET\tDESCRIPTION\n")
	for _, l := range list {
		console.Say(t, "%s\t%s\n", l.Name, l.Description)
	}
	return t.Flush()
}

func (f *bakeFlags) listVariables(cmd *cobra.Command, files []bake.File, o bake.Options) error {
	list, err := bake.Variables(cmd.Context(), files, o)
	if err != nil {
		return cmdline.Unusable(err)
	}
	if f.output == "json" {
		return console.PrintJSON(cmd.OutOrStdout(), list)
	}
	t := console.NewTable(cmd.OutOrStdout())
	console.Say(t, "VARIABLE\tTYPE\tVALUE\tDESCRIPTION\n")
	for _, v := range list {
		value := "<null>"
		if v.Value != nil {
			value = *v.Value
		}
		console.Say(t, "%s\t%s\t%s\t%s\n", v.Name, v.Type, value, v.Description)
	}
	return t.Flush()
}

// complete offers the names of groups and targets.
func (f *bakeFlags) complete(cmd *cobra.Command, prefix string) ([]string, cobra.ShellCompDirective) {
	files, o, err := f.read(cmd, nil)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	list, err := bake.Targets(cmd.Context(), files, o)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, l := range list {
		if strings.HasPrefix(l.Name, prefix) {
			out = append(out, cobra.CompletionWithDesc(l.Name, l.Description))
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
