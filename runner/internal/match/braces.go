package match

import (
	"fmt"
	"strconv"
	"strings"
)

// maxBraces bounds what one pattern is spread to, for pairs of braces multiply,
// and maxNested how deep they are in each other, for each pair is looked through
// again. People need a handful of either.
const (
	maxBraces = 10_000
	maxNested = 50
)

// spread returns the patterns that braces in one stand for, as a shell makes
// them: "{a,b}" is either, "{1..3}" and "{a..c}" are each of a range. Braces that
// say neither are text, and so is what follows a "\" or "$".
func spread(pattern string) ([]string, error) { return spreadAt(pattern, 0) }

func spreadAt(pattern string, depth int) ([]string, error) {
	if depth > maxNested || len(pattern) > maxPattern/8 && strings.Contains(pattern, "{") {
		return nil, tooMany(pattern)
	}
	all := []string{""}
	for rest := pattern; rest != ""; {
		open, end, choices := nextBraces(rest)
		if open < 0 {
			return times(pattern, all, []string{rest})
		}
		var either []string
		for _, c := range choices {
			inner, err := spreadAt(c, depth+1)
			if err != nil {
				return nil, err
			}
			if either = append(either, inner...); len(either) > maxBraces {
				return nil, tooMany(pattern)
			}
		}
		var err error
		if all, err = times(pattern, all, []string{rest[:open]}); err != nil {
			return nil, err
		}
		if all, err = times(pattern, all, either); err != nil {
			return nil, err
		}
		rest = rest[end:]
	}
	return all, nil
}

func tooMany(pattern string) error {
	return fmt.Errorf("the braces of the pattern %.40q stand for more than %d patterns, or are nested more than %d times", pattern, maxBraces, maxNested)
}

// times puts each tail behind each head.
func times(pattern string, heads, tails []string) ([]string, error) {
	if len(heads)*len(tails) > maxBraces {
		return nil, tooMany(pattern)
	}
	all := make([]string, 0, len(heads)*len(tails))
	for _, h := range heads {
		for _, t := range tails {
			all = append(all, h+t)
		}
	}
	return all, nil
}

// nextBraces finds the first braces that mean something: from open to end, and
// what they offer. It looks at each byte as often as there are braces around it.
func nextBraces(text string) (open, end int, choices []string) {
	var opened []int
	commas := make(map[int][]int) // of each open brace
	closed := make(map[int]int)
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '{':
			if i > 0 && text[i-1] == '$' {
				opened = append(opened, -1)
				continue
			}
			opened = append(opened, i)
		case ',':
			if n := len(opened); n > 0 && opened[n-1] >= 0 {
				commas[opened[n-1]] = append(commas[opened[n-1]], i)
			}
		case '}':
			if n := len(opened); n > 0 {
				if opened[n-1] >= 0 {
					closed[opened[n-1]] = i
				}
				opened = opened[:n-1]
			}
		}
	}
	for i := range len(text) {
		end, ok := closed[i]
		if !ok {
			continue
		}
		if len(commas[i]) == 0 {
			if choices := sequenceOf(text[i+1 : end]); choices != nil {
				return i, end + 1, choices
			}
			continue
		}
		from := i + 1
		for _, c := range append(commas[i], end) {
			choices = append(choices, text[from:c])
			from = c + 1
		}
		return i, end + 1, choices
	}
	return -1, 0, nil
}

// sequenceOf returns the members of "1..3", "3..1", "01..10", "a..e" or "1..9..2", or
// nil when text is no range.
func sequenceOf(text string) []string {
	parts := strings.Split(text, "..")
	if len(parts) < 2 || len(parts) > 3 {
		return nil
	}
	step := 1
	if len(parts) == 3 {
		n, err := strconv.Atoi(parts[2])
		if err != nil {
			return nil
		}
		step = max(1, n, -n)
	}
	from, err := strconv.Atoi(parts[0])
	to, err2 := strconv.Atoi(parts[1])
	show := func(n int) string { return string(rune(n)) } //nolint:gosec // one of the letters below
	switch {
	case err == nil && err2 == nil:
		width := 0
		if padded(parts[0]) || padded(parts[1]) {
			width = max(len(parts[0]), len(parts[1]))
		}
		show = func(n int) string { return fmt.Sprintf("%0*d", width, n) }
	case letterOf(parts[0]) && letterOf(parts[1]):
		from, to = int(parts[0][0]), int(parts[1][0])
	default:
		return nil
	}
	if to < from {
		step = -step
	}
	var members []string
	for n := from; len(members) <= maxBraces && (step > 0 && n <= to || step < 0 && n >= to); n += step {
		members = append(members, show(n))
	}
	return members
}

// padded reports whether a number is written with zeros in front.
func padded(number string) bool {
	digits := strings.TrimPrefix(number, "-")
	return len(digits) > 1 && digits[0] == '0'
}

func letterOf(text string) bool {
	return len(text) == 1 && (text[0]|0x20 >= 'a' && text[0]|0x20 <= 'z')
}
