package doctorcmd

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/containerd/platforms"
	"github.com/google/go-cmp/cmp"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/doctor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheTableOfChecksIsNotStale(t *testing.T) {
	var got bytes.Buffer
	if err := WriteTopics(&got); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../../../docs/doctor.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), got.String()) {
		t.Errorf("docs/doctor.md lacks the table of dockless docs doctor; run go test ./test/integration -run Doctor -update:\n%s", got.String())
	}
}

// sick are results of every status.
var sick = []doctor.Result{
	{Group: groupMachine, Name: "work", Status: doctor.OK, Detail: "/agent/_work: 12GB of 100GB are free", Seconds: 0.0001},
	{Group: groupAzure, Name: "sign-in", Status: doctor.OK, Detail: "as Build Agent", Seconds: 0.0123},
	{Group: groupAzure, Name: "role", Status: doctor.Fail, Detail: "the owner of AZP_TOKEN may look at the pool Default, not manage it", Hint: "give the owner of AZP_TOKEN the role Administrator on the pool that AZP_POOL names", Seconds: 0.2},
	{Group: groupAzure, Name: "agent", Status: doctor.Skip, Detail: "not asked: role failed"},
	{Group: groupRegistry, Name: "push to registry.example.com", Status: doctor.Warn, Detail: "slow", Hint: "wait\nor do not", Seconds: 3.21},
}

func TestWhatIsWrongIsFollowedByItsCauseAndWhatToDo(t *testing.T) {
	for width, want := range map[int]string{
		0: `This machine
  ok    work    1 ms  /agent/_work: 12GB of 100GB are free

Azure DevOps
  ok    sign-in   12 ms  as Build Agent
  fail  role     200 ms
        the owner of AZP_TOKEN may look at the pool Default, not manage it
        hint: give the owner of AZP_TOKEN the role Administrator on the pool that AZP_POOL names
  skip  agent            not asked: role failed

Registries
  warn  push to registry.example.com   3.2 s
        slow
        hint: wait
        hint: or do not

2 ok, 1 warning, 1 failed, 1 skipped, in 3.3 s
`,
		60: `This machine
  ok    work    1 ms  /agent/_work: 12GB of 100GB are free

Azure DevOps
  ok    sign-in   12 ms  as Build Agent
  fail  role     200 ms
        the owner of AZP_TOKEN may look at the pool Default,
        not manage it
        hint: give the owner of AZP_TOKEN the role
              Administrator on the pool that AZP_POOL names
  skip  agent            not asked: role failed

Registries
  warn  push to registry.example.com   3.2 s
        slow
        hint: wait
        hint: or do not

2 ok, 1 warning, 1 failed, 1 skipped, in 3.3 s
`,
	} {
		var got bytes.Buffer
		chart{w: &got, width: width}.print(sick, 3300*time.Millisecond)
		if diff := cmp.Diff(want, got.String()); diff != "" {
			t.Errorf("%d columns (-want +got):\n%s", width, diff)
		}
		var coloured bytes.Buffer
		chart{w: &coloured, width: width, colour: true}.print(sick, 3300*time.Millisecond)
		plain := strings.NewReplacer("\x1b[32m", "", "\x1b[33m", "", "\x1b[1;31m", "", "\x1b[1m", "", "\x1b[2m", "", "\x1b[0m", "").Replace(coloured.String())
		if plain != got.String() || plain == coloured.String() {
			t.Errorf("colours change the text, or there are none:\n%s", coloured.String())
		}
	}
}

func TestAGPUNeedsASpecification(t *testing.T) {
	dev, specs := t.TempDir(), t.TempDir()
	ask := func() doctor.Result { return devices(t.Context(), []string{specs}, dev) }
	if r := ask(); r.Status != doctor.Skip {
		t.Errorf("without anything: %+v", r)
	}
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dev, "nvidiactl"), "")
	if r := ask(); r.Status != doctor.Warn || !strings.Contains(r.Hint, "nvidia-ctk cdi generate") {
		t.Errorf("with a GPU alone: %+v", r)
	}
	write(filepath.Join(specs, "nvidia.yaml"), "kind: nvidia.com/gpu\ndevices: [{name: \"0\"}, {name: all}]\n")
	if r := ask(); r.Status != doctor.OK || r.Detail != "nvidia.com/gpu (2)" {
		t.Errorf("with its specification: %+v", r)
	}
	write(filepath.Join(specs, "broken.json"), "{")
	if r := ask(); r.Status != doctor.Warn || !strings.Contains(r.Detail, "broken.json") {
		t.Errorf("with a broken one beside it: %+v", r)
	}
}

func TestAPlatformThatNoNodeBuildsForIsNamed(t *testing.T) {
	of := func(name string, offered ...string) *builderNode {
		var w buildxsetup.Worker
		for _, p := range offered {
			w.Platforms = append(w.Platforms, mustPlatform(t, p))
		}
		n := buildxsetup.Node{Name: name}
		return &builderNode{Node: n.Answered([]buildxsetup.Worker{w})}
	}
	nodes := []*builderNode{of("a0", "linux/amd64", "linux/arm64"), of("a1", "linux/arm64")}
	for want, r := range map[string]doctor.Result{
		"linux/amd64 on a0, linux/arm64 on a1":          wantedPlatforms(nodes, []string{"linux/amd64", "linux/arm64"}),
		"linux/arm64 emulated on a0":                    wantedPlatforms(nodes[:1], []string{"linux/arm64"}),
		"no node builds for linux/s390x":                wantedPlatforms(nodes, []string{"linux/amd64", "linux/s390x"}),
		`--platform "linux/no/such/..." is no platform`: wantedPlatforms(nodes, []string{"linux/no/such/..."}),
	} {
		if r.Detail != want {
			t.Errorf("got %+v, want %q", r, want)
		}
	}
}

func mustPlatform(t *testing.T, text string) ocispecs.Platform {
	t.Helper()
	p, err := platforms.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
