package statuspage_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/statuspage"
)

// event is one that was streamed.
type event struct{ name, id, data string }

// listen streams events until the test ends.
func listen(t *testing.T, address string, header ...string) <-chan event {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	answer, err := http.DefaultClient.Do(request) //nolint:bodyclose // the clean-up below does
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s answers %s", address, answer.Status)
	}
	events := make(chan event, 100)
	go func() {
		defer close(events)
		var e event
		from := bufio.NewScanner(answer.Body)
		from.Buffer(nil, 4<<20) // a thousand lines in one event
		for from.Scan() {
			name, value, _ := strings.Cut(from.Text(), ": ")
			switch name {
			case "event":
				e.name = value
			case "id":
				e.id = value
			case "data":
				e.data = value
				events <- e
				e = event{}
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		_ = answer.Body.Close()
		for range events { // until the reader has ended
		}
	})
	return events
}

func next(t *testing.T, events <-chan event, name string) event {
	t.Helper()
	after := time.After(2 * time.Minute) // longer than a busy machine stands still
	for {
		select {
		case e, ok := <-events:
			if !ok {
				t.Fatalf("the stream ended before an event %s", name)
			}
			if e.name == name {
				return e
			}
		case <-after:
			t.Fatalf("no event %s within two minutes", name)
		}
	}
}

func TestWhatChangesIsStreamed(t *testing.T) {
	t.Parallel()
	source := example()
	address := serve(t, source)
	events := listen(t, address+"/events?job=903&step=s3&from=2499")
	var log struct {
		Skipped, Total int
		Do             []string
	}
	read := func(e event) {
		t.Helper()
		log.Do = nil
		if err := json.Unmarshal([]byte(e.data), &log); err != nil {
			t.Fatal(err)
		}
	}
	if e := next(t, events, "log"); true {
		if read(e); len(log.Do) != 1 || strings.Count(log.Do[0], "<div") != 2 || e.id != "2501" || log.Total != 2500 || log.Skipped != 0 {
			t.Errorf("the first event is %+v", e)
		}
	}
	source.change(func() { source.logs["903/s3"].Add([]byte("##[group]new <one>")) })
	if read(next(t, events, "log")); len(log.Do) != 1 || !strings.HasPrefix(log.Do[0], `g<summary`) || !strings.Contains(log.Do[0], "new &lt;one&gt;") {
		t.Errorf("a new line is sent as %q", log.Do)
	}
	source.change(func() {
		for i := range 5000 {
			source.logs["903/s3"].Add(fmt.Appendf(nil, "more %d", i))
		}
	})
	if read(next(t, events, "log")); log.Skipped != 4000 || strings.Count(log.Do[0], "<div") != statuspage.PageLines {
		t.Errorf("five thousand lines are sent as %d, %d skipped", strings.Count(log.Do[0], "<div"), log.Skipped)
	}
	source.change(func() {
		j := source.jobs["903"]
		j.State, j.Result, j.Finished = "completed", "failed", noon
		j.Steps = append([]statuspage.Step{}, j.Steps...)
		j.Steps[2].State, j.Steps[2].Result, j.Steps[2].Finished = "completed", "failed", noon
		source.jobs["903"], source.open = j, false
	})
	for {
		e := next(t, events, "part")
		if strings.Contains(e.data, "stepstitle") && !strings.Contains(e.data, "running") {
			break
		}
	}
	next(t, events, "over")
}

func TestAStreamGoesOnWhereItBroke(t *testing.T) {
	t.Parallel()
	address := serve(t, example())
	e := next(t, listen(t, address+"/events?job=903&step=s3&only=log&from=1", "Last-Event-ID", "2500"), "log")
	if strings.Count(e.data, `\u003cdiv`) != 1 {
		t.Errorf("after a break: %s", e.data)
	}
}

func TestStreamsAreFewAndEndWithTheServer(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	page := statuspage.New(example(), statuspage.Config{Access: statuspage.Loopback}, ended)
	server := httptest.NewServer(page)
	defer http.DefaultClient.CloseIdleConnections()
	defer server.Close()
	var streams []<-chan event
	for range statuspage.MostStreams {
		streams = append(streams, listen(t, server.URL+"/events"))
	}
	if code, header, _ := get(t, server.URL+"/events"); code != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
		t.Errorf("one stream too many is answered %d", code)
	}
	if code, _, _ := get(t, server.URL+"/"); code != http.StatusOK {
		t.Errorf("the page itself is answered %d then", code)
	}
	close(ended)
	for _, events := range streams {
		for range events { // until it ends
		}
	}
}
