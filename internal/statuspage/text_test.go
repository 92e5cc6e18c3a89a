package statuspage_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/net/html"

	"github.com/dockless-ci/dockless/internal/statuspage"
)

func TestColoursBecomeClassesAndEverythingElseIsText(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"plain":                      {"make all", "make all"},
		"markup":                     {`<b onclick="x">&amp;'`, `&lt;b onclick=&#34;x&#34;&gt;&amp;amp;&#39;`},
		"a colour":                   {"\x1b[31mred\x1b[0m.", `<span class="f1">red</span>.`},
		"bright":                     {"\x1b[92mok", `<span class="f10">ok</span>`},
		"several at once":            {"\x1b[1;3;4;9;35mx\x1b[22;23;24;29;39my", `<span class="f5 b i u s">x</span>y`},
		"a background":               {"\x1b[30;42mx", `<span class="g2">x</span>`},
		"backwards":                  {"\x1b[7mx\x1b[31my\x1b[27mz", `<span class="gx">x</span><span class="g1">y</span><span class="f1">z</span>`},
		"dim":                        {"\x1b[2mx", `<span class="dim">x</span>`},
		"256 colours":                {"\x1b[38;5;196mx\x1b[38;5;250my", `<span class="f1">x</span><span class="f7">y</span>`},
		"millions of colours":        {"\x1b[38;2;0;0;255mx\x1b[48:2:255:255:255my", `<span class="f4">x</span><span class="g15">y</span>`},
		"a reset without a number":   {"\x1b[31mx\x1b[my", `<span class="f1">x</span>y`},
		"a style that draws nothing": {"\x1b[31m\x1b[0mx", "x"},
		"a colour that is cut off":   {"\x1b[38;5mx", "x"},
		"colours of nobody":          {"\x1b[999mx\x1b[38;9;1mx", "xx"},
		"movement":                   {"\x1b[2K\x1b[1;1Hx\x1b[?25l", "x"},
		"a title":                    {"\x1b]0;title\x07x\x1b]8;;http://evil\x1b\\link", "xlink"},
		"a title without an end":     {"\x1b]0;title", "]0;title"},
		"titles without an end":      {"\x1b]0;a\x07\x1b]b\x1b[31mc\x1bPd", `]b<span class="f1">cPd</span>`},
		"a sequence without an end":  {"x\x1b[31", "x31"},
		"a lone escape":              {"x\x1b", "x"},
		"another charset":            {"\x1b(Bx", "x"},
		"controls":                   {"a\x00\tb\x08\x7f", "a␀\tb␈␡"},
		"no UTF-8":                   {"a\xffb\xc2\x9b31m", "a\ufffdb\ufffd31m"},
		"text that turns around":     {"a\u202eb\u2066", `a<span class="code">U+202E</span>b<span class="code">U+2066</span>`},
		"other scripts":              {"héllo 世界 👩‍💻", "héllo 世界 👩‍💻"},
	} {
		if got := statuspage.Text(c.in); got != c.want {
			t.Errorf("%s: %q becomes\n%s, want\n%s", name, c.in, got, c.want)
		}
	}
}

func TestATextIsCutBetweenTwoCharacters(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		most int
		want string
	}{
		"shorter":                        {"made", 5, "made"},
		"as long":                        {"héllo", 6, "héllo"},
		"plain":                          {"hello", 2, "he…"},
		"before a character":             {"héllo", 1, "h…"},
		"within one of two bytes":        {"héllo", 2, "h…"},
		"behind it":                      {"héllo", 3, "hé…"},
		"within the first of all":        {"世界", 2, "…"},
		"within one of four bytes":       {"a👩b", 4, "a…"},
		"nothing of it":                  {"世", 0, "…"},
		"bytes that are no character":    {"a\x80\x80\x80\x80\x80\x80", 6, "a\x80\x80\x80\x80\x80…"},
		"more of them than one can have": {"世\x80\x80\x80\x80\x80", 7, "世\x80\x80\x80\x80…"},
	} {
		if got := statuspage.Cut(c.in, c.most); got != c.want {
			t.Errorf("%s: Cut(%q, %d) = %q, want %q", name, c.in, c.most, got, c.want)
		}
	}
}

