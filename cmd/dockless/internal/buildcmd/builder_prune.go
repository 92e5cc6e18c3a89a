package buildcmd

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/console"
	"github.com/dockless-ci/dockless/internal/buildkitconf"
	"github.com/dockless-ci/dockless/internal/hint"
)

// pruneFlags are those of builder prune.
type pruneFlags struct {
	options                    buildxsetup.PruneOptions
	reserved, maxUsed, minFree string
	nodes                      []string
	output                     string
	verbose                    bool
}

func newBuilderPruneCommand() *cobra.Command {
	f := &pruneFlags{}
	var force bool
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove build cache",
		Long: `prune removes the build cache that no build uses now, from every node or from
those that --node names. Without flags that is all of it, except for what BuildKit
keeps for itself; filters, ages and sizes spare the rest. It never asks: look with
--dry-run first.

A --filter is id, parents, description or type with a value, or inuse, mutable,
immutable, shared or private alone; until=24h is --unused-for. All have to match.
Types are regular, source.local, source.git.checkout, exec.cachemount, frontend
and internal.`,
		Example: "  dockless builder prune --dry-run --unused-for 72h\n  dockless builder prune --filter type=exec.cachemount --node dockless1",
		Args:    cmdline.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.BoolVarP(&f.options.All, "all", "a", false, "also frontends and helper images that BuildKit keeps for itself")
	flags.StringArrayVar(&f.options.Filters, "filter", nil, "only records that match `EXPRESSION`, for example type=exec.cachemount; may be repeated")
	flags.DurationVar(&f.options.UnusedFor, "unused-for", 0, "only records that were not used for this long, for example 48h")
	flags.StringVar(&f.reserved, "reserved-space", "", "keep this `SIZE` in any case, for example 20GB")
	flags.StringVar(&f.maxUsed, "max-used-space", "", "prune until no more than this `SIZE` is used")
	flags.StringVar(&f.minFree, "min-free-space", "", "prune until this `SIZE` of the disk is free")
	flags.BoolVar(&f.options.DryRun, "dry-run", false, "remove nothing, show what would be removed")
	flags.StringArrayVar(&f.nodes, "node", nil, "only the node of this `NAME`; may be repeated")
	flags.BoolVar(&f.verbose, "verbose", false, "name every record")
	flags.StringVar(&f.output, "output", "table", "`FORM`: table or json")
	flags.BoolVarP(&force, "force", "f", false, "accepted for scripts written for docker buildx, which asks without")
	cmdline.CompleteWords(cmd, "output", "table", "json")
	return cmd
}

func (f *pruneFlags) run(cmd *cobra.Command) error {
	if err := cmdline.OneOf("--output", f.output, "table", "json"); err != nil {
		return err
	}
	for _, size := range []struct {
		flag, text string
		to         *int64
	}{{"reserved-space", f.reserved, &f.options.Reserved}, {"max-used-space", f.maxUsed, &f.options.MaxUsed}, {"min-free-space", f.minFree, &f.options.MinFree}} {
		if size.text == "" {
			continue
		}
		var err error
		if *size.to, err = buildkitconf.ParseSize(size.text); err != nil {
			return hint.With(cmdline.Usagef("--%s %q is no size", size.flag, size.text), "write a size like 20GB")
		}
	}
	if f.options.UnusedFor < 0 {
		return cmdline.Usagef("--unused-for %s is in the future", f.options.UnusedFor)
	}
	if err := f.options.Validate(); err != nil {
		return cmdline.Unusable(err)
	}
	return withBuilder(cmd, func(ctx context.Context, b *buildxsetup.Builder) error {
		if err := only(b, f.nodes); err != nil {
			return err
		}
		pruned, err := b.Prune(ctx, f.options)
		return errors.Join(f.show(cmd.OutOrStdout(), pruned), err)
	})
}

// only leaves the named nodes of a builder; no name leaves all.
func only(b *buildxsetup.Builder, names []string) error {
	if len(names) == 0 {
		return nil
	}
	var chosen []buildxsetup.Node
	for _, name := range names {
		i := slices.IndexFunc(b.Nodes, func(n buildxsetup.Node) bool { return n.Name == name })
		if i < 0 {
			return hint.With(cmdline.Usagef("builder %s has no node %q", b.Name, name), "dockless builder inspect shows the nodes")
		}
		chosen = append(chosen, b.Nodes[i])
	}
	b.Nodes = chosen
	return nil
}

// recordView is a record of build cache in JSON.
type recordView struct {
	ID          string     `json:"id"`
	Type        string     `json:"type"`
	Bytes       int64      `json:"bytes"`
	Reclaimable bool       `json:"reclaimable"`
	Shared      bool       `json:"shared,omitempty"`
	Description string     `json:"description,omitempty"`
	LastUsed    *time.Time `json:"lastUsed,omitempty"`
	UsageCount  int        `json:"usageCount"`
}

func recordViews(records []*client.UsageInfo) []recordView {
	out := make([]recordView, len(records))
	for i, r := range records {
		out[i] = recordView{
			ID: r.ID, Type: string(r.RecordType), Bytes: r.Size, Reclaimable: !r.InUse, Shared: r.Shared,
			Description: r.Description, LastUsed: r.LastUsedAt, UsageCount: r.UsageCount,
		}
	}
	return out
}

func (f *pruneFlags) show(w io.Writer, pruned []buildxsetup.Pruned) error {
	if f.output == "json" {
		type view struct {
			Node    string       `json:"node"`
			DryRun  bool         `json:"dryRun,omitempty"`
			Bytes   int64        `json:"bytes"`
			Records []recordView `json:"records"`
			Error   string       `json:"error,omitempty"`
		}
		views := make([]view, len(pruned))
		for i, p := range pruned {
			views[i] = view{Node: p.Node, DryRun: f.options.DryRun, Bytes: p.Bytes, Records: recordViews(p.Records)}
			if p.Err != nil {
				views[i].Error = p.Err.Error()
			}
		}
		return console.PrintJSON(w, map[string]any{"nodes": views})
	}
	verb := "removed"
	if f.options.DryRun {
		verb = "would remove"
	}
	for _, p := range pruned {
		if p.Err != nil && len(p.Records) == 0 {
			continue // the error says it
		}
		console.Say(w, "%s: %s %s, %s\n", p.Node, verb, console.Count(len(p.Records), "record"), buildkitconf.Human(p.Bytes))
		if f.verbose || f.options.DryRun {
			writeRecords(w, p.Records, console.Columns(w))
		}
	}
	return nil
}
