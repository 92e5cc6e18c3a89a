package podmanrun

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
)

// frame is one piece of Podman's log stream.
func frame(stream byte, text string) string {
	header := [8]byte{0: stream}
	binary.BigEndian.PutUint32(header[4:], uint32(len(text)))
	return string(header[:]) + text
}

func TestLogFramesBecomeLines(t *testing.T) {
	for name, c := range map[string]struct {
		stream string
		want   []string
		err    error
	}{
		"lines":                {frame(1, "a\n") + frame(2, "b\n"), []string{"a", "b"}, nil},
		"a line in pieces":     {frame(1, "one ") + frame(1, "two\n"), []string{"one two"}, nil},
		"pieces of two":        {frame(1, "out ") + frame(2, "err\n") + frame(1, "put\n"), []string{"err", "out put"}, nil},
		"an empty line":        {frame(1, "\n"), []string{""}, nil},
		"no end":               {frame(1, "last"), []string{"last"}, nil},
		"many in one":          {frame(1, "a\nb\nc"), []string{"a", "b", "c"}, nil},
		"a terminal's ending":  {frame(1, "a\r\n"), []string{"a"}, nil},
		"a torn header":        {frame(1, "a\n") + "\x01\x00", []string{"a"}, io.ErrUnexpectedEOF},
		"a torn frame":         {frame(1, "abc")[:9], nil, io.EOF},
		"no frame":             {"hello, world", nil, errAny},
		"nothing":              {"", nil, nil},
		"an impossible length": {"\x01\x00\x00\x00\xff\xff\xff\xff", nil, errAny},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			err := readFrames(strings.NewReader(c.stream), func(line string) { got = append(got, line) })
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("lines differ (-want +got):\n%s", diff)
			}
			if errors.Is(c.err, errAny) && err == nil || !errors.Is(c.err, errAny) && !errors.Is(err, c.err) {
				t.Errorf("readFrames = %v, want %v", err, c.err)
			}
		})
	}
}

var errAny = errors.New("any error")

func FuzzLogFrames(f *testing.F) {
	f.Add([]byte(frame(1, "a\n")))
	f.Add([]byte(frame(2, "a") + frame(1, "b\nc")))
	f.Add([]byte("\x03\x00\x00\x00\x00\x00\x00\x01a"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_ = readFrames(bytes.NewReader(data), func(line string) {
			if strings.Contains(line, "\n") {
				t.Errorf("line %q contains a line end", line)
			}
		})
	})
}

func TestAPullIsDoneWhenItSaysSo(t *testing.T) {
	for name, c := range map[string]struct{ report, want string }{
		"done":       {`{"stream":"Trying\n"}` + "\n" + `{"images":["1"],"id":"1"}` + "\n", ""},
		"refused":    {`{"stream":"Trying\n"}` + "\n" + `{"error":"no such image"}` + "\n", "no such image"},
		"broken off": {`{"stream":"Trying\n"}` + "\n", io.ErrUnexpectedEOF.Error()},
		"no report":  {"<html>", "decoding"},
	} {
		t.Run(name, func(t *testing.T) {
			err := readPull(strings.NewReader(c.report), func(string) {})
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("readPull = %v, want %q", err, c.want)
			}
		})
	}
}

func TestTheChainLeadsFromWhoWaitedToWhatFailed(t *testing.T) {
	on := func(names ...string) types.DependsOnConfig {
		d := types.DependsOnConfig{}
		for _, name := range names {
			d[name] = types.ServiceDependency{Condition: ServiceStarted, Required: true}
		}
		return d
	}
	p := &types.Project{Services: types.Services{
		"db":  {},
		"api": {WorkloadSpec: types.WorkloadSpec{DependsOn: on("db")}},
		"web": {WorkloadSpec: types.WorkloadSpec{DependsOn: on("api", "db")}},
		"log": {WorkloadSpec: types.WorkloadSpec{DependsOn: on("db")}},
	}}
	running := map[string]bool{"log": true}
	for failed, want := range map[string][]string{"db": {"web", "api", "db"}, "api": {"web", "api"}, "log": {"log"}} {
		got := waitingFor(p, failed, func(name string) bool { return !running[name] })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("waitingFor(%s) differs (-want +got):\n%s", failed, diff)
		}
	}
}

