package agent

import (
	"fmt"
	"strconv"
	"time"
)

const (
	// stopReserve is what is kept of a grace period for the end itself: a canceled
	// job's last signals and logs, its containers, and unregistering. See
	// protocolTimings for its parts.
	stopReserve = 30 * time.Second
	// defaultDrain is the budget when neither it nor the grace period is known: with
	// the reserve it fits the 90 s of systemd.
	defaultDrain = time.Minute
)

// Period is a duration that may also be written as a bare number of seconds, as
// Kubernetes does.
type Period time.Duration

// UnmarshalText reads 3120, 52m or 1h30m. Nothing is zero: a pod without the
// annotation that a variable is made of has an empty one.
func (p *Period) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*p = 0
		return nil
	}
	if seconds, err := strconv.ParseUint(string(text), 10, 31); err == nil {
		*p = Period(time.Duration(seconds) * time.Second)
		return nil
	}
	d, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is neither seconds nor a duration", text)
	}
	*p = Period(d)
	return nil
}

// drainBudget is how long a running job may go on after an order: what the
// settings grant, and never more than what the grace period or the order itself
// leaves when the reserve is taken off.
func (c Config) drainBudget(o Order) time.Duration {
	budget := defaultDrain
	switch grace := time.Duration(c.GracePeriod); {
	case c.DrainTimeout != nil && grace > 0:
		budget = min(*c.DrainTimeout, grace-stopReserve)
	case c.DrainTimeout != nil:
		budget = *c.DrainTimeout
	case grace > 0:
		budget = grace - stopReserve
	}
	if o.Within > 0 {
		budget = min(budget, o.Within-stopReserve)
	}
	return max(budget, 0)
}
