package job

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// timeLayout is how the service writes dates: UTC with seven fractional digits
// (protocol §1.7).
const timeLayout = "2006-01-02T15:04:05.0000000Z"

// Time is a date as the service writes it. The zero value is "no date": it is
// written as null, and read from null, from an empty string and from
// "0001-01-01T00:00:00", which carries no zone and which time.Time refuses.
type Time struct{ time.Time }

// At returns t in UTC as a Time.
func At(t time.Time) Time { return Time{t.UTC()} }

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return []byte(`"` + t.UTC().Format(timeLayout) + `"`), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *Time) UnmarshalJSON(data []byte) error {
	if bytes.Equal(data, []byte("null")) {
		*t = Time{}
		return nil
	}
	text, err := strconv.Unquote(string(data))
	if err != nil {
		return fmt.Errorf("reading date %s: %w", data, err)
	}
	if text == "" || strings.HasPrefix(text, "0001-01-01T00:00:00") {
		*t = Time{}
		return nil
	}
	parsed, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		// Some members come without a zone; the service means UTC.
		parsed, err = time.Parse("2006-01-02T15:04:05.999999999", text)
	}
	if err != nil {
		return fmt.Errorf("reading date %q: %w", text, err)
	}
	*t = Time{parsed.UTC()}
	return nil
}

// ParseSpan reads the service's TimeSpan text, "hh:mm:ss" or
// "d.hh:mm:ss[.fffffff]".
func ParseSpan(text string) (time.Duration, error) {
	bad := func() (time.Duration, error) { return 0, fmt.Errorf("reading time span %q: want [d.]hh:mm:ss", text) }
	rest, negative := strings.CutPrefix(text, "-")
	parts := strings.Split(rest, ":")
	if len(parts) != 3 {
		return bad()
	}
	days, hours := "0", parts[0]
	if d, h, ok := strings.Cut(parts[0], "."); ok {
		days, hours = d, h
	}
	var total time.Duration
	for _, f := range []struct {
		text string
		unit time.Duration
		most int
	}{{days, 24 * time.Hour, 10675199}, {hours, time.Hour, 23}, {parts[1], time.Minute, 59}} {
		n, err := strconv.ParseUint(f.text, 10, 32)
		if err != nil || int(n) > f.most {
			return bad()
		}
		total += time.Duration(n) * f.unit
	}
	seconds, err := strconv.ParseFloat(parts[2], 64)
	if err != nil || seconds < 0 || seconds >= 60 || strings.ContainsAny(parts[2], "eExXnN+-_") {
		return bad()
	}
	total += time.Duration(seconds * float64(time.Second))
	if total < 0 { // days beyond what a Duration holds (about 292 years)
		return bad()
	}
	if negative {
		total = -total
	}
	return total, nil
}

// FormatSpan writes d as the service's TimeSpan text, in whole seconds.
func FormatSpan(d time.Duration) string {
	sign := ""
	if d < 0 {
		sign, d = "-", -d
	}
	s := int64(d / time.Second)
	text := fmt.Sprintf("%02d:%02d:%02d", s/3600%24, s/60%60, s%60)
	if days := s / 86400; days > 0 {
		text = fmt.Sprintf("%d.%s", days, text)
	}
	return sign + text
}
