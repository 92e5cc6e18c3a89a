package podmanrun

import (
	"net/http"
	"slices"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// chained is a container of a service that depends on others, and follows the
// restart of some.
func chained(service, after, follows string) libpod.Listed {
	return libpod.Listed{ID: service, Labels: map[string]string{LabelProject: "p", LabelService: service, labelAfter: after, labelFollows: follows}}
}

func TestContainersAreStartedInTheOrderInWhichTheyAreNotStopped(t *testing.T) {
	list := []libpod.Listed{chained("web", "api,gone", ""), chained("api", "db", "db"), chained("db", "", ""), chained("cache", "", "")}
	for name, want := range map[string][2][]string{"web": {{"api"}, nil}, "api": {{"db"}, {"web"}}, "db": {nil, {"api"}}, "cache": {}} {
		l := list[slices.IndexFunc(list, func(l libpod.Listed) bool { return l.ID == name })]
		var got [2][]string
		for i, first := range []order{dependenciesFirst, dependentsFirst} {
			for _, other := range first(l, list) {
				got[i] = append(got[i], other.ID)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("before %s is started, and stopped (-want +got):\n%s", name, diff)
		}
	}
}

func TestServicesThatDependOnEachOtherHaveSomeOrder(t *testing.T) {
	list := []libpod.Listed{chained("a", "b", ""), chained("b", "a", "")}
	if n := len(dependenciesFirst(list[0], list)) + len(dependenciesFirst(list[1], list)); n > 1 {
		t.Errorf("%d containers wait for each other", n)
	}
}

func TestARestartIsFollowedThroughOthers(t *testing.T) {
	list := []libpod.Listed{chained("web", "api", "api"), chained("api", "db", "db"), chained("db", "", ""), chained("log", "db", "")}
	if diff := cmp.Diff([]string{"db", "api", "web"}, withFollowers([]string{"db"}, list)); diff != "" {
		t.Errorf("restarted with db (-want +got):\n%s", diff)
	}
}

func TestAContainerStaysAsLongAsItIsWhatItShouldBe(t *testing.T) {
	for name, c := range map[string]struct {
		state, hash string
		options     UpOptions
		want        bool
	}{
		"one that runs":                    {"running", "same", UpOptions{}, true},
		"one that was stopped":             {"exited", "same", UpOptions{}, true},
		"one that was never started":       {"created", "same", UpOptions{}, true},
		"one that is paused":               {"paused", "same", UpOptions{}, false},
		"one that is being removed":        {"removing", "same", UpOptions{Recreate: RecreateNever}, false},
		"another configuration":            {"running", "other", UpOptions{}, false},
		"another, but nothing is replaced": {"exited", "other", UpOptions{Recreate: RecreateNever}, true},
		"all are replaced":                 {"running", "same", UpOptions{Recreate: RecreateAlways}, false},
		"others are replaced":              {"running", "same", UpOptions{Recreate: RecreateAlways, RecreateOnly: []string{"web"}}, true},
	} {
		n := &unit{name: "db", up: &up{options: c.options}, request: &createRequest{CreateRequest: libpod.CreateRequest{Labels: map[string]string{labelHash: "same"}}}}
		if got := n.keeps(libpod.Listed{State: c.state, Labels: map[string]string{labelHash: c.hash}}); got != c.want {
			t.Errorf("%s stays: %t, want %t", name, got, c.want)
		}
	}
}

func TestASingleCommandHasWhatItsServiceHas(t *testing.T) {
	p := &Project{compose: loadedShop(t)}
	hooked := p.compose.Services["web"]
	hooked.PostStart, hooked.PreStop = []types.ServiceHook{{Command: []string{"a"}}}, []types.ServiceHook{{Command: []string{"b"}}}
	p.compose.Services["web"] = hooked
	o := RunOptions{Service: "web", Command: []string{"ls"}, Env: map[string]string{"A": "2"}, Volumes: []string{"more:/more"}, Streams: Streams{TTY: true}}
	part, name, err := p.withOneOff(o)
	if err != nil {
		t.Fatal(err)
	}
	s := part.compose.Services["web"]
	switch {
	case name == "" || name != s.ContainerName:
		t.Errorf("the container is called %q and %q", name, s.ContainerName)
	case len(s.Ports) != 0 || s.Restart != "no" || !s.Tty || s.StdinOpen || *s.Environment["A"] != "2" || part.compose.Volumes["more"].Name != "shop_more":
		t.Errorf("the command's container is %+v", s)
	case s.Networks["default"].ServiceNameAliasEnabled():
		t.Error("the command is found under the service's name")
	case len(s.PostStart)+len(s.PreStop) != 0:
		t.Error("the hooks of the service run beside the command")
	}
	if before := p.compose.Services["web"]; len(before.Ports) != 1 || before.Restart != "always" || *before.Environment["A"] != "1" || len(p.compose.Volumes) != 0 {
		t.Errorf("the project itself has changed: %+v", before)
	}
	for words, o := range map[string]RunOptions{
		"no service":    {Service: "wbe"},
		"port":          {Service: "web", Ports: []string{"x"}},
		"relative path": {Service: "web", Volumes: []string{"./a:/a"}},
	} {
		if err := o.Validate(p); err == nil {
			t.Errorf("%s is taken", words)
		}
	}
}

func TestAStopWaitsForWhatIsAboutToBeStartedAgain(t *testing.T) {
	about := func(status, policy string) moment {
		return moment{http.StatusOK, `{"Id":"a","Name":"a","State":{"Status":"` + status + `","ExitCode":137},"HostConfig":{"RestartPolicy":{"Name":"` + policy + `"}}}`}
	}
	for name, c := range map[string]struct {
		listed  string
		then    []moment
		stopped bool
	}{
		"Podman starts it":                 {"stopped", []moment{about("stopped", "always"), about("stopped", "always"), about("running", "always")}, true},
		"Podman has started it":            {"stopped", []moment{about("running", "always")}, true},
		"Podman gives it up":               {"stopped", []moment{about("stopped", "on-failure"), about("exited", "on-failure")}, false},
		"it has no policy":                 {"stopped", []moment{about("stopped", "")}, false},
		"it is removed":                    {"stopped", []moment{itGoes}, false},
		"it ended long ago":                {"exited", []moment{about("running", "always")}, false},
		"it is removed after a first look": {"stopped", []moment{about("stopped", "always"), itGoes}, false},
	} {
		list := `[{"Id":"a","Names":["a"],"State":"` + c.listed + `","Labels":{"` + LabelProject + `":"p","` + LabelService + `":"a"}}]`
		var told []EventKind
		err := passing(t, map[string][]moment{"json": {{http.StatusOK, list}}, "a": c.then}).Stop(t.Context(), "p", ServicesOptions{
			Progress: func(e Event) { told = append(told, e.Kind) },
		})
		if err != nil || slices.Contains(told, EventStopped) != c.stopped {
			t.Errorf("%s: Stop = %v, told %v; want it to be stopped: %t", name, err, told, c.stopped)
		}
	}
}

// loadedShop is a project with one service.
func loadedShop(t *testing.T) *types.Project {
	t.Helper()
	one := "1"
	port, err := types.ParsePortConfig("80:80")
	if err != nil {
		t.Fatal(err)
	}
	var s types.ServiceConfig
	s.Name, s.Image, s.Ports, s.Restart = "web", "busybox", port, "always"
	s.Environment = types.MappingWithEquals{"A": &one}
	s.Networks = map[string]*types.ServiceNetworkConfig{"default": nil}
	return &types.Project{Name: "shop", Services: types.Services{"web": s}, Networks: types.Networks{"default": {}}}
}

func TestWhatIsDoneToAContainerThatIsGoneIsDone(t *testing.T) {
	hurry := make(chan struct{})
	for name, c := range map[string]struct {
		state string
		do    func(*Client, ServicesOptions) error
	}{
		"stop":            {"running", func(c *Client, o ServicesOptions) error { return c.Stop(t.Context(), "p", o) }},
		"stop in a hurry": {"running", func(c *Client, o ServicesOptions) error { o.Hurry = hurry; return c.Stop(t.Context(), "p", o) }},
		"stop a paused":   {"paused", func(c *Client, o ServicesOptions) error { return c.Stop(t.Context(), "p", o) }},
		"kill":            {"running", func(c *Client, o ServicesOptions) error { return c.Kill(t.Context(), "p", "HUP", o) }},
		"pause":           {"running", func(c *Client, o ServicesOptions) error { return c.Pause(t.Context(), "p", o) }},
		"unpause":         {"paused", func(c *Client, o ServicesOptions) error { return c.Unpause(t.Context(), "p", o) }},
	} {
		list := `[{"Id":"a","Names":["a"],"State":"` + c.state + `","Labels":{"` + LabelProject + `":"p","` + LabelService + `":"a"}}]`
		var told []Event
		err := c.do(passing(t, map[string][]moment{"json": {{http.StatusOK, list}}, "a": {itGoes}}), ServicesOptions{
			Progress: func(e Event) { told = append(told, e) },
		})
		if err != nil || len(told) > 0 {
			t.Errorf("%s = %v, told %v, want nothing of either: it was removed since it was listed", name, err, told)
		}
	}
}
