package integration_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/test/rig"
	"github.com/dockless-ci/dockless/test/stage"
)

// watched is a job with everything that the status page shows. It goes on until a
// file is there.
const watched = `resources:
  containers:
  - container: cache
    image: redis:7
    ports: ["6379"]
    options: --health-cmd "redis-cli ping" --health-interval 1s
services: {cache: cache}
variables:
- {name: color, value: red}
steps:
- checkout: none
- bash: echo "##vso[task.setvariable variable=key;issecret=true]s3cret-of-the-page"
  displayName: Make a secret
- bash: |
    printf 'FROM busybox AS base\nRUN echo base > /base\nFROM base\nARG COLOR\nRUN sleep 1; echo $COLOR > /color\nCOPY file /file\nRUN cat /file /color > /both\n' > Dockerfile
    echo one > file
  displayName: Write a Dockerfile
- task: Docker@2
  displayName: Build
  inputs: {command: build, repository: team/page, tags: one, Dockerfile: Dockerfile, arguments: --build-arg COLOR=red}
- bash: echo two > file
  displayName: Change a file
- task: Docker@2
  displayName: Build again
  inputs: {command: build, repository: team/page, tags: two, Dockerfile: Dockerfile, arguments: --build-arg COLOR=red}
- bash: |
    echo "##[group]Restore packages"
    for i in $(seq 30); do echo "package $i restored"; done
    echo "##[endgroup]"
    echo "##[group]Compile"
    echo "##[error]main.c:7: expected ';'"
    echo "##[endgroup]"
    echo "##[command]make all"
    echo "##[section]Tests"
    printf '\033[32m✓ passed\033[0m \033[1;31m✗ failed\033[0m \033[33mskipped\033[0m \033[44;97m on blue \033[0m \033[38;5;208morange\033[0m\n'
    printf '\033]0;a title\007\033[2Kno title\n'
    echo '<script>document.title="owned"</script><img src=x onerror=alert(1)>'
    echo "the key is $KEY"
    echo "##vso[task.logissue type=warning;sourcepath=main.c;linenumber=7]unused variable"
    exit 1
  displayName: Colours and folds
  continueOnError: true
  env: {KEY: $(key)}
- bash: |
    echo "##[group]What goes on"
    n=0
    while [ ! -e $(proceed) ]; do n=$((n+1)); printf '\033[36mtick\033[0m %d\n' $n; sleep 0.2; done
    echo "##[endgroup]"
    echo "released"
  displayName: Run until told
`

// statusPage waits for the address that an agent logs.
func statusPage(t *testing.T, a *stage.Program) string {
	t.Helper()
	address := ""
	eventually(t, "the agent says where its page is", time.Minute, func() bool {
		text, err := os.ReadFile(a.Log)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var entry struct{ Msg, Address string }
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "serving metrics" {
				address = "http://" + entry.Address
			}
		}
		return address != ""
	})
	return address
}

// screenshots is where pictures are kept.
func screenshots(t *testing.T) string {
	t.Helper()
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, ".build", "screenshots")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// looks are those whom the page is shown to.
var looks = map[string]rig.Look{
	"wide-light":          {Width: 1280, Height: 900},
	"wide-dark":           {Width: 1280, Height: 900, Dark: true, Still: true},
	"phone-light":         {Width: 390, Height: 844},
	"phone-dark":          {Width: 390, Height: 844, Dark: true},
	"wide-light-noscript": {Width: 1280, Height: 900, NoScript: true},
	"phone-dark-noscript": {Width: 390, Height: 844, NoScript: true, Dark: true},
	"narrow-light-zoomed": {Width: 320, Height: 640}, // 1280 at 400 %, WCAG 1.4.10
}

