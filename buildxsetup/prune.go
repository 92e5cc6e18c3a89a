package buildxsetup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/buildkit/client"
	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/internal/hint"
)

// PruneOptions say which build cache to give up. The zero value removes what is
// not in use now.
type PruneOptions struct {
	All       bool          // also what BuildKit keeps for itself: frontends and helper images
	Filters   []string      // buildx's --filter, "type=exec.cachemount"; a record has to match all
	UnusedFor time.Duration // keep what was used within this time; zero keeps nothing
	Reserved  int64         // bytes that may stay
	MaxUsed   int64         // prune until no more than these bytes are used; zero is no limit
	MinFree   int64         // prune until these bytes are free; zero is no limit
	DryRun    bool          // remove nothing, and report what would be removed
}

// Pruned is what pruning one node gave back, or would give back.
type Pruned struct {
	Node    string
	Records []*client.UsageInfo
	Bytes   int64
	Err     error // why it is not all
}

// Prune removes build cache from every node and reports per node how much. It
// goes on with the other nodes when one fails; their errors are joined.
func (b *Builder) Prune(ctx context.Context, o PruneOptions) ([]Pruned, error) {
	if _, err := o.info(); err != nil {
		return nil, err
	}
	out := make([]Pruned, len(b.Nodes))
	errs := make([]error, len(b.Nodes))
	var g errgroup.Group
	for i, n := range b.Nodes {
		g.Go(func() error {
			out[i], errs[i] = n.Prune(ctx, o)
			out[i].Err = errs[i]
			return nil
		})
	}
	_ = g.Wait() // the errors are in errs
	return out, errors.Join(errs...)
}

// Prune is [Builder.Prune] for one node.
func (n Node) Prune(ctx context.Context, o PruneOptions) (result Pruned, err error) {
	result.Node = n.Name
	info, err := o.info()
	if err != nil {
		return result, err
	}
	if _, err := n.Ping(ctx); err != nil {
		return result, err
	}
	if o.DryRun {
		err = n.wouldPrune(ctx, info, &result)
	} else {
		err = n.prune(ctx, info, &result)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return result, fmt.Errorf("pruning the cache of %s: %w", n.Name, err)
	}
	return result, nil
}

func (n Node) prune(ctx context.Context, info client.PruneInfo, result *Pruned) (err error) {
	c, err := n.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	opts := []client.PruneOption{
		client.WithFilter(info.Filter),
		client.WithKeepOpt(info.KeepDuration, info.ReservedSpace, info.MaxUsedSpace, info.MinFreeSpace),
	}
	if info.All {
		opts = append(opts, client.PruneAll)
	}
	removed := make(chan client.UsageInfo)
	counted := make(chan struct{})
	go func() {
		defer close(counted)
		for u := range removed {
			result.Records = append(result.Records, &u)
			result.Bytes += u.Size
		}
	}()
	err = c.Prune(ctx, removed, opts...)
	close(removed)
	<-counted
	return err
}

// wouldPrune works out what [Node.prune] would remove now. With limits, BuildKit
// chooses by age and by how often a record was used; here age alone decides.
func (n Node) wouldPrune(ctx context.Context, info client.PruneInfo, result *Pruned) error {
	records, err := n.diskUsage(ctx, client.WithFilter(info.Filter), client.WithAgeLimit(info.KeepDuration))
	if err != nil {
		return err
	}
	internal := []client.UsageRecordType{client.UsageRecordTypeInternal, client.UsageRecordTypeFrontend}
	records = slices.DeleteFunc(records, func(r *client.UsageInfo) bool {
		return r.InUse || !info.All && (r.Shared || slices.Contains(internal, r.RecordType))
	})
	slices.SortFunc(records, func(a, b *client.UsageInfo) int {
		return cmp.Or(lastUsed(a).Compare(lastUsed(b)), cmp.Compare(a.ID, b.ID))
	})
	limited, total, keep := false, int64(0), int64(0)
	if info.MaxUsedSpace != 0 || info.ReservedSpace != 0 || info.MinFreeSpace != 0 {
		all, err := n.diskUsage(ctx)
		if err != nil {
			return err
		}
		total = usageOf(all).Bytes
		limited = true
		if keep, err = n.keepBytes(ctx, info, total); err != nil {
			return err
		}
	}
	for _, r := range records {
		if limited && total < keep {
			break
		}
		total -= r.Size
		result.Records = append(result.Records, r)
		result.Bytes += r.Size
	}
	return nil
}

