package explain

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Bounds of a record that is read: another branch may have written it. The
// largest contexts we know of have a hundred thousand files of fifty bytes of
// path each, which is twelve megabytes.
const (
	maxPacked = 8 << 20
	maxJSON   = 16 << 20
	// What is counted before anything is made of it: ten bytes of text can be a
	// hundred of memory.
	maxObjects = 100_000
	maxLists   = 500_000
	// A Dockerfile has tens of stages and is built for a handful of platforms.
	maxStages    = 1_000
	maxPlatforms = 64
	maxFiles     = 100_000
	maxSteps     = 20_000
	maxReads     = 2_000_000 // files of all steps of a platform together: half a second to compare
)

// Encode packs a record.
func (r *Record) Encode() ([]byte, error) {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	err := json.NewEncoder(w).Encode(r)
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, fmt.Errorf("packing the build's record: %w", err)
	}
	if out.Len() > maxPacked {
		return nil, fmt.Errorf("packing the build's record: it has %d bytes, more than %d", out.Len(), maxPacked)
	}
	return out.Bytes(), nil
}

// Decode unpacks a record and refuses one that refers to what it does not hold.
func Decode(packed []byte) (*Record, error) {
	if len(packed) > maxPacked {
		return nil, fmt.Errorf("reading the record of a build: it has %d bytes, more than %d", len(packed), maxPacked)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("reading the record of a build: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(z, maxJSON+1))
	if err != nil {
		return nil, fmt.Errorf("reading the record of a build: %w", err)
	}
	if len(text) > maxJSON {
		return nil, fmt.Errorf("reading the record of a build: it unpacks to more than %d bytes", maxJSON)
	}
	r, err := parseRecord(text)
	if err != nil {
		return nil, fmt.Errorf("reading the record of a build: %w", err)
	}
	return r, nil
}

func parseRecord(text []byte) (*Record, error) {
	if bytes.Count(text, []byte("{")) > maxObjects || bytes.Count(text, []byte("[")) > maxLists {
		return nil, fmt.Errorf("it has more than %d objects or %d lists", maxObjects, maxLists)
	}
	var r Record
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, err
	}
	return &r, r.check()
}

// check makes sure that every index is one.
func (r *Record) check() error {
	if r.Version != version {
		return fmt.Errorf("it has version %d, not %d", r.Version, version)
	}
	if len(r.Salt) != saltSize {
		return errors.New("it has no salt")
	}
	for _, c := range r.Contexts {
		if len(c.Paths) != len(c.Sums) || len(c.Paths) > maxFiles {
			return errors.New("a context's files are not well-formed")
		}
	}
	if len(r.Platforms) > maxPlatforms {
		return fmt.Errorf("it has more than %d platforms", maxPlatforms)
	}
	for _, p := range r.Platforms {
		if len(p.Stages) > maxStages {
			return fmt.Errorf("it has more than %d stages", maxStages)
		}
		if err := r.checkPlatform(&p); err != nil {
			return err
		}
	}
	return nil
}

func (r *Record) checkPlatform(p *Platform) error {
	within := func(list []int, n int) bool {
		return !slices.ContainsFunc(list, func(i int) bool { return i < 0 || i >= n })
	}
	steps, files := 0, 0
	for i, st := range p.Stages {
		if st.Base >= i || st.Context >= len(r.Contexts) || !within(st.Uses, len(p.Facts)) {
			return errors.New("a stage refers to something that is not there")
		}
		if steps += len(st.Steps); steps > maxSteps {
			return fmt.Errorf("it has more than %d steps", maxSteps)
		}
		for _, s := range st.Steps {
			if !within(s.Uses, len(p.Facts)) || !within(s.Stages, len(p.Stages)) {
				return errors.New("a step refers to something that is not there")
			}
			for _, f := range s.Files {
				if !within([]int{f.Context}, len(r.Contexts)) || !r.checkRanges(f) {
					return errors.New("a step refers to files that are not there")
				}
				for _, span := range f.Ranges {
					files += span[1] - span[0]
				}
				if files > maxReads {
					return fmt.Errorf("its steps read more than %d files", maxReads)
				}
			}
		}
	}
	return nil
}

func (r *Record) checkRanges(f Files) bool {
	last := 0
	for _, span := range f.Ranges {
		if span[0] < last || span[1] < span[0] || span[1] > len(r.Contexts[f.Context].Paths) {
			return false
		}
		last = span[1]
	}
	return true
}
