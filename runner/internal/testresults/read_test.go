package testresults_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"

	"github.com/dockless-ci/dockless/internal/mask"
	"github.com/dockless-ci/dockless/runner/internal/testresults"
)

func read(text string, format testresults.Format) ([]testresults.Case, testresults.Run, error) {
	var cases []testresults.Case
	run, err := testresults.Read(strings.NewReader(text), "a.xml", format, nil, func(c testresults.Case) error {
		cases = append(cases, c)
		return nil
	})
	return cases, run, err
}

func TestEncodingsAreRead(t *testing.T) {
	const name = "größer"
	doc := func(encoding string) string {
		return `<?xml version="1.0" encoding="` + encoding + `"?><testsuite><testcase name="` + name + `"/></testsuite>`
	}
	encoded := func(text string, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for what, text := range map[string]string{
		"UTF-8":               doc("utf-8"),
		"UTF-8 with a mark":   "\xef\xbb\xbf" + doc("UTF-8"),
		"UTF-16, little":      encoded(unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder().String(doc("utf-16"))),
		"UTF-16, big":         encoded(unicode.UTF16(unicode.BigEndian, unicode.UseBOM).NewEncoder().String(doc("UTF-16"))),
		"UTF-16, no mark":     encoded(unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM).NewEncoder().String(doc("utf-16"))),
		"UTF-16, big no mark": encoded(unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM).NewEncoder().String(doc("utf-16be"))),
		"Latin 1":             encoded(charmap.ISO8859_1.NewEncoder().String(doc("ISO-8859-1"))),
		"Windows":             encoded(charmap.Windows1252.NewEncoder().String(doc("windows-1252"))),
	} {
		cases, _, err := read(text, testresults.JUnit)
		if err != nil || len(cases) != 1 || cases[0].Title != name {
			t.Errorf("%s: %v, %v", what, cases, err)
		}
	}
}

func TestBrokenFilesAreErrorsThatNameFileAndLine(t *testing.T) {
	deep := strings.Repeat("<testsuite>", 300) + strings.Repeat("</testsuite>", 300)
	for what, c := range map[string]struct {
		text, want string
		format     testresults.Format
	}{
		"nothing":            {"", "a.xml:1: the file has no element", testresults.JUnit},
		"no XML":             {"\n\nnot xml", "a.xml:3: the file has no element", testresults.CTest},
		"cut off":            {"<testsuite>\n<testcase name='a'>", "a.xml:2: ", testresults.JUnit},
		"crossed tags":       {"<testsuite>\n\n</testcase>", "a.xml:3: element <testsuite> closed by </testcase>", testresults.JUnit},
		"a broken tail":      {"<testsuite/>\n<", "a.xml:2: ", testresults.JUnit},
		"another format":     {"<test-run/>", "a.xml:1: a file of format JUnit begins with <testsuites> or <testsuite>, this one with <test-run>", testresults.JUnit},
		"too deep":           {deep, "a.xml:1: elements nest deeper than 256", testresults.JUnit},
		"unknown encoding":   {`<?xml version="1.0" encoding="ebcdic"?><testsuite/>`, `the encoding "ebcdic" is not supported`, testresults.JUnit},
		"an entity":          {"<!DOCTYPE a [<!ENTITY x 'y'>]>\n<testsuite name='&x;'/>", "a.xml:2: invalid character entity &x;", testresults.JUnit},
		"a format of no one": {"<a/>", `a.xml: there is no test result format "TAP"`, "TAP"},
	} {
		_, _, err := read(c.text, c.format)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
}

func TestAnEntityBombDoesNotGrow(t *testing.T) {
	bomb := `<!DOCTYPE z [<!ENTITY a "aaaaaaaaaa">` + strings.Repeat(`<!ENTITY b "&a;&a;&a;&a;">`, 10) + `]><testsuite><testcase name="&b;"/></testsuite>`
	if cases, _, err := read(bomb, testresults.JUnit); err == nil {
		t.Errorf("a bomb was read as %v", cases)
	}
}

func TestControlCharactersDoNotBreakAFile(t *testing.T) {
	cases, _, err := read("<testsuite><testcase name='a'><failure>\x1b[31mred\x00</failure></testcase></testsuite>", testresults.JUnit)
	if err != nil || len(cases) != 1 || cases[0].Stack != "?[31mred?" || cases[0].Message != "?[31mred?" {
		t.Errorf("%+v, %v", cases, err)
	}
}

func TestTimesAreReadAsToolsWriteThem(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"1.5": 1500 * time.Millisecond, "0,5": 500 * time.Millisecond, "1,234.5": 1234500 * time.Millisecond, "1,234": 1234 * time.Second,
		"0,123": 123 * time.Millisecond, "1,234,567": 1234567 * time.Second, "1.2E-3": 1200 * time.Microsecond, "00:01:02.5": 62500 * time.Millisecond,
		"-1": 0, "NaN": 0, "Inf": 366 * 24 * time.Hour, "": 0, "x": 0, " 2 ": 2 * time.Second, "12,3456": 12345600 * time.Microsecond,
	} {
		cases, _, err := read("<testsuite><testcase name='a' time='"+text+"'/></testsuite>", testresults.JUnit)
		if err != nil || cases[0].Duration != want {
			t.Errorf("%q is %v (%v), want %v", text, cases[0].Duration, err, want)
		}
	}
}