// browse opens a tab and visits an address.
func browse(t *testing.T, b *rig.Browser, l rig.Look, address string) *rig.Tab {
	t.Helper()
	tab, err := b.Open(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	if err := tab.Visit(t.Context(), address); err != nil {
		t.Fatal(err)
	}
	return tab
}

// ask evaluates an expression.
func ask[T any](t *testing.T, tab *rig.Tab, expression string) T {
	t.Helper()
	var to T
	if err := tab.Ask(t.Context(), expression, &to); err != nil {
		t.Fatal(err)
	}
	return to
}

func TestTheStatusPageShowsWhatAnAgentDoes(t *testing.T) {
	browser := rig.NeedBrowser(t)
	s := openStage(t, stage.Options{})
	a := startAgent(t, s, stage.AgentOptions{Name: "page", Env: []string{"DOCKLESS_HTTP_ADDR=127.0.0.1:0"}})
	address := statusPage(t, a)
	proceed := filepath.Join(s.Dir, "proceed")
	j := queue(t, s, strings.ReplaceAll(watched, "$(proceed)", proceed), "", nil)
	release := func() { _ = os.WriteFile(proceed, nil, 0o600) }
	t.Cleanup(release)

	live := browse(t, browser, rig.Look{Width: 1280, Height: 900}, address+"/")
	eventually(t, "the page shows the last step running", jobTimeout, func() bool {
		return ask[bool](t, live, `document.querySelector("#running").innerText.includes("tick 3")`)
	})
	home := ask[string](t, live, "document.body.innerText")
	for _, want := range []string{"Agent page", "busy", "Live 6 slots: poll ", "poll", "podman", "cache", "healthy", "Run until told"} {
		if !strings.Contains(home, want) {
			t.Errorf("the overview lacks %q:\n%s", want, home)
		}
	}
	page := ask[string](t, live, `document.querySelector(".now h2 a").href`)
	step := ask[string](t, live, `document.querySelector(".now a[href*='/log/']").href`)
	steps := browse(t, browser, looks["wide-light"], page)
	broken := ask[string](t, steps, `[...document.querySelectorAll(".steps a")].find(a => a.innerText === "Colours and folds").href`)
	text := ask[string](t, steps, "document.body.innerText")
	for _, want := range []string{"succeeded with issues", "unused variable", "2 of 4 steps cached", "RUN cat /file /color", "rebuilt", "cached", "changed"} {
		if !strings.Contains(text, want) {
			t.Errorf("the job's page lacks %q:\n%s", want, text)
		}
	}
	reading := browse(t, browser, looks["wide-light"], broken)
	checkLog(t, reading)
	checkKeyboard(t, reading)

	pages := map[string]string{"overview": address + "/", "job": page, "log": broken, "live": step, "jobs": address + "/jobs", "missing": address + "/jobs/1", "emulator": s.URL + "/"}
	changing := []string{"overview", "job", "live", "jobs", "emulator"} // pages that will
	dir := screenshots(t)
	for name, l := range looks {
		for which, at := range pages {
			tab := browse(t, browser, l, at)
			again := ask[bool](t, tab, reloads)
			if again != (l.NoScript && slices.Contains(changing, which)) {
				t.Errorf("%s of %s loads itself again: %t", which, name, again)
			}
			if again { // below, it might in the middle of a look
				held := ask[string](t, tab, `document.querySelector("noscript a").href`)
				if err := tab.Close(t.Context()); err != nil {
					t.Error(err)
				}
				tab = browse(t, browser, l, held)
				if ask[bool](t, tab, reloads) {
					t.Errorf("%s of %s loads itself again at %s", which, name, held)
				}
			}
			if wide := ask[int](t, tab, "document.documentElement.scrollWidth"); wide > l.Width {
				t.Errorf("%s of %s is %d wide, on a screen of %d", which, name, wide, l.Width)
			}
			if low := ask[[]string](t, tab, contrasts); len(low) > 0 {
				t.Errorf("%s of %s: text that is hard to read:\n%s", which, name, strings.Join(low, "\n"))
			}
			if moving := ask[int](t, tab, "document.getAnimations().length"); l.Still && moving > 0 {
				t.Errorf("%s of %s has %d animations for somebody who wants none", which, name, moving)
			}
			if wrong := ask[[]string](t, tab, structure); len(wrong) > 0 {
				t.Errorf("%s of %s: %q", which, name, wrong)
			}
			if err := tab.Screenshot(t.Context(), filepath.Join(dir, which+"-"+name+".png")); err != nil {
				t.Error(err)
			}
			problems := slices.DeleteFunc(tab.Problems(), func(p string) bool { return which == "missing" && strings.Contains(p, "404") })
			if len(problems) > 0 {
				t.Errorf("the console of %s of %s says %q", which, name, problems)
			}
			if err := tab.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}

	// Somebody follows the log while it goes on, and the page turns when the job ends.
	follow := browse(t, browser, looks["wide-light"], step)
	ask[any](t, live, "window.here = 1")
	before := ask[int](t, follow, `document.querySelectorAll(".l").length`)
	eventually(t, "new lines are appended, into the open group", 20*time.Second, func() bool {
		return ask[int](t, follow, `document.querySelectorAll("details.last .l").length`) > before
	})
	if last, said := ask[string](t, follow, `[...document.querySelectorAll(".l > a")].at(-1).innerText`), ask[string](t, follow, `document.querySelector("[data-last]").innerText`); said < last && len(said) <= len(last) {
		t.Errorf("the page says that the last line is %s, and it is %s", said, last)
	}
	release()
	finish(t, s, j)
	eventually(t, "the last line is appended", 20*time.Second, func() bool {
		return ask[bool](t, follow, `document.querySelector("#log > .l:last-child")?.innerText.includes("Finishing")`)
	})
	eventually(t, "the overview says that nothing runs, without having been loaded again", 20*time.Second, func() bool {
		return ask[bool](t, live, `window.here === 1 && document.body.innerText.includes("No job is running.")`)
	})
	if text := ask[string](t, browse(t, browser, looks["wide-light"], s.URL+"/jobs/"+string(j.ID)), "document.body.innerText"); !strings.Contains(text, "succeeded with issues") || !strings.Contains(text, "2 of 4 steps cached") {
		t.Errorf("the emulator shows of the job:\n%s", text)
	}
}

// checkKeyboard goes through a page without a mouse.
func checkKeyboard(t *testing.T, tab *rig.Tab) {
	t.Helper()
	press := func(key string, code int) {
		t.Helper()
		if err := tab.Press(t.Context(), key, code); err != nil {
			t.Fatal(err)
		}
	}
	press("Tab", 9)
	if got := ask[string](t, tab, "document.activeElement.innerText"); got != "Skip to the content" {
		t.Errorf("the first thing on the keyboard's way is %q", got)
	}
	press("Enter", 13)
	if got := ask[string](t, tab, "document.activeElement.id"); got != "main" {
		t.Errorf("skipping to the content leads to %q", got)
	}
	ask[any](t, tab, `document.querySelector("summary").focus()`)
	press("Enter", 13)
	if !ask[bool](t, tab, `document.querySelector("details").open`) {
		t.Error("Enter does not unfold a group")
	}
}

// checkLog looks at the log of the step with everything in it.
func checkLog(t *testing.T, tab *rig.Tab) {
	t.Helper()
	for what, c := range map[string]struct{ expression, want string }{
		"the title":             {`document.title.split(" · ")[0]`, "Colours and folds"},
		"markup":                {`[...document.querySelectorAll(".l")].some(l => l.innerText.includes("<script>"))`, "true"},
		"the secret":            {`document.body.innerText.includes("the key is ***")`, "true"},
		"a folded group":        {`document.querySelector("details").open`, "false"},
		"a group with an error": {`document.querySelectorAll("details")[1].open`, "true"},
		"green":                 {`document.querySelector(".f2").innerText`, "✓ passed"},
		"bold red":              {`document.querySelector(".f1.b").innerText`, "✗ failed"},
		"white on blue":         {`document.querySelector(".g4").innerText.trim()`, "on blue"},
		"a title of a terminal": {`[...document.querySelectorAll(".l")].some(l => l.innerText.endsWith("no title") && !l.innerText.includes("a title"))`, "true"},
	} {
		if got := fmt.Sprint(ask[any](t, tab, c.expression)); got != c.want {
			t.Errorf("%s: %s = %q, want %q", what, c.expression, got, c.want)
		}
	}
}

// reloads tells whether a page loads itself again.
const reloads = `document.querySelector("meta[http-equiv=refresh]") !== null`

// contrasts lists texts whose contrast with what is behind them is below 4.5
// (WCAG 1.4.3), as they are drawn.
const contrasts = `(() => {
  const parse = (c) => (c.match(/[\d.]+/g) || []).map(Number);
  const luminance = (c) => { const [r, g, b] = c.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length === 3 || c[3] === 1) return c.slice(0, 3); } return [255, 255, 255]; };
  const found = new Set();
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const text = walk.currentNode.textContent.trim(), e = walk.currentNode.parentElement;
    if (!text || !e.checkVisibility() || e.closest(".hide, .skip") || ["SCRIPT", "NOSCRIPT", "STYLE"].includes(e.tagName)) continue;
    const a = luminance(parse(getComputedStyle(e).color).slice(0, 3)), b = luminance(behind(e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.add(ratio.toFixed(2) + " " + e.className + " " + text.slice(0, 40));
  }
  return [...found];
})()`

// structure lists what people who do not see the page would miss.
const structure = `(() => {
  const wrong = [];
  const need = (what, ok) => { if (!ok) wrong.push(what); };
  need("lang", document.documentElement.lang === "en");
  need("one main", document.querySelectorAll("main").length === 1);
  need("one h1", document.querySelectorAll("h1").length === 1);
  need("banner, nav and contentinfo", document.querySelector("header nav[aria-label]") && document.querySelector("footer"));
  need("skip link", document.querySelector("a.skip")?.getAttribute("href") === "#main");
  need("a name for each section", [...document.querySelectorAll("section, nav")].every((s) => s.ariaLabel || document.getElementById(s.getAttribute("aria-labelledby"))));
  need("names of links", [...document.querySelectorAll("a")].every((a) => a.textContent.trim()));
  need("ids that are there once", new Set([...document.querySelectorAll("[id]")].map((e) => e.id)).size === document.querySelectorAll("[id]").length);
  need("scopes of headers", [...document.querySelectorAll("th")].every((h) => h.scope));
  let level = 0;
  for (const h of document.querySelectorAll("h1, h2, h3")) { const l = Number(h.tagName[1]); need("headings in order: " + h.textContent, l <= level + 1); level = l; }
  const log = document.getElementById("log");
  if (log) need("a polite log", log.getAttribute("role") === "log" && log.ariaLive === "polite" && log.ariaLabel && log.tabIndex === 0);
  for (const e of document.querySelectorAll("[onclick], [style], style, script:not([src])")) wrong.push("inline: " + e.outerHTML.slice(0, 80));
  return wrong;
})()`
