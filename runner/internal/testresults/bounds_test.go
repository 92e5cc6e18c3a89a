package testresults

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func TestAFileBeyondTheBoundIsRefused(t *testing.T) {
	for _, c := range []struct {
		left int64
		want error
	}{{5, nil}, {4, errTooLarge}} {
		got, err := io.ReadAll(&limited{r: strings.NewReader("12345"), left: c.left})
		if !errors.Is(err, c.want) || int64(len(got)) != c.left {
			t.Errorf("of 5 bytes with a bound of %d: %q, %v; want %v", c.left, got, err, c.want)
		}
	}
}

func TestTooManyResultsAreRefused(t *testing.T) {
	doc, _, err := open(strings.NewReader("<a/>"), "a.xml", nil)
	if err != nil {
		t.Fatal(err)
	}
	doc.cases = maxCases - 1
	if err := doc.count(); err != nil {
		t.Errorf("the last result that is allowed: %v", err)
	}
	if err := doc.count(); err == nil || !strings.Contains(err.Error(), "a.xml:1: the file has more than 500000 results") {
		t.Errorf("one more is %v", err)
	}
}