func TestLongTextsAreCut(t *testing.T) {
	long := strings.Repeat("ä", 1<<20)
	cases, _, err := read("<testsuite><testcase name='"+long+"'><error message='"+long+"'>"+long+"</error><system-out>"+long+"</system-out></testcase></testsuite>", testresults.JUnit)
	if err != nil {
		t.Fatal(err)
	}
	c := cases[0]
	for what, v := range map[string]struct {
		text string
		most int
	}{"name": {c.Title, 4 << 10}, "message": {c.Message, 64 << 10}, "stack": {c.Stack, 64 << 10}, "output": {c.Output, 1 << 20}} {
		if len(v.text) > v.most || len(v.text) < v.most-4 || !strings.HasSuffix(v.text, "…") || !utf8.ValidString(v.text) {
			t.Errorf("the %s has %d bytes, want about %d and a mark", what, len(v.text), v.most)
		}
	}
}

func TestTheCallerEndsTheReading(t *testing.T) {
	enough := errors.New("enough")
	_, err := testresults.Read(strings.NewReader("<testsuite><testcase name='a'/><testcase name='b'/></testsuite>"), "a.xml", testresults.JUnit, nil, func(testresults.Case) error { return enough })
	if !errors.Is(err, enough) {
		t.Errorf("Read = %v, want the caller's error", err)
	}
}

// A file takes the memory of some of its cases, whatever its size.
func TestALargeFileIsNotHeldInMemory(t *testing.T) {
	const size = 8 << 20
	f := &generated{size: size, body: "<testcase name='t' classname='c' time='0.1'><failure message='m'>" + strings.Repeat("at some.place(file:1)\n", 400) + "</failure></testcase>"}
	var now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&now)
	before, most, n := now.HeapAlloc, uint64(0), 0
	started := time.Now()
	_, err := testresults.Read(f, "a.xml", testresults.JUnit, nil, func(testresults.Case) error {
		if n++; n%100 == 0 {
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc)
		}
		return nil
	})
	t.Logf("%d cases of %d MB in %s, the heap grew by %d KiB at most", n, size>>20, time.Since(started), (int64(most)-int64(before))>>10)
	if err != nil || n < 100 || most > before+6<<20 { // the collector lets 4 MB be
		t.Errorf("the heap grew from %d to %d bytes for %d cases (%v), want less than the file has", before, most, n, err)
	}
}

// generated is a suite of about size bytes that is never in memory.
type generated struct {
	size       int
	body, rest string
	done       bool
}

func (g *generated) Seek(int64, int) (int64, error) { g.rest = "<testsuite>"; return 0, nil }

