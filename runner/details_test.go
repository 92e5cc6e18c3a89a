package runner_test

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/dockless-ci/dockless/internal/job"
)

const (
	detailA = "11111111-1111-4111-8111-111111111111"
	detailB = "22222222-2222-4222-8222-222222222222"
)

// detailsOf returns the records below the steps of a job, by id.
func detailsOf(r *recorder) map[job.RecordID]job.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[job.RecordID]job.Record)
	for _, rec := range r.records {
		if rec.Timeline != "" {
			out[rec.ID] = rec
		}
	}
	return out
}

func TestAStepReportsATreeBelowItsRecord(t *testing.T) {
	step := script("tree", strings.Join([]string{
		"echo '##vso[task.logdetail id=" + detailA + ";name=outer;type=build;order=1]compiling'",
		"echo '##vso[task.logdetail id=" + detailB + ";parentid=" + detailA + ";name=inner;type=test;order=2;progress=30]'",
		"echo '##vso[task.logdetail id=" + detailB + ";progress=100;state=Completed;result=Failed]done'",
		"echo '##vso[task.logdetail id=" + detailB + ";state=Pending]too late'",
	}, "\n"))
	rec, out := run(t, config(t), message(step))
	if out.Result != job.Succeeded {
		t.Errorf("result %s, want succeeded: %q", out.Result, rec.log(t, "tree"))
	}
	all := detailsOf(rec)
	outer, inner := all[detailA], all[detailB]
	if own := rec.record(t, "tree").Details; own == nil || own.ID == "" || own.ID != outer.Timeline || own.ID != inner.Timeline {
		t.Errorf("the step's record names timeline %v; its records are in %q and %q", own, outer.Timeline, inner.Timeline)
	}
	if outer.Name != "outer" || outer.Type != "build" || outer.Order != 1 || outer.CurrentOperation != "compiling" || outer.StartTime == nil {
		t.Errorf("outer is %+v", outer)
	}
	if outer.State != job.Completed || outer.Result != job.Succeeded || outer.FinishTime == nil {
		t.Errorf("outer was left open and is %s, %s at the end, want it completed with the step's result", outer.State, outer.Result)
	}
	if inner.ParentID != detailA || inner.State != job.Completed || inner.Result != job.Failed || inner.PercentComplete != 100 || inner.FinishTime == nil {
		t.Errorf("inner is %+v", inner)
	}
}

func TestADetailThatCannotBeFailsTheStep(t *testing.T) {
	for name, c := range map[string]struct{ command, want string }{
		"without an id":           {"name=x;type=y", "the property id is missing"},
		"an id that is no GUID":   {"id=7;name=x;type=y", `the id "7" is no GUID`},
		"a new one without name":  {"id=" + detailA + ";type=y", "the property name is missing"},
		"a new one without type":  {"id=" + detailA + ";name=y", "the property type is missing"},
		"an unknown parent":       {"id=" + detailA + ";name=x;type=y;parentid=" + detailB, "the parent " + detailB + " is not known"},
		"a progress beyond 100":   {"id=" + detailA + ";name=x;type=y;progress=101", `the progress "101" cannot be used`},
		"a time that is none":     {"id=" + detailA + ";name=x;type=y;starttime=noon", `the starttime "noon" is no time`},
		"a result in lower case":  {"id=" + detailA + ";name=x;type=y;result=failed", `the result "failed" is not known`},
		"a parent that is itself": {"id=" + detailA + ";name=x;type=y;parentid=" + detailA, "the parent " + detailA + " is not known"},
		"an order that is a word": {"id=" + detailA + ";name=x;type=y;order=first", `the order "first" cannot be used`},
	} {
		t.Run(name, func(t *testing.T) {
			rec, out := run(t, config(t), message(script("bad", "echo '##vso[task.logdetail "+c.command+"]'")))
			if log := rec.log(t, "bad"); out.Result != job.Failed || !slices.ContainsFunc(log, func(l string) bool { return strings.Contains(l, c.want) }) {
				t.Errorf("result %s, log %q; want failed and %q", out.Result, log, c.want)
			}
			if made := detailsOf(rec); len(made) != 0 {
				t.Errorf("records %v were made", made)
			}
		})
	}
}

