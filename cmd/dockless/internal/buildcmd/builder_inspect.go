package buildcmd

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/worker/label"
	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/console"
	"github.com/dockless-ci/dockless/internal/buildkitconf"
)

// nodeView is one node as `builder inspect` shows it.
type nodeView struct {
	Name        string       `json:"name"`
	Endpoint    string       `json:"endpoint"`
	Version     string       `json:"version,omitempty"`
	Latency     float64      `json:"latencySeconds,omitempty"`
	Platforms   []string     `json:"platforms"`
	Emulated    []string     `json:"emulated,omitempty"` // of the platforms
	Snapshotter string       `json:"snapshotter,omitempty"`
	Records     int          `json:"cacheRecords"`
	Bytes       int64        `json:"cacheBytes"`
	Reclaimable int64        `json:"cacheReclaimableBytes"`
	Types       []typeView   `json:"cacheTypes,omitempty"`
	Biggest     []recordView `json:"biggest,omitempty"`
	Policy      []tierView   `json:"gcPolicy,omitempty"`
	Disk        *diskView    `json:"disk,omitempty"` // nil: cannot be seen from here
	Error       string       `json:"error,omitempty"`

	biggest []*client.UsageInfo
}

type typeView struct {
	Type        string `json:"type"`
	Records     int    `json:"records"`
	Bytes       int64  `json:"bytes"`
	Reclaimable int64  `json:"reclaimableBytes"`
}

type tierView struct {
	Words        string   `json:"words"`
	All          bool     `json:"all"`
	Filters      []string `json:"filters,omitempty"`
	KeepDuration float64  `json:"keepDurationSeconds,omitempty"`
	Reserved     int64    `json:"reservedBytes,omitempty"`
	MaxUsed      int64    `json:"maxUsedBytes,omitempty"`
	MinFree      int64    `json:"minFreeBytes,omitempty"`
}

type diskView struct {
	Size int64  `json:"bytes"`
	Free int64  `json:"freeBytes"`
	Type string `json:"fileSystem,omitempty"`
}

