package pipeline

import (
	"crypto/sha1" //nolint:gosec // identifiers, not secrets: the service derives them with SHA-1
	"encoding/binary"
	"encoding/hex"
	"strings"
	"unicode/utf16"

	"github.com/google/uuid"
)

// idNamespace is the name space the service derives identifiers in.
const idNamespace = "53371b7fd4614b5dc5e227335323df24"

// stableID returns the identifier the service gives to a stage, job or step that is
// called name: names joined with dots, without a default stage. It is the same in every
// run.
func stableID(name string) string {
	namespace, err := hex.DecodeString(idNamespace)
	if err != nil {
		panic("pipeline: the name space is not hexadecimal")
	}
	for _, unit := range utf16.Encode([]rune(strings.ToLower(name))) {
		namespace = binary.BigEndian.AppendUint16(namespace, unit)
	}
	sum := sha1.Sum(namespace) //nolint:gosec // as above
	h := sum[:16]
	h[7] = h[7]&0x0f | 0x50
	var id uuid.UUID
	// The bytes are a little-endian GUID: its first three groups are reversed.
	copy(id[:], []byte{h[3], h[2], h[1], h[0], h[5], h[4], h[7], h[6]})
	copy(id[8:], h[8:])
	return id.String()
}

// identifier joins names with dots and leaves out a default stage.
func identifier(stage string, rest ...string) string {
	if stage == DefaultName && len(rest) > 0 {
		return strings.Join(rest, ".")
	}
	return strings.Join(append([]string{stage}, rest...), ".")
}
