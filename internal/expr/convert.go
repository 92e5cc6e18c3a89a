package expr

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// version holds two to four parts; a part that was not written is -1 and so sorts first.
type version [4]int

func parseVersion(text string) (version, bool) {
	v := version{-1, -1, -1, -1}
	parts := strings.Split(text, ".")
	if len(parts) < 2 || len(parts) > len(v) {
		return v, false
	}
	for i, part := range parts {
		n, err := strconv.ParseInt(part, 10, 32)
		if err != nil || !allDigits(part) {
			return v, false
		}
		v[i] = int(n)
	}
	return v, true
}

func (v version) String() string {
	var b strings.Builder
	for i, part := range v {
		if part < 0 {
			break
		}
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(strconv.Itoa(part))
	}
	return b.String()
}

func allDigits(text string) bool {
	return text != "" && strings.Trim(text, "0123456789") == ""
}

// parseNumeral reads [sign] digits [. digits]. With separators it also skips commas
// between the digits of the whole part and blanks around the number.
func parseNumeral(text string, separators bool) (decimal, bool) {
	if separators {
		text = strings.Trim(text, " \t\n\v\f\r")
	}
	unsigned, negative := strings.CutPrefix(text, "-")
	if !negative && separators {
		unsigned = strings.TrimPrefix(unsigned, "+")
	}
	whole, fraction, _ := strings.Cut(unsigned, ".")
	if separators && !strings.HasPrefix(whole, ",") {
		whole = strings.ReplaceAll(whole, ",", "")
	}
	if whole+fraction == "" || !allDigits(whole+fraction) {
		return decimal{}, false
	}
	return newDecimal(negative, whole, fraction)
}

func (v Value) toNumber() (decimal, bool) {
	switch v.kind {
	case Null:
		return decimal{}, true
	case Boolean:
		if v.data.(bool) {
			return decimalFromInt(1), true
		}
		return decimal{}, true
	case Number:
		return v.data.(decimal), true
	case String:
		if v.data.(string) == "" {
			return decimal{}, true
		}
		return parseNumeral(v.data.(string), true)
	case Version, DateTime, Array, Object:
	}
	return decimal{}, false
}

func (v Value) toVersion() (version, bool) {
	switch v.kind {
	case Version:
		return v.data.(version), true
	case Number, String:
		text, _ := v.Text()
		return parseVersion(text)
	case Null, Boolean, DateTime, Array, Object:
	}
	return version{}, false
}

// dateText is yyyy-M-d H:m:s[.fffffff][Z|±h:mm], with / for - and T for the blank.
var dateText = regexp.MustCompile(`^(\d{4})[-/](\d{1,2})[-/](\d{1,2})[ T](\d{1,2}):(\d{1,2}):(\d{1,2})(?:\.(\d{1,7}))?(?:Z|([+-])(\d{1,2}):(\d{2}))?$`)

func (v Value) toDateTime() (time.Time, bool) {
	if v.kind == DateTime {
		return v.data.(time.Time), true
	}
	if v.kind != String {
		return time.Time{}, false
	}
	m := dateText.FindStringSubmatch(v.data.(string))
	if m == nil {
		return time.Time{}, false
	}
	number := func(i int) int {
		n, _ := strconv.Atoi(m[i]) // the pattern admits digits only; absent is 0
		return n
	}
	zone := time.UTC
	if m[8] != "" {
		seconds := number(9)*3600 + number(10)*60
		if m[8] == "-" {
			seconds = -seconds
		}
		zone = time.FixedZone("", seconds)
	}
	nanos, _ := strconv.Atoi((m[7] + "000000000")[:9])
	t := time.Date(number(1), time.Month(number(2)), number(3), number(4), number(5), number(6), nanos, zone)
	if int(t.Month()) != number(2) || t.Day() != number(3) || t.Hour() != number(4) || t.Minute() != number(5) || t.Second() != number(6) {
		return time.Time{}, false // a 31st of June rolls over; it is not a date
	}
	return t, true
}

// convert returns v as a value of kind, and false when there is no such value.
func (v Value) convert(kind Kind) (Value, bool) {
	switch kind {
	case Boolean:
		return Bool(v.Truthy()), true
	case Number:
		d, ok := v.toNumber()
		return Value{Number, d}, ok
	case String:
		text, ok := v.Text()
		return Text(text), ok
	case Version:
		parsed, ok := v.toVersion()
		return Value{Version, parsed}, ok
	case DateTime:
		t, ok := v.toDateTime()
		return Time(t), ok
	case Null:
		text, ok := v.Text()
		return Value{}, v.kind == Null || v.kind == String && ok && text == ""
	case Array, Object:
	}
	return Value{}, false
}

// mustConvert is convert with the failure as an error.
func (v Value) mustConvert(kind Kind) (Value, error) {
	converted, ok := v.convert(kind)
	if !ok {
		return Value{}, fmt.Errorf("Unable to convert from %s to %s. Value: %s", v.kind, kind, v) //nolint:staticcheck // the service's own sentence
	}
	return converted, nil
}

// mustText is mustConvert to a String.
func (v Value) mustText() (string, error) {
	converted, err := v.mustConvert(String)
	if err != nil {
		return "", err
	}
	return converted.data.(string), nil
}
