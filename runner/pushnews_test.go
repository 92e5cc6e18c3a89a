package runner

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAPushSaysNowAndThenHowFarItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		told := pushNews(&out, "web:1")
		for sent := range 25 { // a megabyte a second
			told(int64(sent)*1e6, 25e6)
			time.Sleep(time.Second)
		}
		if want := "web:1: pushed 10MB of 25MB\nweb:1: pushed 20MB of 25MB\n"; out.String() != want {
			t.Errorf("the log has %q, want %q", out.String(), want)
		}
	})
}