func FuzzCut(f *testing.F) {
	f.Add("héllo 世界 👩‍💻", 8)
	f.Add("0\x88\x80\x80\x80", 4)
	f.Fuzz(func(t *testing.T, text string, most int) {
		if most < 0 {
			t.Skip("no bound")
		}
		got, short := strings.CutSuffix(statuspage.Cut(text, most), "…")
		if short = short && len(text) > most; !short {
			return
		}
		if !strings.HasPrefix(text, got) || len(got) > most || len(got) <= most-utf8.UTFMax || utf8.ValidString(text) && !utf8.ValidString(got) {
			t.Errorf("Cut(%q, %d) keeps %q", text, most, got)
		}
	})
}

// Looking for the end of each anew would take minutes.
func TestStringsWithoutAnEndTakeNoLonger(t *testing.T) {
	for _, begin := range []string{"\x1b]", "\x1bP", "\x1bX", "\x1b^", "\x1b_"} {
		const n = 1 << 19
		if got := len(statuspage.Text(strings.Repeat(begin, n))); got != n {
			t.Errorf("%q becomes %d bytes, want %d", begin, got, n)
		}
	}
}

// lines makes a log of lines.
func lines(first int, open bool, texts ...string) statuspage.Log {
	l := statuspage.Log{First: first, Kept: 1, Total: first - 1 + len(texts), Open: open}
	for _, text := range texts {
		l.Lines = append(l.Lines, []byte(text))
	}
	return l
}

func TestGroupsFoldUnlessTheyFailedOrGoOn(t *testing.T) {
	const line = `<div class="l%s" id="L%d"><a tabindex="-1" href="#L%[2]d">%[2]d</a><span>%[3]s</span></div>` + "\n"
	const summary = `<summary class="l group" id="L%d"><a tabindex="-1" href="#L%[1]d">%[1]d</a><span>%[2]s</span></summary>` + "\n"
	for name, c := range map[string]struct {
		in   statuspage.Log
		want string
	}{
		"a group": {
			lines(5, false, "##[group]One", "a<", "##[endgroup]", "b"),
			"<details>" + fmt.Sprintf(summary, 5, "One") + fmt.Sprintf(line, "", 6, "a&lt;") + "</details>\n" + fmt.Sprintf(line, "", 8, "b"),
		},
		"one that failed": {
			lines(1, false, "##[group]One", "##[error]no", "##[endgroup]"),
			"<details open>" + fmt.Sprintf(summary, 1, "One") + fmt.Sprintf(line, " error", 2, `<b class="word">error</b> no`) + "</details>\n",
		},
		"a group ends with the next one": {
			lines(1, false, "##[group]One", "##[group]Two", "##[endgroup]", "##[endgroup]"),
			"<details>" + fmt.Sprintf(summary, 1, "One") + "</details>\n<details>" + fmt.Sprintf(summary, 2, "Two") + "</details>\n",
		},
		"one that goes on": {
			lines(1, true, "##[group]One", "a"),
			`<details open class="last">` + fmt.Sprintf(summary, 1, "One") + fmt.Sprintf(line, "", 2, "a") + "</details>\n",
		},
		"one that the log ends in": {lines(1, false, "##[group]One"), "<details open>" + fmt.Sprintf(summary, 1, "One") + "</details>\n"},
		"an end without a beginning": {
			lines(1, false, "##[endgroup]", "##[section]Go", "##[other]x", "##[debug]d", "##[command]c", "##[warning]w"),
			fmt.Sprintf(line, " section", 2, "Go") + fmt.Sprintf(line, "", 3, "##[other]x") + fmt.Sprintf(line, " debug", 4, `<b class="word">debug</b> d`) +
				fmt.Sprintf(line, " command", 5, "c") + fmt.Sprintf(line, " warning", 6, `<b class="word">warning</b> w`),
		},
	} {
		if got := statuspage.Lines(c.in); got != c.want {
			t.Errorf("%s becomes\n%s\nwant\n%s", name, got, c.want)
		}
	}
}

