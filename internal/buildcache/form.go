package buildcache

import "maps"

// Form is how a cache is written, the best first: each is taken by registries
// that refuse the one before it.
type Form int

const (
	// FormZstd is an image manifest of OCI types, as registries take it that refuse
	// indexes of anything but images (ECR, Quay), with layers in zstd, which packs
	// those that only the cache has at several times the speed of gzip.
	FormZstd Form = iota
	// FormGzip has its layers in gzip, for registries that know no other (older
	// Artifactory and Nexus).
	FormGzip
	// FormDocker is what BuildKit wrote before there were OCI types: a manifest list
	// of Docker's. It has no image manifest of these types.
	FormDocker
	formEnd
)

// Weaker returns the next form to try, and false when f is the last.
func (f Form) Weaker() (Form, bool) { return f + 1, f+1 < formEnd }

// Valid reports whether f is a form; one that was read from a file may be none.
func (f Form) Valid() bool { return f >= 0 && f < formEnd }

func (f Form) String() string {
	switch f {
	case FormZstd:
		return "an OCI manifest with zstd"
	case FormGzip:
		return "an OCI manifest with gzip"
	case FormDocker:
		return "a Docker manifest list with gzip"
	}
	return "no form"
}

// In returns the export e in another form.
func (e Entry) In(f Form) Entry {
	attrs := maps.Clone(e.Attrs)
	switch f {
	case FormGzip:
		attrs["compression"] = "gzip"
		attrs["force-compression"] = "true" // what an earlier export packed with zstd, too
	case FormDocker:
		attrs["compression"] = "gzip"
		attrs["force-compression"] = "true"
		attrs["oci-mediatypes"], attrs["image-manifest"] = "false", "false"
	}
	return Entry{Type: e.Type, Attrs: attrs}
}
