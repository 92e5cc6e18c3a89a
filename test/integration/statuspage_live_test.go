package integration_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/statuspage"
	"github.com/dockless-ci/dockless/test/rig"
)

// printing is a source with one job, whose one step prints.
type printing struct{ tail statuspage.Tail }

func (r *printing) Overview(context.Context, int) statuspage.Overview { return statuspage.Overview{} }

func (r *printing) Job(string) (statuspage.Job, bool) {
	step := statuspage.Step{ID: "s", Name: "Print", State: "inProgress", HasLog: true}
	return statuspage.Job{ID: "1", Name: "Job", State: "running", Steps: []statuspage.Step{step}}, true
}

func (r *printing) Log(_, _ string, from, most int) (statuspage.Log, bool) {
	return r.tail.Log(from, most, true), true
}

// print prints lines.
func (r *printing) print(first string, n int) {
	r.tail.Add([]byte(first))
	for i := range n {
		r.tail.Add(fmt.Appendf(nil, "line %d behind %s", i+1, first))
	}
}

func TestALiveLogInABrowserKeepsItsEnd(t *testing.T) {
	browser := rig.NeedBrowser(t)
	source := &printing{}
	source.print("##[group]One", 10)
	ended := make(chan struct{})
	server := httptest.NewServer(statuspage.New(source, statuspage.Config{Access: statuspage.Loopback}, ended))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(ended) })
	tab := browse(t, browser, rig.Look{Width: 1280, Height: 900}, server.URL+"/jobs/1")
	total := func() int {
		return ask[int](t, tab, `Number([...document.querySelectorAll(".l > a")].at(-1).innerText)`)
	}
	arrived := func() {
		t.Helper()
		want := source.tail.Log(0, 1, true).Total
		eventually(t, "the lines are appended", time.Minute, func() bool { return total() == want })
	}
	for i := range 3 { // in one group
		source.print(fmt.Sprint("more ", i), 800)
		arrived()
	}
	const (
		lines   = `document.querySelectorAll("#log .l").length`
		nodes   = `document.getElementById("log").childNodes.length + document.querySelector("#log details:last-of-type").childNodes.length`
		summary = `document.querySelector("#log details > summary:first-child")?.innerText ?? ""`
	)
	check := func(want string) {
		t.Helper()
		if n, all := ask[int](t, tab, lines), ask[int](t, tab, nodes); n != 1000 || all > 2100 {
			t.Errorf("%d lines are kept, as %d nodes, want 1000", n, all)
		}
		if got := ask[string](t, tab, summary); got != want {
			t.Errorf("the first group is %q, want %q", got, want)
		}
	}
	check("1\nOne")
	source.tail.Add([]byte("##[endgroup]"))
	source.print("##[group]Two", 500)
	arrived()
	check("1\nOne")
	source.print("more", 700)
	arrived()
	check("2416\nTwo")
	if problems := tab.Problems(); len(problems) > 0 {
		t.Errorf("the console says %q", problems)
	}
}
