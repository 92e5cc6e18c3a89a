package buildkitconf

// Sizes are bytes. BuildKit reads "GB" as 2^30 bytes, and so do we.
const (
	mb int64 = 1 << 20
	gb int64 = 1 << 30
)

// minVolume is the smallest volume that [Generate] plans for: a builder on less
// has no room for one base image beside a build.
const minVolume = 128 * mb

// limits are the numbers of a policy, in bytes.
type limits struct {
	uncounted int64 // left to what BuildKit does not count
	minFree   int64 // free when a build starts
	maxUsed   int64 // ceiling of the cache
	reserved  int64 // cache that stays whatever else fills the volume
}

// limitsOf plans a volume of size bytes. On a shared one, others keep their data
// as well.
func limitsOf(size int64, shared bool) limits {
	if shared {
		return limits{
			minFree:  min(size/5, 50*gb),
			maxUsed:  min(size/2, 100*gb),
			reserved: min(size/20, 10*gb),
		}
	}
	l := limits{
		uncounted: min(size/10, 50*gb),
		minFree:   min(size*15/100, 50*gb),
		reserved:  min(size/5, 50*gb),
	}
	l.maxUsed = size - l.uncounted - l.minFree
	return l
}

// ages of the tiers, in hours.
const (
	contextAge = 48     // two days
	mountAge   = 7 * 24 // a long weekend does not cost a package cache
	recordAge  = 30 * 24
)
