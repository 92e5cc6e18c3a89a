package podmanrun

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLinesAreReadOnceOverARestart(t *testing.T) {
	const at = "2026-01-02T15:04:"
	log := []string{at + "05Z one", at + "06Z two", at + "06Z two", at + "06Z three", at + "08Z one", at + "08Z two"}
	for name, c := range map[string]struct {
		had  int // lines that the first stream had
		want []string
	}{
		"none":                           {0, log},
		"until the restart":              {4, log[4:]},
		"not all of a second":            {3, log[3:]},
		"what the next run wrote, too":   {5, log[5:]},
		"one line":                       {1, log[1:]},
		"everything, until the very end": {6, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := logPosition{}
			for _, line := range log[:c.had] {
				stamp, _, _ := strings.Cut(line, " ")
				if !p.isNew(stamp) {
					t.Errorf("%s is taken for known", line)
				}
			}
			p.again()
			var got []string
			for _, line := range log {
				stamp, _, _ := strings.Cut(line, " ")
				written, err := time.Parse(time.RFC3339, stamp)
				if err != nil {
					t.Fatal(err)
				}
				if written.After(p.since) && p.isNew(stamp) {
					got = append(got, line)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("the second stream (-want +got):\n%s", diff)
			}
		})
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
