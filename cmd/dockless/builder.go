package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/platforms"
	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/logging"
)

func newBuilderCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "builder",
		Short: "The buildx builder that points at BuildKit",
		Args:  knownCommand,
		RunE:  showHelp,
	}
	cmd.AddCommand(newBuilderEnsureCommand(), newBuilderInspectCommand(), newBuilderPruneCommand(), newBuilderRemoveCommand())
	return cmd
}

// builderSettings reads what every builder command needs. A command that ends
// at once must not start a buildkitd that would end with it, so ownState is
// empty for those.
func builderSettings(cmd *cobra.Command, ownState string) (buildxsetup.Config, logging.Config, error) {
	var (
		config buildxsetup.Config
		log    logging.Config
	)
	if home, err := os.UserHomeDir(); err == nil {
		config.Home = home
	}
	if err := loadSettings(&log, &config); err != nil {
		return config, log, err
	}
	if name, err := cmd.Flags().GetString("builder"); err == nil && name != "" {
		config.Name = name
	}
	config.StateDir = ownState
	return config, log, nil
}

// userStateDir is where state of this user survives a restart.
func userStateDir() string {
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "dockless")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return filepath.Join(os.TempDir(), fmt.Sprintf("dockless-%d", os.Getuid()))
	}
	return filepath.Join(home, ".local", "state", "dockless")
}

func newBuilderEnsureCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ensure",
		Short: "Make the builder, or repair it, and make it current",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withBuilder(cmd, func(_ context.Context, b *buildxsetup.Builder) error {
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "builder %s is ready: %s\n", b.Name, nodeList(b))
				return err
			})
		},
	}
}

func nodeList(b *buildxsetup.Builder) string {
	names := make([]string, len(b.Nodes))
	for i, n := range b.Nodes {
		names[i] = n.Endpoint
	}
	return strings.Join(names, ", ")
}

// withBuilder ensures the builder, hands it to use and closes it.
func withBuilder(cmd *cobra.Command, use func(context.Context, *buildxsetup.Builder) error) (err error) {
	config, logConfig, err := builderSettings(cmd, "")
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	b, err := buildxsetup.Ensure(ctx, config, logging.New(cmd.ErrOrStderr(), quieter(logConfig)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close(ctx)) }()
	return use(ctx, b)
}

// nodeView is one node as `builder inspect` shows it.
type nodeView struct {
	Name      string   `json:"name"`
	Endpoint  string   `json:"endpoint"`
	Version   string   `json:"version,omitempty"`
	Platforms []string `json:"platforms"`
	Records   int      `json:"cacheRecords"`
	Bytes     int64    `json:"cacheBytes"`
	Error     string   `json:"error,omitempty"`
}

func newBuilderInspectCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "inspect",
		Short: "Show the builder's nodes, their platforms and their caches",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("--output", output, "table", "json"); err != nil {
				return err
			}
			return withBuilder(cmd, func(ctx context.Context, b *buildxsetup.Builder) error {
				views := make([]nodeView, 0, len(b.Nodes))
				for _, s := range b.Inspect(ctx) {
					views = append(views, viewOf(s))
				}
				if output == "json" {
					return printJSON(cmd.OutOrStdout(), map[string]any{"name": b.Name, "nodes": views})
				}
				return printNodes(cmd.OutOrStdout(), views)
			})
		},
	}
	cmd.Flags().StringVar(&output, "output", "table", "`FORM`: table or json")
	return cmd
}

func viewOf(s buildxsetup.NodeStatus) nodeView {
	v := nodeView{Name: s.Name, Endpoint: s.Endpoint, Records: s.Records, Bytes: s.DiskUsed, Platforms: []string{}}
	for _, p := range s.Platforms {
		v.Platforms = append(v.Platforms, platforms.Format(p))
	}
	if len(s.Workers) > 0 {
		v.Version = s.Workers[0].Version
	}
	if s.Err != nil {
		v.Error = s.Err.Error()
	}
	return v
}

func printNodes(w io.Writer, views []nodeView) error {
	table := newTable(w)
	say(table, "NODE\tENDPOINT\tBUILDKIT\tPLATFORMS\tCACHE\tSTATUS\n")
	for _, v := range views {
		status := "ok"
		if v.Error != "" {
			status = v.Error
		}
		say(table, "%s\t%s\t%s\t%s\t%s in %d records\t%s\n",
			v.Name, v.Endpoint, v.Version, strings.Join(v.Platforms, ","), units.HumanSize(float64(v.Bytes)), v.Records, status)
	}
	return table.Flush()
}

func newBuilderPruneCommand() *cobra.Command {
	var (
		options                    buildxsetup.PruneOptions
		reserved, maxUsed, minFree string
		unusedFor                  time.Duration
	)
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove build cache from every node",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, size := range []struct {
				flag, text string
				to         *int64
			}{{"reserved-space", reserved, &options.Reserved}, {"max-used-space", maxUsed, &options.MaxUsed}, {"min-free-space", minFree, &options.MinFree}} {
				if size.text == "" {
					continue
				}
				bytes, err := units.RAMInBytes(size.text)
				if err != nil {
					return hint.With(usagef("--%s %q is no size", size.flag, size.text), "write a size like 20GB")
				}
				*size.to = bytes
			}
			options.UnusedFor = unusedFor
			return withBuilder(cmd, func(ctx context.Context, b *buildxsetup.Builder) error {
				pruned, err := b.Prune(ctx, options)
				for _, p := range pruned {
					say(cmd.OutOrStdout(), "%s: removed %d records, %s\n", p.Node, p.Records, units.HumanSize(float64(p.Bytes)))
				}
				return err
			})
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&options.All, "all", "a", false, "also frontends and helper images that BuildKit keeps for itself")
	flags.StringArrayVar(&options.Filter, "filter", nil, "only records that match `EXPRESSION`, for example type=exec.cachemount")
	flags.DurationVar(&unusedFor, "unused-for", 0, "only records that were not used for this long, for example 48h")
	flags.StringVar(&reserved, "reserved-space", "", "keep this `SIZE` in any case, for example 20GB")
	flags.StringVar(&maxUsed, "max-used-space", "", "prune until no more than this `SIZE` is used")
	flags.StringVar(&minFree, "min-free-space", "", "prune until this `SIZE` of the disk is free")
	return cmd
}

func newBuilderRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "rm",
		Short: "Forget the builder; BuildKit and its cache stay",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, _, err := builderSettings(cmd, "")
			if err != nil {
				return err
			}
			removed, err := buildxsetup.Remove(cmd.Context(), config)
			if err != nil {
				return err
			}
			text := "builder %s is removed\n"
			if !removed {
				text = "there is no builder %s\n"
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), text, config.Name)
			return err
		},
	}
}
