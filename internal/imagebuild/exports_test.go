package imagebuild

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/buildkit/client"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/exportqueue"
	"github.com/dockless-ci/dockless/internal/sharedstate"
)

func TestARegistrysFormIsKeptForOtherProcessesAndAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, ctx := t.TempDir(), t.Context()
		if err := newExports(dir).forms.learn(ctx, "reg:5000", buildcache.FormGzip, "it said 415"); err != nil {
			t.Fatal(err)
		}
		other := newExports(dir).forms
		for _, step := range []struct {
			after time.Duration
			known bool
		}{{0, true}, {refusedFor - time.Second, true}, {2 * time.Second, false}} {
			time.Sleep(step.after)
			form, known, err := other.of(ctx, "reg:5000")
			if want := buildcache.FormGzip; known != step.known || err != nil || known && form != want || !known && form != buildcache.FormZstd {
				t.Errorf("of() after %s more = %s, %t, %v, want known %t", step.after, form, known, err, step.known)
			}
		}
		if err := other.learn(ctx, "good", buildcache.FormZstd, ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * refusedFor)
		if form, known, err := other.of(ctx, "good"); form != buildcache.FormZstd || !known || err != nil {
			t.Errorf("of() of a registry that takes the best form = %s, %t, %v, want it for good", form, known, err)
		}
		for i := range 2 * maxRegistries {
			time.Sleep(time.Second)
			if err := other.learn(ctx, "r"+string(rune('a'+i)), buildcache.FormZstd, ""); err != nil {
				t.Fatal(err)
			}
		}
		if all := valueOf(t, &other.Value); len(all) != maxRegistries || all["good"].Form != 0 {
			t.Errorf("%d registries are remembered, want the last %d", len(all), maxRegistries)
		}
		if err := other.forget(ctx, "ra"); err != nil {
			t.Fatal(err)
		}
	})
}

// valueOf is what is remembered.
func valueOf[T any](t *testing.T, v *sharedstate.Value[T]) (now T) {
	t.Helper()
	if err := v.Change(t.Context(), func(all *T) { now = *all }); err != nil {
		t.Fatal(err)
	}
	return now
}

func TestStateThatCannotBeUsedIsAFreshStart(t *testing.T) {
	dir := t.TempDir()
	e := newExports(dir)
	for _, broken := range []string{"", "{", "[1]", `{"reg": {"form": 99, "since": "2026-01-01T00:00:00Z"}}`, `null`} {
		if err := os.WriteFile(e.forms.Path, []byte(broken), 0o600); err != nil {
			t.Fatal(err)
		}
		if form, known, err := e.forms.of(t.Context(), "reg"); form != 0 || known || err != nil {
			t.Errorf("of() with the file %q = %s, %t, %v, want nothing known", broken, form, known, err)
		}
	}
	// Where nothing can be written, this process still knows.
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	lone := newExports(filepath.Join(file, "below")).forms
	if err := lone.learn(t.Context(), "reg", buildcache.FormGzip, ""); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("learn() without a place to write = %v, want an error that names it", err)
	}
	if form, known, _ := lone.of(t.Context(), "reg"); form != buildcache.FormGzip || !known {
		t.Errorf("of() = %s, %t, want what was learned in this process", form, known)
	}
}

