package podmanrun

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

func TestLinesAreReadOnceOverStreams(t *testing.T) {
	const at = "2026-01-02T15:04:"
	log := []libpod.Line{ // of two runs, by a Podman that tells seconds
		{Stamp: at + "05Z", Text: "one", From: at + "05Z", Nth: 1},
		{Stamp: at + "06Z", Text: "two", From: at + "06Z", Nth: 1},
		{Stamp: at + "06Z", Text: "two", From: at + "06Z", Nth: 2},
		{Stamp: at + "06Z", Text: "three", From: at + "06Z", Nth: 3},
		{Stamp: at + "08Z", Text: "one", From: at + "08Z", Nth: 1},
		{Stamp: at + "08Z", Text: "two", From: at + "08Z", Nth: 2},
	}
	for had := range len(log) + 1 {
		var got []libpod.Line
		out := output{line: func(l libpod.Line) { got = append(got, l) }}
		out.deliver(log[:had]...)
		since := out.at.since(time.Time{})
		for _, l := range log {
			written, err := time.Parse(time.RFC3339, l.Stamp)
			if err != nil {
				t.Fatal(err)
			}
			if written.After(since) {
				out.deliver(l)
			}
		}
		if diff := cmp.Diff(log, got); diff != "" {
			t.Errorf("two reads, the first of %d lines (-want +got):\n%s", had, diff)
		}
	}
}

func TestNothingOlderThanAskedForIsReadAgain(t *testing.T) {
	first := time.Date(2026, 1, 2, 15, 4, 5, 5e8, time.UTC)
	for from, want := range map[string]time.Time{
		"":                               first,
		"2026-01-02T15:04:05Z":           first, // to the second: some lines of it were before
		"2026-01-02T15:04:06Z":           time.Date(2026, 1, 2, 15, 4, 5, 999999999, time.UTC),
		"2026-01-02T16:04:06.5+01:00":    time.Date(2026, 1, 2, 15, 4, 6, 499999999, time.UTC),
		"2026-01-02T15:04:05.500000001Z": first,
	} {
		if got := (logPosition{from: from}).since(first); !got.Equal(want) {
			t.Errorf("a read goes on from %q at %s, want %s", from, got, want)
		}
	}
}

// logService plays a Podman service with one container for each service: what
// answers who asks for its logs, and nil for one whose output nobody keeps.
func logService(t *testing.T, logs map[string]func(http.ResponseWriter)) *Client {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Libpod-API-Version", "5.8.3")
		id := path.Base(path.Dir(r.URL.Path))
		switch {
		case strings.HasSuffix(r.URL.Path, "/containers/json"):
			list := []any{}
			for name := range logs {
				list = append(list, map[string]any{"Id": name, "Names": []string{name}, "Labels": map[string]string{LabelProject: "p", LabelService: name}})
			}
			_ = json.NewEncoder(w).Encode(list) // the test fails by what it reads
		case path.Base(r.URL.Path) == "json":
			driver := "k8s-file"
			if logs[id] == nil {
				driver = "none"
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"HostConfig": map[string]any{"LogConfig": map[string]any{"Type": driver}}}) // likewise
		case path.Base(r.URL.Path) == "logs":
			logs[id](w)
		}
	}))
	c := clientOf(t, srv)
	return c
}

func TestLogsThatCannotBeReadKeepNobodyFromTheOthers(t *testing.T) {
	refused := make(chan struct{})
	c := logService(t, map[string]func(http.ResponseWriter){
		"mute": nil,
		"broken": func(w http.ResponseWriter) {
			http.Error(w, `{"message":"no such file"}`, http.StatusInternalServerError)
			close(refused)
		},
		"web": func(w http.ResponseWriter) {
			<-refused
			time.Sleep(50 * time.Millisecond)                                    // so that who would be cancelled is
			_, _ = io.WriteString(w, "\x01\x00\x00\x00\x00\x00\x00\x07T here\n") // the test fails by what it reads
		},
	})
	var lines, notes []string
	o := LogsOptions{Note: func(service, text string) { notes = append(notes, service+": "+text) }}
	err := c.Logs(t.Context(), "p", o, func(service, line string) { lines = append(lines, service+": "+line) })
	if err == nil || !strings.Contains(err.Error(), "container broken") || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("Logs = %v, want the refusal of one container", err)
	}
	if diff := cmp.Diff([]string{"web: here"}, lines); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if len(notes) != 1 || !strings.HasPrefix(notes[0], "mute: ") || !strings.Contains(notes[0], "none") {
		t.Errorf("notes = %q, want one that mute has no logs", notes)
	}
}

// frame is a piece of standard output that was written in a second of a minute.
type frame struct {
	second int
	text   string
}

