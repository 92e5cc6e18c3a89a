package expr

import (
	"math/big"
	"strings"
)

// The numbers of the language are .NET decimals: an integer of at most 96 bits, divided
// by a power of ten of at most 28.
const (
	decimalBits  = 96
	decimalScale = 28
	// decimalDigits is how many digits 2^96 has; a longer integer part cannot fit.
	decimalDigits = 29
	// formatDecimals is how many decimals a number keeps when it becomes text.
	formatDecimals = 7
)

// decimal is an exact decimal number. Its zero value is 0.
type decimal struct {
	unscaled *big.Int // nil is 0; never changed
	scale    int      // number of decimals
}

func decimalFromInt(n int64) decimal { return decimal{unscaled: big.NewInt(n)} }

// newDecimal builds ±(whole.fraction) from digits, rounding what does not fit to even.
// It fails when the number is too large.
func newDecimal(negative bool, whole, fraction string) (decimal, bool) {
	whole = strings.TrimLeft(whole, "0")
	if len(whole) > decimalDigits {
		return decimal{}, false
	}
	fraction = fraction[:min(len(fraction), 2*decimalScale)]
	unscaled, ok := new(big.Int).SetString("0"+whole+fraction, 10)
	if !ok {
		return decimal{}, false
	}
	scale := len(fraction)
	for drop := max(0, scale-decimalScale); ; drop = 1 {
		unscaled = divideRounded(unscaled, drop, true)
		scale -= drop
		if unscaled.BitLen() <= decimalBits {
			break
		}
		if scale == 0 {
			return decimal{}, false
		}
	}
	if negative {
		unscaled.Neg(unscaled)
	}
	return decimal{unscaled, scale}, true
}

// divideRounded returns n (not negative) divided by 10^digits, a half rounded to even
// or up.
func divideRounded(n *big.Int, digits int, toEven bool) *big.Int {
	if digits == 0 {
		return n
	}
	divisor := power10(digits)
	quotient, rest := new(big.Int).QuoRem(n, divisor, new(big.Int))
	half := rest.Lsh(rest, 1).Cmp(divisor)
	if half > 0 || half == 0 && (!toEven || quotient.Bit(0) == 1) {
		quotient.Add(quotient, big.NewInt(1))
	}
	return quotient
}

func power10(n int) *big.Int {
	return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil)
}

func (d decimal) value() *big.Int {
	if d.unscaled == nil {
		return new(big.Int)
	}
	return d.unscaled
}

// IsZero reports whether d is 0.
func (d decimal) IsZero() bool { return d.value().Sign() == 0 }

// Cmp returns -1, 0 or +1 as d is less than, equal to or greater than other.
func (d decimal) Cmp(other decimal) int {
	a, b := d.value(), other.value()
	switch {
	case d.scale < other.scale:
		a = new(big.Int).Mul(a, power10(other.scale-d.scale))
	case d.scale > other.scale:
		b = new(big.Int).Mul(b, power10(d.scale-other.scale))
	}
	return a.Cmp(b)
}

// Floor returns the largest integer not above d, and false when an int64 cannot hold it.
func (d decimal) Floor() (int64, bool) {
	// Div rounds towards minus infinity for a positive divisor.
	whole := new(big.Int).Div(d.value(), power10(d.scale))
	return whole.Int64(), whole.IsInt64()
}

// String returns d with at most seven decimals, a half rounded away from zero, without
// trailing zeros, exponent or separators.
func (d decimal) String() string {
	n, scale := new(big.Int).Abs(d.value()), d.scale
	if scale > formatDecimals {
		n, scale = divideRounded(n, scale-formatDecimals, false), formatDecimals
	}
	digits := n.String()
	if missing := scale + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	text := digits[:len(digits)-scale]
	if fraction := strings.TrimRight(digits[len(digits)-scale:], "0"); fraction != "" {
		text += "." + fraction
	}
	if d.value().Sign() < 0 && text != "0" {
		text = "-" + text
	}
	return text
}