func TestAServiceErrorSaysWhoWaited(t *testing.T) {
	err := &ServiceError{Service: "db", Err: errors.New("the container ended with exit code 3"), Chain: []string{"web", "db"}, Logs: []string{"boom"}, Health: "no\nanswer\n"}
	if got, want := err.Error(), "service db: the container ended with exit code 3 (web waits for db)"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
	want := "last healthcheck of db:\n  no\n  answer\nlast lines of db:\n  boom\n"
	if diff := cmp.Diff(want, err.Details()); diff != "" {
		t.Errorf("Details() differs (-want +got):\n%s", diff)
	}
}

func TestTheHashChangesWithWhatTheContainerIsMadeFrom(t *testing.T) {
	hash := func(change func(*types.ServiceConfig), image string) string {
		value := "b"
		s := types.ServiceConfig{Name: "db", ContainerSpec: types.ContainerSpec{
			Image: "x", Environment: types.MappingWithEquals{"A": &value}, Labels: types.Labels{"l": "1"},
		}}
		change(&s)
		r, err := containerRequest(&types.Project{Name: "p"}, s, Owner{Agent: "a"})
		if err != nil {
			t.Fatal(err)
		}
		r.seal(image)
		return r.Labels[labelHash]
	}
	same := hash(func(*types.ServiceConfig) {}, "1")
	if again := hash(func(*types.ServiceConfig) {}, "1"); again != same {
		t.Errorf("the hash of the same service is %s, then %s", same, again)
	}
	for name, other := range map[string]string{
		"image":   hash(func(*types.ServiceConfig) {}, "2"),
		"command": hash(func(s *types.ServiceConfig) { s.Command = []string{"c"} }, "1"),
		"label":   hash(func(s *types.ServiceConfig) { s.Labels["l"] = "2" }, "1"),
	} {
		if other == same {
			t.Errorf("another %s gives the same hash", name)
		}
	}
}

func TestPortsReachTheStepsAsVariables(t *testing.T) {
	db, dns := &containerAnswer{}, &containerAnswer{}
	type binding = struct {
		HostIP   string `json:"HostIp"`
		HostPort string `json:"HostPort"`
	}
	db.NetworkSettings.Ports = map[string][]struct {
		HostIP   string `json:"HostIp"`
		HostPort string `json:"HostPort"`
	}{"3306/tcp": {binding{"", "40001"}}, "33060/tcp": nil}
	dns.NetworkSettings.Ports = map[string][]struct {
		HostIP   string `json:"HostIp"`
		HostPort string `json:"HostPort"`
	}{"53/udp": {binding{"127.0.0.2", "40003"}}, "53/tcp": {binding{"127.0.0.2", "40002"}}}
	client := &Client{uri: mustURL(t, "unix:///run/podman/podman.sock")}
	s := &Stack{client: client, containers: map[string]*containerAnswer{"my-db.1": db, "dns": dns, "quiet": {}}}
	want := map[string]string{
		"DOCKLESS_MY_DB_1_HOST": "127.0.0.1", "DOCKLESS_MY_DB_1_PORT_3306": "40001",
		"DOCKLESS_DNS_HOST": "127.0.0.2", "DOCKLESS_DNS_PORT_53": "40002",
	}
	if diff := cmp.Diff(want, s.Environment()); diff != "" {
		t.Errorf("Environment() differs (-want +got):\n%s", diff)
	}
	client.uri = mustURL(t, "tcp://podman.ci:8888")
	if got, want := s.Environment()["DOCKLESS_MY_DB_1_HOST"], "podman.ci"; got != want {
		t.Errorf("with a remote service, DOCKLESS_MY_DB_1_HOST = %q, want %q", got, want)
	}
}