func TestNewLinesGoWhereThePageIs(t *testing.T) {
	got := statuspage.Operations(lines(3, true, "a", "b", "##[endgroup]", "##[group]Two", "c"))
	var kinds []string
	for _, o := range got {
		kinds = append(kinds, o[:1])
	}
	if want := []string{"l", "e", "g", "l"}; !slices.Equal(kinds, want) {
		t.Fatalf("operations are %q, want %q", kinds, want)
	}
	if strings.Count(got[0], "<div") != 2 || !strings.Contains(got[2], "<summary") || !strings.Contains(got[3], `id="L7"`) {
		t.Errorf("operations are %q", got)
	}
}

// Whatever a job prints, the page has elements of its own only, whole ones, and
// loses no letter of it.
func FuzzLines(f *testing.F) {
	for _, seed := range []string{
		"plain", "\x1b[31mred\x1b[0m", "##[group]a\nb\n##[endgroup]\nc", "##[error]<script>alert(1)</script>", "\x1b[38;5;1;48;2;1;2;3;7mx",
		"\x1b]8;;javascript:x\x1b\\y", "\x1b[31", "\u202e\xff\x00", `"><img src=x onerror=y>`, "##[group]\n##[group]\n##[endgroup]", "\x1b[99999999999999999999m", "\x1bP\x1b[31m",
	} {
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, text string, open bool) {
		log := lines(1, open, strings.Split(text, "\n")...)
		checkMarkup(t, statuspage.Lines(log))
		for _, o := range statuspage.Operations(log) {
			checkMarkup(t, o[1:])
		}
		if letters := keep(text); !strings.Contains(text, "\x1b") && !strings.Contains(text, "##[") && !strings.ContainsAny(text, "\u202e\u2066") {
			var shown strings.Builder
			shown.WriteString(keep(statuspage.Text(strings.ReplaceAll(text, "&", ""))))
			if strings.Count(shown.String(), "q") != strings.Count(letters, "q") {
				t.Errorf("%q is shown as %q", text, shown.String())
			}
		}
	})
}

func keep(text string) string {
	return strings.Map(func(r rune) rune {
		if r == 'q' {
			return r
		}
		return -1
	}, strings.ReplaceAll(text, "&quot;", ""))
}

// checkMarkup fails when text has an element or an attribute that the page does
// not make, or one that does not end.
func checkMarkup(t *testing.T, text string) {
	t.Helper()
	allowed := map[string][]string{"div": {"class", "id"}, "a": {"tabindex", "href"}, "span": {"class"}, "b": {"class"}, "details": {"open", "class"}, "summary": {"class", "id"}}
	var open []string
	z := html.NewTokenizer(strings.NewReader(text))
	for {
		switch kind := z.Next(); kind {
		case html.ErrorToken:
			if len(open) > 0 {
				t.Errorf("%q are open at the end of %q", open, text)
			}
			return
		case html.StartTagToken:
			token := z.Token()
			attributes, ok := allowed[token.Data]
			if !ok {
				t.Fatalf("there is a <%s> in %q", token.Data, text)
			}
			for _, a := range token.Attr {
				if !slices.Contains(attributes, a.Key) || a.Key == "href" && !strings.HasPrefix(a.Val, "#L") {
					t.Fatalf("there is %s=%q in %q", a.Key, a.Val, text)
				}
			}
			open = append(open, token.Data)
		case html.EndTagToken:
			if token := z.Token(); len(open) == 0 || open[len(open)-1] != token.Data {
				t.Fatalf("</%s> ends %q in %q", token.Data, open, text)
			}
			open = open[:len(open)-1]
		case html.SelfClosingTagToken, html.CommentToken, html.DoctypeToken:
			t.Fatalf("there is a %s in %q", kind, text)
		case html.TextToken:
			if strings.ContainsAny(z.Token().Data, "\x1b\x00\u202e") {
				t.Fatalf("a control is left in %q", text)
			}
		}
	}
}
