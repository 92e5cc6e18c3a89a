package runner

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/mask"
	"github.com/dockless-ci/dockless/runner/internal/command"
	"github.com/dockless-ci/dockless/runner/internal/vars"
)

// keeper is a Reporter that keeps lines.
type keeper struct{ lines []string }

func (k *keeper) UpdateRecord(job.Record)                              {}
func (k *keeper) Attach(context.Context, job.RecordID, job.Attachment) {}
func (k *keeper) Waits() bool                                          { return false }
func (k *keeper) WriteLine(_ job.RecordID, line []byte) {
	k.lines = append(k.lines, string(line))
}

// split sends text, cut into pieces of the given size, through a splitter and
// returns the lines and the commands that came out.
func split(text string, size int, secrets ...string) (lines, commands []string) {
	k := &keeper{}
	x := &execution{rep: k, masks: mask.NewSet(), m: &job.Message{}}
	x.vars = vars.New(func(string) {})
	x.masks.Add(secrets...)
	s := &splitter{n: x.newNode("r", job.TypeTask, "n", "n", 1)}
	s.execute = func(line []byte) bool {
		_, found, _ := command.Parse(line, true)
		if found {
			commands = append(commands, string(line))
		}
		return found
	}
	for piece := range slices.Chunk([]byte(text), size) {
		if _, err := s.Write(piece); err != nil {
			panic(err)
		}
	}
	s.finish()
	return k.lines, commands
}

func TestOutputIsCutIntoLinesAndCommands(t *testing.T) {
	text := "a\nb\r\n\rc##vso[task.debug]x\r\nd\n##vso[task.debug]y\n\n##vso[task.debug]z\re\n##vso[bad\nlast"
	wantLines := []string{"a", "b", "", "d", "", "e", "##vso[bad", "last"}
	wantCommands := []string{"c##vso[task.debug]x", "##vso[task.debug]y", "##vso[task.debug]z"}
	for _, size := range []int{1, 2, 3, 5, 7, len(text)} {
		lines, commands := split(text, size)
		if diff := cmp.Diff(wantLines, lines); diff != "" {
			t.Errorf("lines in pieces of %d (-want +got):\n%s", size, diff)
		}
		if diff := cmp.Diff(wantCommands, commands); diff != "" {
			t.Errorf("commands in pieces of %d (-want +got):\n%s", size, diff)
		}
	}
}

// redraw sends text, cut into pieces, through lines that may be drawn over.
func redraw(text string, size int) (out []string, count int) {
	l := &lines{redrawn: true, emit: func(line []byte) { out = append(out, string(line)) }}
	for piece := range slices.Chunk([]byte(text), size) {
		if _, err := l.Write(piece); err != nil {
			panic(err)
		}
	}
	l.finish()
	return out, l.count
}

func FuzzProgress(f *testing.F) {
	f.Add("a 1%\ra 100%, done.  \r\n\r\nb\r", uint8(3))
	f.Fuzz(func(t *testing.T, text string, size uint8) {
		want, _ := redraw(text, len(text)+1)
		got, _ := redraw(text, int(size)+1)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("lines of %q depend on the pieces:\n%s", text, diff)
		}
		for _, l := range got {
			if l == "" || strings.ContainsAny(l, "\r\n") {
				t.Errorf("a line of %q is %q", text, l)
			}
		}
	})
}

// What git draws over itself is one line of the log: its last state.
func TestOfProgressOnlyTheLastStateIsKept(t *testing.T) {
	text := "remote: Counting objects:  50% (1/2)\rremote: Counting objects: 100% (2/2), done.        \n" +
		"plain\r\n\r\n\rstart\r\nto the token at the end\rReceiving: 1%\rReceiving: 100%\r"
	want := []string{"remote: Counting objects: 100% (2/2), done.", "plain", "start", "Receiving: 100%"}
	for size := 1; size <= len(text); size++ {
		got, count := redraw(text, size)
		if diff := cmp.Diff(want, got); diff != "" || count != len(want) {
			t.Errorf("in pieces of %d: %d lines (-want +got):\n%s", size, count, diff)
		}
	}
}

