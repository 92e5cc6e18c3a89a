package libpod

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const someEvents = `{"Type":"container","Action":"start","Actor":{"ID":"a","Attributes":{"p":"one","o":"me"}}}
{"Type":"container","Action":"died","Actor":{"ID":"a","Attributes":{"containerExitCode":"3","p":"one","o":"me"}}}
{"Type":"container","Action":"died","Actor":{"ID":"b","Attributes":{"p":"one","o":"you"}}}
{"Type":"container","Action":"died","Actor":{"ID":"c","Attributes":null}}
`

func TestEndsAreReadFromPodmansEvents(t *testing.T) {
	for name, c := range map[string]struct {
		stream string
		want   []string
		fails  bool
	}{
		"those with all labels": {someEvents, []string{"a"}, false},
		"a torn event":          {someEvents + `{"Type":`, []string{"a"}, true},
		"no event":              {"hello", nil, true},
		"nothing":               {"", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			err := readDeaths(strings.NewReader(c.stream), map[string]string{"p": "one", "o": "me"}, func(d Death) { got = append(got, d.Container) })
			if diff := cmp.Diff(c.want, got); diff != "" || (err != nil) != c.fails {
				t.Errorf("readDeaths = %v, want an error %t; ends (-want +got):\n%s", err, c.fails, diff)
			}
		})
	}
}

func FuzzReadDeaths(f *testing.F) {
	f.Add([]byte(someEvents))
	f.Add([]byte(`{"Action":"died","Actor":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		_ = readDeaths(bytes.NewReader(data), nil, func(d Death) {
			if d.Container == "" {
				t.Error("an end of no container was told")
			}
		})
	})
}