func FuzzLedger(f *testing.F) {
	for _, seed := range []string{"", "null", `{"c:main":null}`, `{"c:main":{"Yields":[{"Took":1}],"Skipped":-1,"Steps":{"a":-5}}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		l := &ledger{}
		if err := l.Change(t.Context(), func(all *map[string]*scopeAccount) {
			if json.Unmarshal(text, all) != nil {
				*all = nil // as when it is read from a file
			}
		}); err != nil {
			t.Fatal(err)
		}
		step := []Step{{Name: "[1/1] RUN x", Cached: true}}
		if _, err := l.enter(t.Context(), "c:main", []string{"c:main"}, step, 0); err != nil {
			t.Error(err)
		}
		if err := l.exported(t.Context(), "c:main", time.Second, step); err != nil {
			t.Error(err)
		}
	})
}

func TestAnExportThatSparesNothingIsSkippedUntilOneWould(t *testing.T) {
	l := newExports(t.TempDir()).ledger
	build := func(imports []string, steps ...Step) string {
		t.Helper()
		skip, err := l.enter(t.Context(), "c:main", imports, steps, 100*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if skip == "" {
			if err := l.exported(t.Context(), "c:main", 10*time.Second, steps); err != nil {
				t.Fatal(err)
			}
		}
		return skip
	}
	ran := func(name string, took time.Duration) Step { return Step{Name: name, Ran: true, Duration: took} }
	cached := func(name string) Step { return Step{Name: name, Cached: true} }
	own := []string{"c:main"}
	if got := build(nil, ran("[1/2] RUN deps", 2*time.Second), ran("[2/2] RUN build", time.Second)); got != "" {
		t.Fatalf("the first export is skipped: %s", got)
	}
	for range 2 {
		if got := build(own, cached("[1/2] RUN deps"), ran("[2/2] RUN build", time.Second)); got != "" {
			t.Fatalf("an export is skipped too early: %s", got)
		}
	}
	// Three exports of 10 s; imports spared three builds 2 s each, and cost 0.1 s.
	if got, want := build(own, cached("[1/2] RUN deps"), ran("[2/2] RUN build", time.Second)), "the last 3 exports took 30 s and spared 5.7 s"; got != want {
		t.Fatalf("skip = %q, want %q", got, want)
	}
	if got := build(own, cached("[1/2] RUN deps"), ran("[2/2] RUN build", time.Minute)); got != "" {
		t.Fatalf("the export of a long step is skipped: %s", got)
	}
	// It came from the cache: it has paid for all of them.
	if got := build(own, cached("[1/2] RUN deps"), cached("[2/2] RUN build")); got != "" {
		t.Errorf("an export is skipped after a minute was spared: %s", got)
	}
	text, err := os.ReadFile(l.Path)
	if err != nil || strings.Contains(string(text), "deps") {
		t.Errorf("the ledger is %s, %v, want no text of a Dockerfile in it", text, err)
	}
}

func TestTheLedgerStaysSmall(t *testing.T) {
	l := &ledger{}
	var steps []Step
	for i := range 2 * maxSteps {
		steps = append(steps, Step{Name: strings.Repeat("x", i+1), Ran: true, Duration: time.Duration(i) * time.Second})
	}
	for i := range 2 * maxScopes {
		if _, err := l.enter(t.Context(), strings.Repeat("r", i+1), nil, steps, 0); err != nil {
			t.Fatal(err)
		}
	}
	all := valueOf(t, &l.Value)
	if len(all) != maxScopes {
		t.Errorf("%d scopes are remembered, want %d", len(all), maxScopes)
	}
	for ref, account := range all {
		if len(account.Steps) != maxSteps {
			t.Errorf("%d steps of %d are remembered, want %d", len(account.Steps), len(ref), maxSteps)
			break
		}
	}
}

func TestClosingWaitsForExportsAndNamesThoseItCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newExports("")
		start := func(ref string, takes time.Duration) *export {
			ctx, cancel := context.WithCancelCause(t.Context())
			x := &export{out: CacheExport{Ref: ref}, cancel: cancel, done: make(chan struct{})}
			go func() {
				defer close(x.done)
				defer e.ended(x)
				select {
				case <-time.After(takes):
				case <-ctx.Done():
				}
			}()
			return x
		}
		quick, slow := start("c:quick", time.Second), start("c:slow", time.Hour)
		if !e.keep(quick) || !e.keep(slow) {
			t.Fatal("keep() refused one of two exports")
		}
		why := errors.New("the pod goes away")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, why)
		defer cancel()
		begun := time.Now()
		err := e.close(ctx)
		if !errors.Is(err, why) || !strings.Contains(err.Error(), "c:slow") || strings.Contains(err.Error(), "c:quick") {
			t.Errorf("close() = %v, want it to name c:slow and why", err)
		}
		if took := time.Since(begun); took != time.Minute {
			t.Errorf("close() took %s, want the minute it was given", took)
		}
		if late := start("c:late", 0); e.keep(late) {
			t.Error("keep() took an export after close")
		}
		if err := e.close(t.Context()); err != nil {
			t.Errorf("closing again = %v", err)
		}
	})
}

func TestOnlySoManyExportsOutliveTheirBuilds(t *testing.T) {
	e := newExports("")
	kept := 0
	for range 2 * maxBackground {
		if e.keep(&export{}) {
			kept++
		}
	}
	over := &export{}
	e.ended(over)
	if kept != maxBackground || e.keep(over) {
		t.Errorf("keep() took %d exports, and one that has ended, want %d", kept, maxBackground)
	}
}

func TestARefusalOfTheFormIsToldFromOtherRefusals(t *testing.T) {
	const blob = `error writing manifest blob: `
	const put = blob + `failed commit on ref "sha256:46": unexpected status from PUT request to https://reg/v2/c/manifests/main: `
	for text, want := range map[string]bool{
		put + "400 Bad Request":                                          true,
		put + "415 Unsupported Media Type":                               true,
		put + "404 Not Found":                                            true,
		blob + "unsupported: manifest invalid":                           true,
		blob + "unknown: manifest invalid":                               true,
		blob + "unknown: unknown media type x":                           true,
		blob + "errors: unknown: manifest invalid unknown: again":        true,
		blob + "unknown: The image tag 'main' already exists, immutable": false,
		blob + "unknown: something broke":                                false,
		blob + "denied: quota for manifests exceeded":                    false,
		put + "401 Unauthorized":                                         false,
		put + "403 Forbidden":                                            false,
		put + "429 Too Many Requests":                                    false,
		put + "500 Internal Server Error":                                false,
		"error writing layer blob: unexpected status: 400 Bad Request":   false,
		"dial tcp 10.0.0.1:443: connection refused":                      false,
	} {
		if got := isRefusal(errors.New(text)); got != want {
			t.Errorf("isRefusal(%q) = %t, want %t", text, got, want)
		}
	}
}

func TestStepsThatUseCacheMountsAreCounted(t *testing.T) {
	for name, want := range map[string]bool{
		"[build 2/4] RUN --mount=type=cache,target=/cache go build":                                    true,
		"[linux/arm64 build 2/4] RUN --network=none --mount=target=/c,type=cache --mount=type=tmpfs x": true,
		"[2/4] RUN --mount=type=secret,id=a cat":                                                       false,
		"[2/4] RUN echo --mount=type=cache":                                                            false,
		"[2/4] COPY --mount=type=cache a b":                                                            false,
		"[2/4] run --mount=type=cache,target=/c x":                                                     true,
		"[2/4] ": false,
	} {
		if got := mountsCache(name); got != want {
			t.Errorf("mountsCache(%q) = %t, want %t", name, got, want)
		}
	}
	r := &Result{Node: "dockless0", Export: &CacheExport{Ref: "c:main", Skipped: "it is dear"}, Steps: []Step{
		{Name: "[1/3] RUN --mount=type=cache,target=/c x", Ran: true},
		{Name: "[2/3] RUN --mount=type=cache,target=/c y", Ran: true},
		{Name: "[3/3] RUN --mount=type=cache,target=/c z", Cached: true},
	}}
	want := "The build cache was not exported: it is dear\n2 steps use cache mounts, which stay on the builder dockless0 and are not part of the registry cache"
	if got := strings.Join(r.Notes(), "\n"); got != want {
		t.Errorf("Notes() = %q, want %q", got, want)
	}
	if got := (&Result{Steps: r.Steps}).Notes(); len(got) != 0 {
		t.Errorf("Notes() without a registry cache = %q, want none", got)
	}
}

func TestAnExportGetsTheSecretsOfSourcesOnly(t *testing.T) {
	all := map[string][]byte{"token": nil, "GIT_AUTH_TOKEN": nil, "GIT_AUTH_HEADER.github.com": nil, "HTTP_AUTH_HEADER_example.com": nil, "MY_GIT_AUTH_TOKEN": nil}
	got := slices.Sorted(maps.Keys(sourceSecrets(all)))
	if want := []string{"GIT_AUTH_HEADER.github.com", "GIT_AUTH_TOKEN", "HTTP_AUTH_HEADER_example.com"}; !slices.Equal(got, want) || len(all) != 5 {
		t.Errorf("sourceSecrets() = %q, want %q", got, want)
	}
}

func TestAnExportThatFailsSaysNothingOfTheNext(t *testing.T) {
	c, err := client.New(t.Context(), "unix:///nowhere")
	if err != nil {
		t.Fatal(err)
	}
	var seen []Event
	running, most := 0, 0
	b := New(&buildxsetup.Builder{}, slog.New(slog.DiscardHandler), Options{
		Observe: func(e Event) { seen = append(seen, e) },
		Queue:   func(delta int) { running += delta; most = max(most, running) },
	})
	steps := []Step{{Name: "[2/2] RUN build", Ran: true, Duration: time.Second}}
	if _, err := b.exports.ledger.enter(t.Context(), "reg/c:main", nil, steps, 0); err != nil {
		t.Fatal(err)
	}
	for range exportqueue.AtATime {
		if _, err := b.exports.queue.Take(t.Context(), "reg", nil); err != nil {
			t.Fatal(err)
		}
	}
	x := &export{
		s: &solver{b: b, client: c}, registry: "reg", behind: true, steps: steps,
		longest: time.Minute, queue: time.Millisecond, out: CacheExport{Ref: "reg/c:main"},
	}
	x.run(t.Context(), time.Now())
	if x.out.Err == nil || len(seen) != 1 || seen[0].Export.Waited <= 0 {
		t.Errorf("the export ended with %v after %s", x.out.Err, x.out.Waited)
	}
	if most != 1 || running != 0 {
		t.Errorf("%d exports were in the queue, %d are after its end", most, running)
	}
	if account := valueOf(t, &b.exports.ledger.Value)["reg/c:main"]; len(account.Yields) != 0 || account.Longest != 0 {
		t.Errorf("the account has %+v", account.History)
	}
}