func TestProgressWithoutEndIsBounded(t *testing.T) {
	l := &lines{redrawn: true, emit: func([]byte) { t.Error("a line was shown, want the last state only") }}
	for range 100_000 {
		if _, err := l.Write([]byte("Receiving objects: 1% of a very large repository\r")); err != nil {
			t.Fatal(err)
		}
	}
	if len(l.partial) > 1000 {
		t.Errorf("%d bytes are kept of a line that is drawn again and again", len(l.partial))
	}
}

func TestALongLineIsCutBehindTheMask(t *testing.T) {
	secret := "the-secret-value"
	text := strings.Repeat("x", maxLine-5) + secret + strings.Repeat("y", maxLine) + "\nend\n"
	for _, size := range []int{maxLine - 1, maxLine, 64 << 10, len(text)} {
		lines, _ := split(text, size, secret)
		all := strings.Join(lines, "")
		if strings.Contains(all, secret) || !strings.Contains(all, "x***y") || lines[len(lines)-1] != "end" {
			t.Errorf("in pieces of %d: %d lines, secret shown: %t", size, len(lines), strings.Contains(all, secret))
		}
		for _, l := range lines {
			if len(l) > maxLine {
				t.Errorf("a line has %d bytes, want at most %d", len(l), maxLine)
			}
		}
	}
}

func TestACommandThatNeverEndsIsNotShown(t *testing.T) {
	command := "##vso[task.setvariable variable=x;issecret=true]" + strings.Repeat("s3cret", 1000)
	for name, text := range map[string]string{
		"at the beginning":     command + strings.Repeat("s3cret", maxLine/4),
		"after the bound":      strings.Repeat("x", maxLine+10) + command,
		"across the bound":     strings.Repeat("x", maxLine-3) + command,
		"after twice as much":  strings.Repeat("x", 2*maxLine+1) + command,
		"one byte at the last": strings.Repeat("x", maxLine-1) + command,
	} {
		for _, size := range []int{1, 3, 64 << 10} {
			lines, commands := split(text+"\nend", size)
			if len(commands) != 0 || strings.Contains(strings.Join(lines, ""), "s3cret") || lines[len(lines)-1] != "end" {
				t.Errorf("%s in pieces of %d: %d commands and %d lines, want none of the text", name, size, len(commands), len(lines))
			}
		}
	}
}

func FuzzOutput(f *testing.F) {
	f.Add("a\nb\r\n##vso[task.debug]x\rc", uint8(3))
	f.Fuzz(func(t *testing.T, text string, size uint8) {
		if size == 0 {
			size = 1
		}
		lines, commands := split(text, int(size))
		whole, all := split(text, len(text)+1)
		if diff := cmp.Diff(whole, lines); diff != "" {
			t.Errorf("lines of %q depend on the pieces:\n%s", text, diff)
		}
		if diff := cmp.Diff(all, commands); diff != "" {
			t.Errorf("commands of %q depend on the pieces:\n%s", text, diff)
		}
		for _, l := range slices.Concat(lines, commands) {
			if strings.ContainsAny(l, "\r\n") {
				t.Errorf("a line of %q has a line ending: %q", text, l)
			}
		}
	})
}

// The hot path must not allocate for each line.
func TestPlainOutputIsPassedOnWithoutAllocations(t *testing.T) {
	x := &execution{rep: discard{}, masks: mask.NewSet(), m: &job.Message{}}
	x.masks.Add("some-secret", "another-secret")
	s := &splitter{n: x.newNode("r", job.TypeTask, "n", "n", 1)}
	text := bytes.Repeat([]byte("a line of a log as they come by the thousand\n"), 1000)
	var w io.Writer = s
	got := testing.AllocsPerRun(10, func() {
		if _, err := w.Write(text); err != nil {
			t.Fatal(err)
		}
	})
	if got > 5 {
		t.Errorf("%v allocations for a thousand lines, want none to speak of", got)
	}
}

type discard struct{}

func (discard) UpdateRecord(job.Record)                              {}
func (discard) Attach(context.Context, job.RecordID, job.Attachment) {}
func (discard) WriteLine(job.RecordID, []byte)                       {}
func (discard) Waits() bool                                          { return false }
