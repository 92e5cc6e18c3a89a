package settings

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/console"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/mask"
)

// sampleConfig has a field of every kind.
type sampleConfig struct {
	Name    string        `envconfig:"T_NAME" required:"true" desc:"a name"`
	Wait    time.Duration `envconfig:"T_WAIT" default:"1m30s" desc:"a duration"`
	On      bool          `envconfig:"T_ON" desc:"a switch"`
	Quoted  string        `envconfig:"T_QUOTED" default:"a \"b\" \\c" desc:"a default that has to be quoted"`
	Secret  mask.Secret   `envconfig:"T_SECRET" desc:"a secret"`
	Ignored string        `ignored:"true"`
}

// checkedConfig checks itself.
type checkedConfig struct {
	Name string        `envconfig:"T_NAME" required:"true" desc:"a name"`
	Wait time.Duration `envconfig:"T_WAIT" default:"1m" desc:"a duration"`
}

func (c *checkedConfig) Validate() error {
	var problems []error
	if c.Name == "" {
		problems = append(problems, errors.New("the name is missing"))
	}
	if c.Wait <= 0 {
		problems = append(problems, errors.New("the wait is not above zero"))
	}
	return errors.Join(problems...)
}

func TestSettingsComeFromTheEnvironment(t *testing.T) {
	t.Setenv("T_NAME", "Ada")
	t.Setenv("T_ON", "true")
	t.Setenv("T_SECRET", "s3cret")
	c := sampleConfig{Ignored: "kept"}
	if err := Load(&c); err != nil {
		t.Fatal(err)
	}
	if c.Name != "Ada" || c.Wait != 90*time.Second || !c.On || c.Quoted != `a "b" \c` || c.Secret.Reveal() != "s3cret" || c.Ignored != "kept" {
		t.Errorf("Load = %+v", c)
	}
}

func TestEveryProblemIsReportedAtOnce(t *testing.T) {
	t.Setenv("T_WAIT", "hunter2")
	t.Setenv("T_ON", "hunter2")
	var c sampleConfig
	err := Load(&c)
	if got, want := console.OneLine(err.Error()), "T_NAME is not set; T_WAIT is no duration; T_ON is no bool"; got != want {
		t.Errorf("Load: %q, want %q", got, want)
	}
	if _, ok := errors.AsType[cmdline.UsageError](err); !ok {
		t.Errorf("Load: %T, want a usage error", err)
	}
	want := []string{"set T_NAME: a name", "set T_WAIT to a duration such as 90s or 1h30m", "set T_ON to true or false"}
	if diff := cmp.Diff(want, hint.All(err)); diff != "" {
		t.Errorf("hints (-want +got):\n%s", diff)
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("Load quotes a value: %v", err)
	}
}

func TestValidateSeesTheDefaultOfAFieldThatCannotBeRead(t *testing.T) {
	t.Setenv("T_WAIT", "soon")
	err := Load(&checkedConfig{})
	if got, want := console.OneLine(err.Error()), "T_WAIT is no duration; the name is missing"; got != want {
		t.Errorf("Load: %q, want %q", got, want)
	}
	err = Load(Unchecked(&checkedConfig{}))
	if got, want := console.OneLine(err.Error()), "T_NAME is not set; T_WAIT is no duration"; got != want {
		t.Errorf("Load without Validate: %q, want %q", got, want)
	}
}

func TestASecretComesFromAFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, test := range []struct {
		name, value, file string
		want, problem     string
	}{
		{name: "with a line ending", file: write("crlf", "s3cret\r\n"), want: "s3cret"},
		{name: "with inner spaces", file: write("spaces", " a b "), want: " a b "},
		{name: "beside a value", value: "x", file: write("both", "y"), problem: "both T_SECRET and T_SECRET_FILE are set"},
		{name: "empty", file: write("empty", "\n"), problem: "the file of T_SECRET is empty"},
		{name: "missing", file: filepath.Join(dir, "no"), problem: "reading the file of T_SECRET: open "},
		{name: "not named", value: "x", want: "x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("T_NAME", "Ada")
			t.Setenv("T_SECRET", test.value)
			t.Setenv("T_SECRET_FILE", test.file)
			var c sampleConfig
			err := Load(&c)
			switch {
			case test.problem == "" && err != nil:
				t.Fatal(err)
			case test.problem != "" && (err == nil || !strings.HasPrefix(err.Error(), test.problem) || len(hint.All(err)) == 0):
				t.Errorf("Load: %v, want %q and a hint", err, test.problem)
			case test.problem == "" && c.Secret.Reveal() != test.want:
				t.Errorf("secret = %q, want %q", c.Secret.Reveal(), test.want)
			}
		})
	}
}

func TestSecretsAreHiddenWithTheirFiles(t *testing.T) {
	want := []string{"T_SECRET", "T_SECRET_FILE"}
	if diff := cmp.Diff(want, SecretNames(&sampleConfig{}, &checkedConfig{})); diff != "" {
		t.Errorf("secretNames (-want +got):\n%s", diff)
	}
}

func TestInsecureRegistriesAreAList(t *testing.T) {
	t.Setenv("DOCKLESS_INSECURE_REGISTRIES", "registry:5000,cache.svc")
	var s Job
	if err := Load(&s); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(s.Insecure, " "), "registry:5000 cache.svc"; got != want {
		t.Errorf("Insecure = %q, want %q", got, want)
	}
}