func TestTheTreeBelowAStepHasNoRing(t *testing.T) {
	step := script("ring", strings.Join([]string{
		"echo '##vso[task.logdetail id=" + detailA + ";name=top;type=t]'",
		"echo '##vso[task.logdetail id=" + detailB + ";parentid=" + detailA + ";name=below;type=t]'",
		"echo '##vso[task.logdetail id=" + detailA + ";parentid=" + detailB + "]'",
		"echo '##vso[task.logdetail id=" + detailA + ";parentid=" + detailA + "]'",
	}, "\n"))
	rec, _ := run(t, config(t), message(step))
	if got := detailsOf(rec)[detailA].ParentID; got != "" {
		t.Errorf("the top record has the parent %s", got)
	}
	var faults []string
	for _, i := range rec.record(t, "ring").Issues {
		faults = append(faults, i.Message)
	}
	if text := strings.Join(faults, "\n"); len(faults) != 2 || !strings.Contains(text, "the parent "+detailB+" is the record itself or below it") || !strings.Contains(text, "the parent "+detailA+" is the record itself or below it") {
		t.Errorf("issues %q, want a refusal of each", faults)
	}
}

// Thousands of records are kept until the step ends.
func TestTextsOfADetailAreCut(t *testing.T) {
	m := message(script("long", `long=$(printf 'ä%.0s' $(seq 2000))
echo "##vso[task.logdetail id=`+detailA+`;name=x$long;type=$long]x$long"
echo "##vso[task.logdetail id=`+detailB+`;name=$(printf 'n%.0s' $(seq 250))-hunter22-secret;type=t]"`))
	m.Variables["pw"] = job.Variable{Value: "hunter22-secret", IsSecret: true}
	rec, out := run(t, config(t), m)
	r := detailsOf(rec)[detailA]
	for what, c := range map[string]struct {
		got   string
		bytes int
	}{"name": {r.Name, 255}, "type": {r.Type, 256}, "operation": {r.CurrentOperation, 1023}} {
		if len(c.got) != c.bytes || !utf8.ValidString(c.got) {
			t.Errorf("the %s has %d bytes and is valid: %v; want %d of whole characters", what, len(c.got), utf8.ValidString(c.got), c.bytes)
		}
	}
	if b := detailsOf(rec)[detailB]; out.Result != job.Succeeded || !strings.HasSuffix(b.Name, "n-***") {
		t.Errorf("job %s; a name with a secret where it is cut is %q", out.Result, b.Name)
	}
}

func TestAServiceConnectionIsChangedForLaterSteps(t *testing.T) {
	const id = "33333333-3333-4333-8333-333333333333"
	m := message(
		script("first", "echo '##vso[task.setendpoint id="+id+";field=authParameter;key=password]n3w-passw0rd'\n"+
			"echo n3w-passw0rd"),
		script("second", "echo '##vso[task.setendpoint id=SystemVssConnection;field=url]https://evil.example'"),
		script("third", "echo '##vso[task.setendpoint id="+id+";field=color;key=k]red'"),
		script("fourth", "echo '##vso[task.setendpoint id="+id+";field=url]not an address'"),
	)
	for i := range m.Steps {
		m.Steps[i].Condition = "always()"
	}
	m.Resources.Endpoints = append(m.Resources.Endpoints, job.Endpoint{ID: id, Name: "registry", URL: "https://old.example", Authorization: job.Authorization{
		Scheme: "UsernamePassword", Parameters: map[string]string{"Password": "0ld-passw0rd"},
	}})
	rec, _ := run(t, config(t), m)
	if got := rec.log(t, "first"); rec.record(t, "first").Result != job.Succeeded || slices.ContainsFunc(got, func(l string) bool { return strings.Contains(l, "n3w-passw0rd") }) {
		t.Errorf("first: %s, log %q; want succeeded and the new password hidden", rec.record(t, "first").Result, got)
	}
	for name, want := range map[string]string{
		"second": "the system connection cannot be changed", "third": `the field "color" is none of`, "fourth": "the value is no absolute address",
	} {
		if got := rec.log(t, name); rec.record(t, name).Result != job.Failed || !slices.ContainsFunc(got, func(l string) bool { return strings.Contains(l, want) }) {
			t.Errorf("%s: %s, log %q; want failed and %q", name, rec.record(t, name).Result, got, want)
		}
	}
	if got := m.Resources.Endpoints[len(m.Resources.Endpoints)-1].Authorization.Parameters["Password"]; got != "0ld-passw0rd" {
		t.Errorf("the message of the caller was changed: its password is %q", got)
	}
}
