package buildcache

import "fmt"

// Mode says when a build's cache is exported.
type Mode string

// The zero Mode is ModeAuto.
const (
	ModeAuto  Mode = "auto"  // as ModeAsync, unless the last exports cost more than they spared
	ModeAsync Mode = "async" // behind the build, once its files are read
	ModeSync  Mode = "sync"  // before the build returns
	ModeOff   Mode = "off"   // never: the caches are read only
)

// Validate reports a word that is no mode.
func (m Mode) Validate() error {
	switch m {
	case "", ModeAuto, ModeAsync, ModeSync, ModeOff:
		return nil
	}
	return fmt.Errorf("%q is no way to export caches: want async, sync, off or auto", string(m))
}
