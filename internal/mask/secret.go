package mask

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"unique"
)

// Replacement is what stands in place of a secret.
const Replacement = "***"

// Secret is a value that cannot be printed by accident: every way fmt, slog,
// encoding/json and encoding/text print it gives [Replacement], and nothing at
// all when it is empty. The zero value is the empty secret. A Secret is
// immutable apart from [Secret.UnmarshalText], and may be copied and compared.
type Secret struct {
	// A handle instead of a string: fmt does not call the methods of a field
	// that is not exported, it prints what is inside, here an address.
	handle unique.Handle[string]
}

// NewSecret returns a Secret that holds value.
func NewSecret(value string) Secret {
	if value == "" {
		return Secret{}
	}
	return Secret{unique.Make(value)}
}

// Reveal returns the value itself. It is the only way to read it, so that a
// search for the name finds every place that does.
func (s Secret) Reveal() string {
	if s.IsZero() {
		return ""
	}
	return s.handle.Value()
}

// IsZero reports whether the secret is empty.
func (s Secret) IsZero() bool { return s == Secret{} }

// Equal reports whether both hold the same value.
func (s Secret) Equal(other Secret) bool { return s == other }

// String returns [Replacement], or nothing when the secret is empty.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return Replacement
}

// GoString is [Secret.String], for %#v.
func (s Secret) GoString() string { return s.String() }

// Format prints [Secret.String] whatever the verb, so that %x and %d, which
// would reach into the struct, print no more than %s.
func (s Secret) Format(f fmt.State, _ rune) {
	// fmt reports a failing writer itself; a Formatter has no way to.
	_, _ = io.WriteString(f, s.String())
}

// LogValue is [Secret.String], for log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is [Secret.String]. It never fails.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON is [Secret.String] as a JSON string. It never fails.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// UnmarshalText takes text as the new value, so that a Secret can be a field
// of a Config read by envconfig. It never fails. A value that came from
// [Secret.MarshalText] reads back as the replacement, not as the secret.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = NewSecret(string(text))
	return nil
}
