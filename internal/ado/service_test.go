package ado_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dockless-ci/dockless/internal/ado"
)

// TestMain looks for leaks, but not while fuzzing, whose workers end in the
// middle of something.
func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.fuzz").Value.String() != "" {
		os.Exit(m.Run())
	}
	goleak.VerifyTestMain(m)
}

// request is what a service was asked.
type request struct {
	Method, Path, Query, Body string
	Header                    http.Header
}

// service is the far side of a test: it announces the routes of protocol
// Appendix A, keeps what it is asked, and lets handle answer.
type service struct {
	URL    string
	handle http.HandlerFunc // nil answers 200 with {}
	// discard keeps no requests.
	discard bool

	mu       sync.Mutex
	requests []request
}

func newService(t testing.TB, handle http.HandlerFunc) *service {
	t.Helper()
	s := &service{handle: handle}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

// Protocol Appendix A, in its spelling.
const planRoute = "{scopeIdentifier}/_apis/distributedtask/hubs/{hubName}/plans/{planId}"

var routes = map[ado.LocationID]string{
	ado.LocationPools:       "_apis/distributedtask/pools/{poolId}",
	ado.LocationAgents:      "_apis/distributedtask/pools/{poolId}/agents/{agentId}",
	ado.LocationSessions:    "_apis/distributedtask/pools/{poolId}/sessions/{sessionId}",
	ado.LocationMessages:    "_apis/distributedtask/pools/{poolId}/messages/{messageId}",
	ado.LocationJobRequests: "_apis/distributedtask/pools/{poolId}/jobrequests/{requestId}",
	ado.LocationPlanEvents:  planRoute + "/events",
	ado.LocationLogs:        planRoute + "/logs/{logId}",
	ado.LocationTimelines:   planRoute + "/timelines/{timelineId}",
	ado.LocationRecords:     planRoute + "/timelines/{timelineId}/records",
	ado.LocationFeed:        planRoute + "/timelines/{timelineId}/records/{recordId}/feed",
	ado.LocationAttachments: planRoute + "/timelines/{timelineId}/records/{recordId}/attachments/{type}/{name}",
	ado.LocationTestRuns:    "{project}/_apis/test/Runs/{runId}",
	ado.LocationTestResults: "{project}/_apis/test/Runs/{runId}/Results/{testCaseResultId}",

	ado.LocationTestResultAttachments: "{project}/_apis/test/Runs/{runId}/Results/{testCaseResultId}/Attachments/{attachmentId}",
	ado.LocationTestRunAttachments:    "{project}/_apis/test/Runs/{runId}/Attachments/{attachmentId}",
	ado.LocationTestStatistics:        "{project}/_apis/test/Runs/{runId}/Statistics",
	ado.LocationCodeCoverage:          "{project}/_apis/test/CodeCoverage",

	ado.LocationTasks: "_apis/distributedtask/tasks/{taskId}/{versionString}",

	ado.LocationContainers:     "_apis/resources/Containers/{containerId}/{*itemPath}",
	ado.LocationBuilds:         "{project}/_apis/build/builds/{buildId}",
	ado.LocationBuildArtifacts: "{project}/_apis/build/builds/{buildId}/artifacts/{artifactName}",
	ado.LocationBuildTags:      "{project}/_apis/build/builds/{buildId}/tags/{*tag}",
	ado.LocationReleases:       "{project}/_apis/Release/releases/{releaseId}",
	ado.LocationResourceAreas:  "_apis/resourceAreas/{areaId}",
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodOptions {
		var all []ado.ResourceLocation
		for id, route := range routes {
			all = append(all, ado.ResourceLocation{
				ID: id, Area: "distributedtask", ResourceName: "any", RouteTemplate: route,
				ResourceVersion: 1, MinVersion: "1.0", MaxVersion: "7.2", ReleasedVersion: "0.0",
			})
		}
		answer(w, http.StatusOK, ado.ListOf(all...))
		return
	}
	var body []byte
	var err error
	if s.discard {
		_, err = io.Copy(io.Discard, r.Body)
	} else {
		body, err = io.ReadAll(r.Body)
	}
	if err != nil {
		return
	}
	s.mu.Lock()
	if !s.discard {
		s.requests = append(s.requests, request{r.Method, r.URL.Path, r.URL.RawQuery, string(body), r.Header.Clone()})
	}
	s.mu.Unlock()
	if s.handle == nil {
		answer(w, http.StatusOK, struct{}{})
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	s.handle(w, r)
}

// asked returns the requests so far, discovery left out.
func (s *service) asked() []request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]request(nil), s.requests...)
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func refuse(w http.ResponseWriter, status int, key ado.TypeKey) {
	answer(w, status, ado.ServiceError{Message: "no", TypeKey: key})
}

// options are those of a client in a hurry.
func options(t testing.TB) ado.Options {
	t.Helper()
	connections := ado.NewHTTP()
	t.Cleanup(connections.CloseIdleConnections)
	return ado.Options{
		HTTP: connections, Log: slog.New(slog.DiscardHandler), UserAgent: "dockless/test",
		Timeout: 5 * time.Second, Retries: ado.DefaultRetries, RetryPause: time.Millisecond,
	}
}
