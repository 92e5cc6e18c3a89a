package preempt

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// askGCE holds one question until Google has news or the hold is over. Source:
// the documentation of instance/preempted and of waiting for a change with
// last_etag.
func askGCE(ctx context.Context, w *Watcher) (*Notice, error) {
	query := url.Values{"wait_for_change": {"true"}, "timeout_sec": {strconv.Itoa(int(gceHold.Seconds()))}}
	if w.etag == "" {
		query = url.Values{} // the first answer comes at once: the notice may be older than this process
	} else {
		query.Set("last_etag", w.etag)
	}
	began := time.Now()
	body, header, err := w.get(ctx, "/computeMetadata/v1/instance/preempted?"+query.Encode(), gceHold+10*time.Second, http.Header{"Metadata-Flavor": {"Google"}})
	if err != nil {
		return nil, err
	}
	if header.Get("Metadata-Flavor") != "Google" {
		return nil, errors.New("the answer is not from Google's metadata server")
	}
	first := w.etag == ""
	w.etag = header.Get("ETag")
	switch text := strings.TrimSpace(string(body)); {
	case strings.EqualFold(text, "TRUE"):
		return &Notice{Reason: "the machine is preempted by Google Cloud", Within: gceNotice}, nil
	case !strings.EqualFold(text, "FALSE"):
		return nil, errors.New("the answer is neither TRUE nor FALSE")
	case w.etag == "":
		return nil, errors.New("the answer has no ETag to wait for a change of")
	case !first && time.Since(began) < time.Second:
		return nil, fmt.Errorf("the server does not hold the question") // asking on at once would be a loop
	}
	return nil, nil
}