func newBuilderInspectCommand() *cobra.Command {
	var (
		output  string
		verbose bool
	)
	cmd := &cobra.Command{
		Use:   "inspect",
		Short: "Show the nodes: platforms, disk, cache and what limits it",
		Args:  cmdline.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cmdline.OneOf("--output", output, "table", "json"); err != nil {
				return err
			}
			return withBuilder(cmd, func(ctx context.Context, b *buildxsetup.Builder) error {
				views := make([]nodeView, 0, len(b.Nodes))
				for _, s := range b.Inspect(ctx) {
					views = append(views, viewOf(s, verbose))
				}
				w := cmd.OutOrStdout()
				if output == "json" {
					return console.PrintJSON(w, map[string]any{"name": b.Name, "nodes": views})
				}
				printNodes(w, b.Name, views, console.Columns(w))
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&output, "output", "table", "`FORM`: table or json")
	cmd.Flags().BoolVar(&verbose, "verbose", false, "also the largest records of the cache")
	cmdline.CompleteWords(cmd, "output", "table", "json")
	return cmd
}

func viewOf(s buildxsetup.NodeStatus, verbose bool) nodeView {
	v := nodeView{
		Name: s.Name, Endpoint: s.Endpoint, Latency: s.Latency.Seconds(), Platforms: []string{},
		Records: s.Usage.Records, Bytes: s.Usage.Bytes, Reclaimable: s.Usage.Reclaimable,
	}
	if s.Err != nil {
		v.Error = s.Err.Error()
	}
	for _, p := range s.Platforms {
		name := platforms.Format(p)
		v.Platforms = append(v.Platforms, name)
		if !s.Native(p) {
			v.Emulated = append(v.Emulated, name)
		}
	}
	for _, t := range s.Usage.Types {
		v.Types = append(v.Types, typeView{string(t.Type), t.Records, t.Bytes, t.Reclaimable})
	}
	if verbose {
		v.biggest, v.Biggest = s.Usage.Biggest, recordViews(s.Usage.Biggest)
	}
	if s.Volume.Size > 0 {
		v.Disk = &diskView{s.Volume.Size, s.Volume.Free, s.Volume.Type}
	}
	if len(s.Workers) == 0 {
		return v
	}
	w := s.Workers[0]
	v.Version, v.Snapshotter = w.Version, w.Labels[label.Snapshotter]
	for _, p := range w.GC {
		v.Policy = append(v.Policy, tierView{
			Words: buildkitconf.Words(p), All: p.All, Filters: p.Filter, KeepDuration: p.KeepDuration.Seconds(),
			Reserved: p.ReservedSpace, MaxUsed: p.MaxUsedSpace, MinFree: p.MinFreeSpace,
		})
	}
	return v
}

// nodeIndent is where the values of a node begin.
const nodeIndent = 15

func printNodes(w io.Writer, builder string, views []nodeView, width int) {
	console.Say(w, "builder %s, %s\n", builder, console.Count(len(views), "node"))
	for _, v := range views {
		console.Say(w, "\n%s  %s\n", v.Name, v.Endpoint)
		v.print(w, width)
	}
}

// print shows a node. What its buildkitd says of itself is a peer's text.
func (v nodeView) print(w io.Writer, width int) {
	row := func(key, text string) {
		console.Say(w, "  %-*s%s\n", nodeIndent-2, key, console.Wrap(console.OneLine(text), nodeIndent, width))
	}
	if v.Error != "" {
		row("error", v.Error)
	}
	if v.Version == "" {
		return
	}
	row("BuildKit", fmt.Sprintf("%s, answers in %s", v.Version, time.Duration(v.Latency*float64(time.Second)).Round(time.Millisecond/10)))
	native := make([]string, 0, len(v.Platforms))
	for _, p := range v.Platforms {
		if !slices.Contains(v.Emulated, p) {
			native = append(native, p)
		}
	}
	row("native", console.OrNone(native))
	row("emulated", console.OrNone(v.Emulated))
	row("snapshotter", v.Snapshotter)
	row("disk", v.disk())
	row("cache", fmt.Sprintf("%s in %s, %s reclaimable", buildkitconf.Human(v.Bytes), console.Count(v.Records, "record"), buildkitconf.Human(v.Reclaimable)))
	for _, t := range v.Types {
		console.Say(w, "  %-*s%-20s %8s  %8s reclaimable  %s\n", nodeIndent-2, "", console.OneLine(t.Type), buildkitconf.Human(t.Bytes), buildkitconf.Human(t.Reclaimable), console.Count(t.Records, "record"))
	}
	if len(v.Policy) == 0 {
		row("removed", "nothing, ever: garbage collection is off")
	}
	for i, p := range v.Policy {
		key := ""
		if i == 0 {
			key = "removed"
		}
		console.Say(w, "  %-*s%d. %s\n", nodeIndent-2, key, i+1, console.Wrap(console.OneLine(p.Words), nodeIndent+3, width))
	}
	if len(v.biggest) > 0 {
		console.Say(w, "  largest records\n")
		writeRecords(w, v.biggest, width)
	}
}

func (v nodeView) disk() string {
	if v.Disk == nil {
		return "cannot be seen from here"
	}
	text := fmt.Sprintf("%s of %s free", buildkitconf.Human(v.Disk.Free), buildkitconf.Human(v.Disk.Size))
	if v.Disk.Type != "" {
		text += ", " + v.Disk.Type
	}
	return text
}

// writeRecords lists records of build cache, one a line.
func writeRecords(w io.Writer, records []*client.UsageInfo, width int) {
	now := time.Now()
	for _, r := range records {
		used := "never used"
		if r.LastUsedAt != nil {
			used = shortAge(now.Sub(*r.LastUsedAt)) + " ago"
		}
		if r.InUse {
			used = "in use"
		}
		head := fmt.Sprintf("    %8s  %-10s  %-19s  ", buildkitconf.Human(r.Size), used, console.OneLine(string(r.RecordType)))
		text := r.Description
		if text == "" {
			text = r.ID
		}
		if text = console.OneLine(text); width > 0 {
			text = console.Cut(text, max(width-len(head), 10))
		}
		console.Say(w, "%s%s\n", head, text)
	}
}

// shortAge writes a duration in its largest unit.
func shortAge(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}