// keepBytes is the size to which limits bring a cache of total bytes.
func (n Node) keepBytes(ctx context.Context, info client.PruneInfo, total int64) (int64, error) {
	keep := info.MaxUsedSpace
	if info.MinFreeSpace > 0 {
		v, err := n.Volume(ctx)
		if err != nil {
			return 0, hint.With(fmt.Errorf("what is free cannot be seen: %w", err), "use --max-used-space with --dry-run, or leave out --dry-run")
		}
		switch excess := info.MinFreeSpace - v.Free - v.Reserve; {
		case excess > 0 && keep > 0:
			keep = min(keep, total-excess)
		case excess > 0:
			keep = total - excess
		case keep == 0:
			keep = total + 1
		}
	}
	return max(keep, info.ReservedSpace), nil
}

func lastUsed(r *client.UsageInfo) time.Time {
	if r.LastUsedAt != nil {
		return *r.LastUsedAt
	}
	return r.CreatedAt
}

// info turns the options into BuildKit's.
func (o PruneOptions) info() (client.PruneInfo, error) {
	filters, age, err := parseFilters(o.Filters)
	if err != nil {
		return client.PruneInfo{}, err
	}
	if age > 0 && o.UnusedFor > 0 {
		return client.PruneInfo{}, hint.With(errors.New("both an age and the filter until are given"), "use one of --unused-for and --filter until=…")
	}
	return client.PruneInfo{
		All: o.All, Filter: filters, KeepDuration: max(o.UnusedFor, age),
		ReservedSpace: o.Reserved, MaxUsedSpace: o.MaxUsed, MinFreeSpace: o.MinFree,
	}, nil
}

// filterKeys are what BuildKit can tell of a record, and whether it is a text.
var filterKeys = map[string]bool{
	"id": true, "parents": true, "description": true, "type": true,
	"inuse": false, "mutable": false, "immutable": false, "shared": false, "private": false,
}

// parseFilters turns buildx's filters, all of which have to match, into one of
// BuildKit's and an age.
func parseFilters(list []string) (filters []string, age time.Duration, err error) {
	var parts []string
	for _, f := range list {
		key, value, hasValue := strings.Cut(f, "=")
		value = strings.TrimPrefix(value, "=") // BuildKit's own form
		operator := "=="
		for _, mark := range []string{"!", "~"} {
			if name, ok := strings.CutSuffix(key, mark); ok {
				key, operator = name, mark+"="
			}
		}
		if key == "id" && operator == "==" {
			operator = "~=" // as buildx: the start of an id is enough
		}
		isText, known := filterKeys[key]
		switch {
		case (key == "until" || key == "unused-for") && age == 0:
			if age, err = time.ParseDuration(value); err != nil || age <= 0 {
				return nil, 0, hint.With(fmt.Errorf("the filter %q has no duration", f), "write until=24h")
			}
		case known && isText && hasValue && value != "":
			parts = append(parts, key+operator+strconv.Quote(value))
		case known && !isText && !hasValue:
			parts = append(parts, key)
		default:
			return nil, 0, hint.With(fmt.Errorf("%q is no filter", f),
				"write id=…, parents=…, description=…, type=…, inuse, mutable, immutable, shared, private or until=24h; != and ~= work, too")
		}
	}
	if len(parts) > 0 {
		filters = []string{strings.Join(parts, ",")}
	}
	return filters, age, nil
}

// Validate reports filters that are none.
func (o PruneOptions) Validate() error {
	_, err := o.info()
	return err
}
