package libpod

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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

func TestALineHasTheTimeOfItsFirstPieceAndTellsWhereToGoOn(t *testing.T) {
	stream := frame(1, "T1 one ") + frame(2, "T2 err\n") + frame(1, "T3 two\n") + frame(1, "T4 \n") + frame(1, "T4 four\n") + frame(1, "T5 no end")
	var got []Line
	if err := readLog(strings.NewReader(stream), func(l Line) { got = append(got, l) }); err != nil {
		t.Fatal(err)
	}
	want := []Line{
		{Stamp: "T2", Text: "err", From: "T1", Nth: 1},
		{Stamp: "T1", Text: "one two", From: "T1", Nth: 2},
		{Stamp: "T4", From: "T4", Nth: 1},
		{Stamp: "T4", Text: "four", From: "T4", Nth: 2},
		{Stamp: "T5", Text: "no end", Unfinished: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines differ (-want +got):\n%s", diff)
	}
}

// After each line a read since where it says, without the lines it says, has the rest.
func TestAReadGoesOnAfterAnyLine(t *testing.T) {
	texts := func(lines []Line) []string {
		var list []string
		for _, l := range lines {
			list = append(list, l.Text)
		}
		return list
	}
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		var stamps, frames []string
		for i, second := 0, 0; i < 30; i++ {
			second += random.IntN(2)
			end := []string{"", "\n", "\n", "\nx\ny", "\nz\n"}[random.IntN(5)]
			stamps = append(stamps, fmt.Sprintf("2026-01-02T15:04:%02dZ", second))
			frames = append(frames, frame(byte(1+random.IntN(2)), fmt.Sprintf("%s piece %d%s", stamps[i], i, end)))
		}
		read := func(from string) []Line {
			first, _ := slices.BinarySearch(stamps, from)
			var lines []Line
			if err := readLog(strings.NewReader(strings.Join(frames[first:], "")), func(l Line) { lines = append(lines, l) }); err != nil {
				t.Fatal(err)
			}
			return lines
		}
		all := read("")
		for i, l := range all {
			if l.Unfinished {
				continue
			}
			if diff := cmp.Diff(texts(all[i+1:]), texts(read(l.From)[l.Nth:])); diff != "" {
				t.Fatalf("after line %d of seed %d (-want +got):\n%s", i, seed, diff)
			}
		}
	}
}

func FuzzLogFrames(f *testing.F) {
	f.Add([]byte(frame(1, "a\n")))
	f.Add([]byte(frame(2, "a") + frame(1, "b\nc")))
	f.Add([]byte("\x03\x00\x00\x00\x00\x00\x00\x01a"))
	f.Add([]byte(frame(1, "2026-01-02T15:04:05Z a\nb") + frame(1, "none")))
	f.Fuzz(func(t *testing.T, data []byte) {
		_ = readLog(bytes.NewReader(data), func(l Line) {
			if strings.Contains(l.Stamp, " ") || strings.Contains(l.Text, "\n") || (l.Nth == 0) != l.Unfinished {
				t.Errorf("line %+v contains a line end, its time a space, or it has no number", l)
			}
		})
		_ = readFrames(bytes.NewReader(data), func(line string) {
			if strings.Contains(line, "\n") {
				t.Errorf("line %q contains a line end", line)
			}
		})
	})
}

func TestAPullIsDoneWhenItSaysSo(t *testing.T) {
	for name, c := range map[string]struct{ report, id, refused, fails string }{
		"done":       {`{"stream":"Trying\n"}` + "\n" + `{"images":["1"],"id":"1"}` + "\n", "1", "", ""},
		"refused":    {`{"stream":"Trying\n"}` + "\n" + `{"error":"no such image"}` + "\n", "", "no such image", ""},
		"broken off": {`{"stream":"Trying\n"}` + "\n", "", "", io.ErrUnexpectedEOF.Error()},
		"no report":  {"<html>", "", "", "decoding"},
	} {
		t.Run(name, func(t *testing.T) {
			id, refused, err := readPull(strings.NewReader(c.report), func(string) {})
			if id != c.id || refused != c.refused || (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Errorf("readPull = %q, %q, %v, want %q, %q and %q", id, refused, err, c.id, c.refused, c.fails)
			}
		})
	}
}

func TestThePullOfAnImageCountsItsLayers(t *testing.T) {
	report := `{"stream":"Getting image source signatures\n"}
{"stream":"Copying blob sha256:aa\nCopying blob sha256:bb\n"}
{"stream":"Copying blob sha256:aa done\n"}
{"id":"1"}`
	var got []string
	if _, _, err := readPull(strings.NewReader(report), func(text string) { got = append(got, text) }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"Getting image source signatures", "layer 1: sha256:aa", "layer 2: sha256:bb"}, got); diff != "" {
		t.Errorf("the progress differs (-want +got):\n%s", diff)
	}
}

func FuzzReadPull(f *testing.F) {
	f.Add([]byte(`{"stream":"Copying blob sha256:aa\n"}` + "\n" + `{"id":"1"}`))
	f.Add([]byte(`{"error":"x"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		id, refused, err := readPull(bytes.NewReader(data), func(text string) {
			if strings.Contains(text, "\n") {
				t.Errorf("progress %q has several lines", text)
			}
		})
		if err == nil && id == "" && refused == "" {
			t.Error("a pull ended with neither an image nor an error")
		}
	})
}

func TestCredentialsAreSentForTheirRegistryOnly(t *testing.T) {
	dir := t.TempDir()
	auth := base64.StdEncoding.EncodeToString([]byte("me:secret"))
	file := `{"auths":{"registry.ci:5000":{"auth":"` + auth + `"},"https://index.docker.io/v1/":{"auth":"` + auth + `"}}}`
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	for registry, want := range map[string]map[string]map[string]string{
		"registry.ci:5000": {"registry.ci:5000": {"username": "me", "password": "secret", "identitytoken": ""}},
		"docker.io":        {"docker.io": {"username": "me", "password": "secret", "identitytoken": ""}},
		"ghcr.io":          nil,
	} {
		login, err := DockerConfig(dir)(t.Context(), registry)
		if err != nil {
			t.Fatal(err)
		}
		header, err := login.header(registry)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]map[string]string
		if value := header.Get("X-Registry-Auth"); value != "" {
			data, err := base64.URLEncoding.DecodeString(value)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(data, &got); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("credentials(%s) differ (-want +got):\n%s", registry, diff)
		}
	}
	if login, err := DockerConfig("")(t.Context(), "docker.io"); login != (Login{}) || err != nil {
		t.Errorf("the login without a Docker configuration is %v, %v; want none", login, err)
	}
}

func TestTheRefusalOfPodmanIsReadFromItsJSON(t *testing.T) {
	for body, want := range map[string]string{
		`{"cause":"x","message":"no such image","response":404}`: "no such image",
		"<html>gateway</html>":      "<html>gateway</html>",
		strings.Repeat("x", 100000): strings.Repeat("x", 512),
	} {
		if got := refusal(strings.NewReader(body)); got != want {
			t.Errorf("refusal(%.30q) = %.60q, want %.60q", body, got, want)
		}
	}
}

var errAny = errors.New("any error")
