//go:build linux && (amd64 || arm64)

package probe

// appendQuoted appends a name given by the operator, which may be anything.
func appendQuoted(line []byte, name string) []byte {
	for i := range min(len(name), MaxName) {
		c := name[i]
		if c <= ' ' || c > '~' {
			c = '?'
		}
		line = append(line, c)
	}
	return line
}

func appendNumber(line []byte, v uint64) []byte {
	var digits [20]byte
	at := len(digits)
	for {
		at--
		digits[at] = byte('0' + v%10)
		if v /= 10; v == 0 {
			return append(line, digits[at:]...)
		}
	}
}

// appendAge appends ns, not negative, as a person says it: 0ms, 12ms, 31s,
// 2m5s, 3h20m.
func appendAge(line []byte, ns int64) []byte {
	v := uint64(ns) //nolint:gosec // not negative
	const ms, s, m, h = 1e6, 1e9, 60e9, 3600e9
	switch {
	case v < s:
		return append(appendNumber(line, v/ms), "ms"...)
	case v < 10*s && v%s/(s/10) != 0:
		line = append(appendNumber(line, v/s), '.')
		return append(appendNumber(line, v%s/(s/10)), 's')
	case v < m:
		return append(appendNumber(line, v/s), 's')
	case v < h:
		line = append(appendNumber(line, v/m), 'm')
		if v%m/s == 0 {
			return line
		}
		return append(appendNumber(line, v%m/s), 's')
	}
	line = append(appendNumber(line, v/h), 'h')
	if v%h/m == 0 {
		return line
	}
	return append(appendNumber(line, v%h/m), 'm')
}

// appendReason appends " (told to)", or nothing when there is no reason.
func appendReason(line []byte, reason Reason) []byte {
	if reason == ReasonNone {
		return line
	}
	line = append(append(line, " ("...), reason.String()...)
	if reason > ReasonFailed {
		line = appendNumber(append(line, ' '), uint64(reason))
	}
	return append(line, ')')
}
