package doctorcmd

import (
	"os"
	"os/exec"
	"reflect"
	"testing"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/settings"
)

// TestDoctorReadsEverySettingOfAnAgent runs this test again as a child, whose
// environment has all of them: reading them hides secrets for good.
func TestDoctorReadsEverySettingOfAnAgent(t *testing.T) {
	all := reflect.TypeFor[settings.All]()
	if os.Getenv("DOCKLESS_TEST_READS") == "" {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$")
		child.Env = append(os.Environ(), "DOCKLESS_TEST_READS=1")
		for config := range all.Fields() {
			for _, field := range settings.Of(reflect.New(config.Type).Interface()) {
				child.Env = append(child.Env, field.Tag.Get("envconfig")+"="+someValue(t, field))
			}
		}
		if out, err := child.CombinedOutput(); err != nil {
			t.Errorf("the child: %v\n%s", err, out)
		}
		return
	}
	read := reflect.ValueOf(loadExamination(&doctorFlags{}).All)
	for config := range all.Fields() {
		fields := settings.Of(reflect.New(config.Type).Interface())
		if len(fields) == 0 {
			t.Errorf("%s has no settings", config.Name)
		}
		for _, field := range fields {
			if read.FieldByIndex(config.Index).FieldByIndex(field.Index).IsZero() {
				t.Errorf("doctor does not read %s, a setting of an agent", field.Tag.Get("envconfig"))
			}
		}
	}
}

// someValue is one that can be read, and is not zero.
func someValue(t *testing.T, field reflect.StructField) string {
	t.Helper()
	switch name := settings.TypeName(field); name {
	case "string", "list", "secret":
		return "x"
	case "bool":
		return "true"
	case "duration":
		return "7s"
	case "level":
		return "error"
	case "int", "int64", "uint64":
		return "7"
	case "buildcache.Mode":
		return "sync"
	default:
		t.Fatalf("%s is of type %s, which is new here", field.Name, name)
		return ""
	}
}
