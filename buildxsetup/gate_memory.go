package buildxsetup

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/dockless-ci/dockless/internal/buildkitconf"
)

// keptGrowths is how many of the last differences count as recent: with one for
// each build, a large image is remembered for a working day or so.
const keptGrowths = 8

// staleAfter is when a memory says nothing any more about today's builds.
const staleAfter = 7 * 24 * time.Hour

// diskMemory is what is remembered of a node's disk, also by later processes. Its
// JSON form is a file below [GateConfig].Dir.
type diskMemory struct {
	At     time.Time `json:"at"`               // of the last look
	Free   int64     `json:"free,omitempty"`   // bytes at that time, where they can be seen
	Near   bool      `json:"near,omitempty"`   // whether cache had to go then
	Growth []int64   `json:"growth,omitempty"` // bytes by which the free space shrank between looks, the last ones
}

// growth is the most that was needed between two looks.
func (m diskMemory) growth() int64 {
	if len(m.Growth) == 0 {
		return 0
	}
	return slices.Max(m.Growth)
}

// learn notes how much is free now, and returns what is known.
func (d *disk) learn(v buildkitconf.Volume, now time.Time) diskMemory {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := &d.memory
	if grown := m.Free - v.Free; m.Free > 0 && grown > 0 && now.Sub(m.At) < staleAfter {
		m.Growth = append(m.Growth, grown)
		if len(m.Growth) > keptGrowths {
			m.Growth = slices.Delete(m.Growth, 0, len(m.Growth)-keptGrowths)
		}
	}
	m.At, m.Free, m.Near = now, v.Free, false
	known := *m
	known.Growth = slices.Clone(m.Growth)
	return known
}

// forget notes that what is free changed by our own doing.
func (d *disk) forget(v buildkitconf.Volume) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.memory.Free = v.Free
}

// disk returns what is known about the node's disk.
func (g *Gate) disk(n Node) *disk {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := g.disks[n.Endpoint]
	if d == nil {
		d = &disk{memory: g.load(n)}
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
		err = writeWhole(g.file(n), content)
	}
	if err != nil {
		g.log.Debug("what was learnt of a builder's disk is not kept", "builder", n.Name, "error", err)
	}
}

// writeWhole writes a file that readers see whole or not at all.
func writeWhole(file string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".disk-*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(content)
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		_ = os.Remove(tmp.Name()) // the error that counts is the first
	}
	return err
}
