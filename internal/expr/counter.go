package expr

import (
	"maps"
	"sync"
)

// CounterSignature is counter([prefix[, seed]]), which only variables may use.
func CounterSignature() Signature { return Signature{Name: "counter", Max: 2} }

// Counters remembers what counter(prefix, seed) has returned. It is safe for concurrent
// use.
type Counters struct {
	mu     sync.Mutex
	stored map[string]int64 // folded prefix → last value of earlier runs, then of this one
	used   map[string]bool  // prefixes this run has advanced
}

// NewCounters returns the counters of one run, which continue after stored: prefix → last
// value.
func NewCounters(stored map[string]int64) *Counters {
	c := &Counters{stored: make(map[string]int64), used: make(map[string]bool)}
	for prefix, value := range stored {
		c.stored[fold(prefix)] = value
	}
	return c
}

// Values returns prefix → last value, for the next run.
func (c *Counters) Values() map[string]int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.stored)
}

// Function implements counter: the seed at first, one more in each later run, and the
// same number throughout one run.
func (c *Counters) Function(args []Value) (Value, error) {
	prefix, seed := "", int64(0)
	var err error
	if len(args) > 0 {
		if prefix, err = args[0].mustText(); err != nil {
			return Value{}, err
		}
	}
	if len(args) > 1 {
		number, err := args[1].mustConvert(Number)
		if err != nil {
			return Value{}, err
		}
		seed, _ = number.data.(decimal).Floor()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := fold(prefix)
	if !c.used[key] {
		if last, ok := c.stored[key]; ok {
			seed = last + 1
		}
		c.stored[key], c.used[key] = seed, true
	}
	return Int(c.stored[key]), nil
}