func (g *generated) Read(p []byte) (int, error) {
	if g.rest == "" {
		switch {
		case g.done:
			return 0, io.EOF
		case g.size > 0:
			g.rest = g.body
		default:
			g.rest, g.done = "</testsuite>", true
		}
	}
	n := copy(p, g.rest)
	g.rest, g.size = g.rest[n:], g.size-n
	return n, nil
}

func FuzzRead(f *testing.F) {
	formats := []testresults.Format{testresults.JUnit, testresults.NUnit, testresults.XUnit, testresults.VSTest, testresults.CTest}
	for _, file := range samples(f) {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for i, format := range formats {
			if format == formatOf(file) {
				f.Add(uint8(i), text)
			}
		}
	}
	f.Add(uint8(0), []byte("\xff\xfe<\x00a\x00/\x00>\x00"))
	f.Add(uint8(4), []byte("<Site><Testing><StartTestTime>99999999999</StartTestTime><Test/></Testing></Site>"))
	f.Fuzz(func(t *testing.T, format uint8, text []byte) {
		n := 0
		run, err := testresults.Read(bytes.NewReader(text), "a.xml", formats[int(format)%len(formats)], nil, func(c testresults.Case) error {
			n++
			if c.Title == "" || c.Name == "" || c.Duration < 0 || len(c.Parts) > 1000 || len(c.Stack) > 64<<10 || c.Outcome == "" {
				t.Errorf("case %+v", c)
			}
			return nil
		})
		if err == nil && (run.Totals.All() != n || run.Duration < 0) {
			t.Errorf("run %+v of %d cases", run, n)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "a.xml:") {
			t.Errorf("the error names no file: %v", err)
		}
	})
}

func FuzzReadCoverage(f *testing.F) {
	for _, text := range []string{cobertura, oldCobertura, jacoco, "", "<coverage lines-valid='-1'/>", "<report><counter type='LINE' missed='9999999999'/></report>"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		counters, err := testresults.ReadCoverage(bytes.NewReader(text), "a.xml", "")
		for _, c := range counters {
			if c.Covered < 0 || c.Covered > c.Total || c.Total == 0 || c.Label == "" {
				t.Errorf("counter %+v", c)
			}
		}
		if err != nil && !strings.HasPrefix(err.Error(), "a.xml:") {
			t.Errorf("the error names no file: %v", err)
		}
	})
}

// Of a secret that was cut, nobody would know the rest.
func TestASecretAcrossACutIsMaskedBefore(t *testing.T) {
	const secret = "correct horse battery staple"
	masks := mask.NewSet()
	masks.Add(secret)
	filled := func(n int) string { return strings.Repeat("x", n-len(secret)/2) + secret + " and more of it" }
	text := "<testsuite><testcase name='" + filled(4<<10) + "'><failure message='" + filled(64<<10) + "'>" + filled(64<<10) + "</failure>" +
		"<system-out><![CDATA[" + filled(1<<20) + "]]>tail</system-out></testcase><testcase name='" + strings.Repeat(secret, 1000) + "'/></testsuite>"
	var cases []testresults.Case
	_, err := testresults.Read(strings.NewReader(text), "a.xml", testresults.JUnit, func(w io.Writer) io.WriteCloser { return masks.NewWriter(w) }, func(c testresults.Case) error {
		cases = append(cases, c)
		return nil
	})
	if err != nil || len(cases) != 2 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
	for what, c := range map[string]struct {
		text  string
		limit int
	}{"title": {cases[0].Title, 4 << 10}, "message": {cases[0].Message, 64 << 10}, "stack": {cases[0].Stack, 64 << 10}, "output": {cases[0].Output, 1 << 20}} {
		if end := c.text[max(0, len(c.text)-40):]; len(c.text) > c.limit || len(c.text) < c.limit-8 || strings.Contains(end, "corr") || !strings.Contains(end, "x***") {
			t.Errorf("the %s has %d bytes and ends with %q", what, len(c.text), end)
		}
	}
	if cases[1].Title != mask.Replacement {
		t.Errorf("a name of secrets only is %q, want it whole and masked", cases[1].Title)
	}
}
