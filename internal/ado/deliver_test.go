package ado_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/job"
)

// Each case writes three pages of a record. What goes wrong happens to the first
// two requests of a kind, and to the second page's as well: there is a page
// before it then that must not be taken for its own.
func TestEveryLineIsStoredOnceWhateverHappensToItsRequests(t *testing.T) {
	for _, kind := range []string{creating, appending} {
		for _, fault := range []string{resetBefore, resetAfter, unavailable, gatewayAfter, silent, garbled, half, expired} {
			if kind == creating && fault == half {
				continue // a log is created or it is not
			}
			for name, hit := range map[string]func(n int) bool{
				"the first":                func(n int) bool { return n == 1 },
				"the first two":            func(n int) bool { return n <= 2 },
				"one of the second page's": func(n int) bool { return n == 3 },
			} {
				t.Run(kind+" "+name+": "+fault, func(t *testing.T) {
					t.Parallel()
					store, srv := newLogStore(t, func(k string, n int) string {
						if k == kind && hit(n) {
							return fault
						}
						return ""
					})
					report(t, srv.URL, 3)
					store.wantLines(t, "S", 60)
					store.wantLines(t, "J", 60)
				})
			}
		}
	}
}

// report runs a job with a step of 20 lines for each page, and completes it.
func report(t *testing.T, url string, pages int) {
	t.Helper()
	m := message(url)
	o := options(t)
	o.Timeout = 300 * time.Millisecond // for the answers that never come
	client, err := ado.NewJobClient(m, o)
	if err != nil {
		t.Fatal(err)
	}
	r := openReporter(t, client, m)
	for page := range pages {
		for i := range 20 {
			r.WriteLine("S", fmt.Appendf(nil, "line %d", 20*page+i+1))
		}
		r.UpdateRecord(job.Record{ID: "S", State: job.Completed}) // seals the page
	}
	if err := r.Complete(t.Context(), job.Succeeded); err != nil {
		t.Errorf("Complete = %v", err)
	}
}

func TestAListThatCannotBeReadIsAskedForAgain(t *testing.T) {
	t.Parallel()
	store, srv := newLogStore(t, func(kind string, n int) string {
		switch {
		case kind == appending && n == 1:
			return resetAfter
		case kind == listing && n == 1:
			return unavailable
		case kind == listing && n == 2:
			return garbled
		}
		return ""
	})
	report(t, srv.URL, 1)
	store.wantLines(t, "S", 20)
	store.wantLines(t, "J", 20)
	if n := store.counted(listing); n != 3 {
		t.Errorf("the list was asked for %d times, want three", n)
	}
}

// Better a line twice than none.
func TestAServerWithoutAListGetsThePageAgain(t *testing.T) {
	for _, status := range []int{http.StatusNotFound, http.StatusMethodNotAllowed} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			t.Parallel()
			store, srv := newLogStore(t, func(kind string, n int) string {
				switch {
				case kind == appending && n == 1:
					return resetAfter
				case kind == listing:
					return fmt.Sprint(status)
				}
				return ""
			})
			report(t, srv.URL, 1)
			if got := len(store.lines("S")) + len(store.lines("J")); got != 60 {
				t.Errorf("%d lines are stored, want 40 and one page of 20 twice", got)
			}
		})
	}
}

func TestNobodyIsAskedWhenNothingWentWrong(t *testing.T) {
	store, srv := newLogStore(t, func(string, int) string { return "" })
	report(t, srv.URL, 3)
	if n := store.counted(listing); n != 0 {
		t.Errorf("the list was asked for %d times, want never", n)
	}
	store.wantLines(t, "S", 60)
}

func TestWhatTheServerRefusesForGoodIsDropped(t *testing.T) {
	for _, c := range []struct {
		status int
		key    ado.TypeKey
		want   int // attempts to append, of two pages
	}{
		{http.StatusBadRequest, "", 2},
		{http.StatusRequestEntityTooLarge, "", 2},
		{http.StatusConflict, ado.KeyPlanTerminated, 2},
		{http.StatusForbidden, ado.KeyPlanSecurity, 2},
	} {
		t.Run(fmt.Sprint(c.status, c.key), func(t *testing.T) {
			store, srv := newLogStore(t, func(string, int) string { return "" })
			serve := srv.handle
			appends := 0
			srv.handle = func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost && len(r.URL.Path) > len(planPath+"/logs/") && r.URL.Path[:len(planPath)+6] == planPath+"/logs/" {
					store.mu.Lock()
					appends++
					store.mu.Unlock()
					refuse(w, c.status, c.key)
					return
				}
				serve(w, r)
			}
			report(t, srv.URL, 1)
			if appends != c.want || store.counted(listing) != 0 {
				t.Errorf("%d attempts and %d lists, want %d and none", appends, store.counted(listing), c.want)
			}
		})
	}
}