// writeTo sends what of frames a request asks for.
func writeTo(w http.ResponseWriter, r *http.Request, frames ...frame) {
	since, err := time.Parse(time.RFC3339Nano, r.URL.Query().Get("since"))
	for _, f := range frames {
		at := time.Date(2026, 1, 2, 15, 4, f.second, 0, time.UTC)
		if err == nil && !at.After(since) {
			continue
		}
		piece := at.Format(time.RFC3339) + " " + f.text
		_, _ = fmt.Fprintf(w, "\x01\x00\x00\x00\x00\x00\x00%c%s", len(piece), piece) // the test fails by what it reads
	}
	w.(http.Flusher).Flush()
}

// Podman drops lines by chance that it reads after the end of a container.
func TestWhatAStreamBringsAfterTheEndOfItsContainerDoesNotCount(t *testing.T) {
	const id = "web"
	var ended, restarted atomic.Bool
	looked := make(chan struct{}, 100)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Libpod-API-Version", "5.8.3")
		log := []frame{{5, "one\n"}, {5, "tw"}, {5, "o\n"}, {6, "three\n"}, {6, "again\n"}, {7, "more\n"}, {7, "cut"}}
		switch {
		case strings.HasSuffix(r.URL.Path, "/containers/json"):
			_ = json.NewEncoder(w).Encode([]any{map[string]any{"Id": id, "Names": []string{id}, "Labels": map[string]string{LabelProject: "p", LabelService: id}}}) // likewise
		case path.Base(r.URL.Path) == "json":
			state := map[string]any{"Status": "running", "Running": true, "StartedAt": "2026-01-02T15:04:05Z"}
			switch {
			case restarted.Load():
				state = map[string]any{"Status": "exited", "StartedAt": "2026-01-02T15:04:06Z"}
			case ended.Load():
				state["StartedAt"] = "2026-01-02T15:04:06Z"
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"State": state}) // likewise
			looked <- struct{}{}
		case r.URL.Query().Get("follow") == "true" && !ended.Load():
			<-looked // the look before any stream
			writeTo(w, r, log[:3]...)
			<-looked // the one that confirms it
			ended.Store(true)
			writeTo(w, r, log[3], log[5]) // what is between them is dropped
		case r.URL.Query().Get("follow") == "true":
			writeTo(w, r, log...)
			restarted.Store(true)
		case !restarted.Load():
			writeTo(w, r, append(log[:5:5], log[6])...)
		default:
			writeTo(w, r, log...)
		}
	}))
	var got []string
	err := clientOf(t, srv).Logs(t.Context(), "p", LogsOptions{Follow: true}, func(_, line string) { got = append(got, line) })
	if err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"one", "two", "three", "again", "more", "cut"}, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

// oneLogged plays a Podman service with a container web that is seen to run by its first
// look, and which look answers for after that.
func oneLogged(t *testing.T, look http.HandlerFunc, logs func(w http.ResponseWriter, r *http.Request, follow bool)) *Client {
	t.Helper()
	var looks atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Libpod-API-Version", "5.8.3")
		switch {
		case strings.HasSuffix(r.URL.Path, "/containers/json"):
			_ = json.NewEncoder(w).Encode([]any{map[string]any{"Id": "web", "Names": []string{"web"}, "Labels": map[string]string{LabelProject: "p", LabelService: "web"}}}) // the test fails by what it reads
		case path.Base(r.URL.Path) == "logs":
			logs(w, r, r.URL.Query().Get("follow") == "true")
		case path.Base(r.URL.Path) != "json":
		case looks.Add(1) == 1:
			_, _ = io.WriteString(w, `{"State":{"Status":"running","Running":true}}`) // likewise
		default:
			look(w, r)
		}
	}))
	return clientOf(t, srv)
}

func TestTheLastWordsOfAContainerThatIsRemovedAreDelivered(t *testing.T) {
	removed := func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, `{"message":"no such container"}`, http.StatusNotFound)
	}
	c := oneLogged(t, removed, func(w http.ResponseWriter, r *http.Request, follow bool) {
		if !follow {
			removed(w, r)
			return
		}
		writeTo(w, r, frame{5, "goes\n"})
		time.Sleep(50 * time.Millisecond) // as Podman takes a moment
		writeTo(w, r, frame{5, "gone\n"})
	})
	var got []string
	err := c.Logs(t.Context(), "p", LogsOptions{Follow: true}, func(_, line string) { got = append(got, line) })
	if diff := cmp.Diff([]string{"goes", "gone"}, got); err != nil || diff != "" {
		t.Errorf("Logs = %v, lines (-want +got):\n%s", err, diff)
	}
}

func TestAStreamThatMissesTheEndOfItsContainerIsLeft(t *testing.T) {
	t.Parallel()
	ended := func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"State":{"Status":"exited"}}`)
	} // the test fails by what it reads
	c := oneLogged(t, ended, func(w http.ResponseWriter, r *http.Request, follow bool) {
		if follow {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		writeTo(w, r, frame{5, "last\n"})
	})
	var got []string
	err := c.Logs(t.Context(), "p", LogsOptions{Follow: true}, func(_, line string) { got = append(got, line) })
	if diff := cmp.Diff([]string{"last"}, got); err != nil || diff != "" {
		t.Errorf("Logs = %v, lines (-want +got):\n%s", err, diff)
	}
}
