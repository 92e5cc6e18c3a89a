package runner

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A job can put anything in the place of a file that the agent reads for it.
func TestOnlyFilesThatEndAreRead(t *testing.T) {
	dir, x := t.TempDir(), &execution{}
	pipe, endless, large, plain := filepath.Join(dir, "pipe"), filepath.Join(dir, "endless"), filepath.Join(dir, "large"), filepath.Join(dir, "plain")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	writer, err := os.OpenFile(pipe, os.O_RDWR, 0) // so that the pipe has no end either
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close() //nolint:errcheck // nothing was written
	for _, do := range []error{
		os.Symlink("/dev/zero", endless), os.WriteFile(large, nil, 0o600), os.Truncate(large, maxRead+1), os.WriteFile(plain, []byte("text"), 0o600),
	} {
		if do != nil {
			t.Fatal(do)
		}
	}
	for path, want := range map[string]string{
		pipe: pipe + " is no regular file", endless: endless + " is no regular file", large: large + " is larger than 64 MiB", dir: "is a directory", plain: "",
	} {
		data, err := x.readFile(path)
		if want == "" && (err != nil || string(data) != "text") || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("readFile(%s) = %d bytes, %v, want %q", path, len(data), err, want)
		}
	}
}

func TestCommandsInAKeptOutputAreMadeHarmless(t *testing.T) {
	file := filepath.Join(t.TempDir(), "output")
	// One mark across each place where a piece of the file may end.
	text := bytes.Repeat([]byte("0123456789#"), 12_000)
	for i, at := range []int{0, 1<<16 - 2, 1<<16 + 3, 1 << 17, len(text) - 5} {
		copy(text[at:], []string{"##vso", "##VSO"}[i%2])
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (&execution{}).disarmFile(file); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.ReplaceAll(bytes.ReplaceAll(text, []byte("##vso"), []byte("**vso")), []byte("##VSO"), []byte("**VSO"))
	if !bytes.Equal(got, want) {
		t.Errorf("%d of five commands are left, of %d bytes and %d written", bytes.Count(bytes.ToLower(got), []byte("##vso")), len(text), len(got))
	}
}

func TestTheTemporaryFilesOfADeadJobGoAsLongAsThereIsTime(t *testing.T) {
	work := t.TempDir()
	script := filepath.Join(work, "_temp", "module", "script.sh")
	if err := os.MkdirAll(filepath.Dir(script), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(script, []byte("echo secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(script), 0o555); err != nil {
		t.Fatal(err)
	}
	over := errors.New("no time is left")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(over)
	if err := RemoveTemp(ctx, work); !errors.Is(err, over) {
		t.Errorf("without time it ends with %v, want the cause", err)
	}
	if err := RemoveTemp(t.Context(), work); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(work); err != nil || len(left) > 0 {
		t.Errorf("left are %v (%v), want nothing", left, err)
	}
}
