package podmanrun

import (
	"errors"
	"strconv"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

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
		r, err := containerRequest(&types.Project{Name: "p"}, s, 1, Owner{Agent: "a"})
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
	db, dns := &libpod.Container{}, &libpod.Container{}
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
	web := func(replica int) *libpod.Container {
		c := &libpod.Container{}
		c.NetworkSettings.Ports = map[string][]struct {
			HostIP   string `json:"HostIp"`
			HostPort string `json:"HostPort"`
		}{"80/tcp": {binding{"", strconv.Itoa(40010 + replica)}}}
		return c
	}
	client := &Client{api: &libpod.Client{URI: mustURL(t, "unix:///run/podman/podman.sock")}}
	s := &Stack{client: client, containers: map[string][]*libpod.Container{"my-db.1": {db}, "dns": {dns}, "quiet": {{}}, "web": {web(1), web(2)}, "none": {}}}
	want := map[string]string{
		"DOCKLESS_MY_DB_1_HOST": "127.0.0.1", "DOCKLESS_MY_DB_1_PORT_3306": "40001",
		"DOCKLESS_WEB_HOST": "127.0.0.1", "DOCKLESS_WEB_PORT_80": "40011",
		"DOCKLESS_WEB_1_HOST": "127.0.0.1", "DOCKLESS_WEB_1_PORT_80": "40011",
		"DOCKLESS_WEB_2_HOST": "127.0.0.1", "DOCKLESS_WEB_2_PORT_80": "40012",
		"DOCKLESS_DNS_HOST": "127.0.0.2", "DOCKLESS_DNS_PORT_53": "40002",
	}
	if diff := cmp.Diff(want, s.Environment()); diff != "" {
		t.Errorf("Environment() differs (-want +got):\n%s", diff)
	}
	client.api.URI = mustURL(t, "tcp://podman.ci:8888")
	if got, want := s.Environment()["DOCKLESS_MY_DB_1_HOST"], "podman.ci"; got != want {
		t.Errorf("with a remote service, DOCKLESS_MY_DB_1_HOST = %q, want %q", got, want)
	}
}
