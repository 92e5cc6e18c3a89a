package buildxsetup

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/dockless-ci/dockless/internal/wholefile"
)

// keptGrowths is how many of the last builds count as recent: with one for
// each build, a large image is remembered for a working day or so.
const keptGrowths = 8

// staleAfter is when a memory says nothing any more about today's builds.
const staleAfter = 7 * 24 * time.Hour

// diskMemory is what is remembered of a node's disk, also by later processes. Its
// JSON form is a file below [GateConfig].Dir.
type diskMemory struct {
	At     time.Time `json:"at"`               // when it was added to last
	Near   bool      `json:"near,omitempty"`   // whether cache in use had to go then, where the disk cannot be seen
	Growth []int64   `json:"growth,omitempty"` // bytes by which the free space shrank during builds, the last ones
}

// growth is the most that a build needed.
func (m diskMemory) growth() int64 {
	if len(m.Growth) == 0 {
		return 0
	}
	return slices.Max(m.Growth)
}

// learntWithin is how long a build may take for its need to be told from what
// others wrote to the disk in that time.
const learntWithin = time.Hour

// learn notes what a build needed that ran from begun to now, and reports whether
// it did. What other builds wrote beside it is in there: they will be again.
func (d *disk) learn(grown int64, begun, now time.Time) bool {
	if grown <= 0 || now.Sub(begun) > learntWithin {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	m := &d.memory
	m.Growth = append(m.Growth, grown)
	m.Growth = slices.Delete(m.Growth, 0, max(0, len(m.Growth)-keptGrowths))
	m.At = now
	return true
}

// known returns what is known of the disk.
func (d *disk) known() diskMemory {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := d.memory
	out.Growth = slices.Clone(out.Growth)
	return out
}

// barrenFor is how long a disk on which nothing could be removed is believed to
// stay so while builds can start all the same.
const barrenFor = time.Minute

// isBarren reports whether there is nothing to remove, to somebody who has waited
// since arrived. Who would be refused for it believes nothing older.
func (d *disk) isBarren(arrived time.Time, startable bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.barren.After(arrived) || startable && time.Since(d.barren) < barrenFor
}

func (d *disk) setBarren(at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.barren = at
}

// disk returns what is known about the node's disk.
func (g *Gate) disk(n Node) *disk {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := g.disks[n.Endpoint]
	if d == nil {
		d = newDisk(g.load(n))
		g.disks[n.Endpoint] = d
	}
	return d
}

// file is where the memory of a node lies. Endpoints are no file names.
func (g *Gate) file(n Node) string {
	sum := sha256.Sum256([]byte(n.Endpoint))
	return filepath.Join(g.config.Dir, hex.EncodeToString(sum[:8])+".json")
}

// load reads the memory of a node. What is unreadable or stale is none: it costs
// one look.
func (g *Gate) load(n Node) diskMemory {
	var m diskMemory
	if g.config.Dir == "" {
		return m
	}
	content, err := os.ReadFile(g.file(n))
	if err != nil || json.Unmarshal(content, &m) != nil || time.Since(m.At) > staleAfter || time.Until(m.At) > time.Minute {
		return diskMemory{}
	}
	if len(m.Growth) > keptGrowths {
		m.Growth = m.Growth[:keptGrowths]
	}
	return m
}

// keep writes the memory of a node. A loss costs the next process one look, so
// errors are logged only.
func (g *Gate) keep(n Node, d *disk) {
	if g.config.Dir == "" {
		return
	}
	d.mu.Lock()
	content, err := json.Marshal(d.memory)
	d.mu.Unlock()
	if err == nil {
		file := g.file(n)
		if err = os.MkdirAll(filepath.Dir(file), 0o700); err == nil {
			err = wholefile.Write(file, 0o600, content)
		}
	}
	if err != nil {
		g.log.Debug("what was learnt of a builder's disk is not kept", "builder", n.Name, "error", err)
	}
}
