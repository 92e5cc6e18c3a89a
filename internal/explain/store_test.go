package explain

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/dockless-ci/dockless/internal/buildcache"
)

func pack(t testing.TB, text []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func unpack(t testing.TB, packed []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func someRecord(t testing.TB) *Record {
	t.Helper()
	r, _ := situation{dockerfile: "FROM busybox\nRUN x\n"}.record(t, nil)
	return r
}

func TestAStoreKeepsTheLastRecordOfEachBuild(t *testing.T) {
	for name, store := range map[string]*Store{"in memory": {}, "in a directory": {Dir: filepath.Join(t.TempDir(), "records")}} {
		t.Run(name, func(t *testing.T) {
			k := Key{Name: "shop", Scope: "main"}
			if r := store.Load(k); r != nil {
				t.Errorf("an empty store has %+v", r)
			}
			r := someRecord(t)
			for _, export := range []string{"one", "two"} {
				r.Export = export
				if err := store.Save(k, r); err != nil {
					t.Fatal(err)
				}
			}
			if got := store.Load(k); got == nil || got.Export != "two" {
				t.Errorf("Load() = %+v, want the last one", got)
			}
			if got := store.Load(Key{Name: "shop", Scope: "other"}); got != nil {
				t.Errorf("another branch has %+v", got)
			}
		})
	}
}

func TestABrokenFileIsNoRecord(t *testing.T) {
	s := &Store{Dir: t.TempDir()}
	k := Key{Name: "shop"}
	good, err := someRecord(t).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"empty": nil, "half": good[:len(good)/2], "text": []byte("x"), "another version": pack(t, []byte(`{"v":2}`)),
		"an index too large": pack(t, []byte(`{"v":1,"salt":"AAAAAAAAAAAAAAAAAAAAAA==","platforms":[{"stages":[{"base":7}]}]}`)),
		"a bomb":             pack(t, bytes.Repeat([]byte(" "), maxJSON+2)),
	} {
		if err := os.WriteFile(filepath.Join(s.Dir, k.id()+recordSuffix), content, 0o600); err != nil {
			t.Fatal(err)
		}
		if r := s.Load(k); r != nil {
			t.Errorf("%s: Load() = %+v", name, r)
		}
	}
}

func TestTheOldestRecordsGo(t *testing.T) {
	s := &Store{Dir: t.TempDir()}
	r := someRecord(t)
	old := time.Now().Add(-time.Hour)
	for i := range maxRecords + 5 {
		file := filepath.Join(s.Dir, fmt.Sprint(i))
		write(t, file, "x")
		if err := os.Chtimes(file, old, old.Add(time.Duration(i)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Save(Key{Name: "new"}, r); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(s.Dir)
	if err != nil || len(left) != maxRecords {
		t.Errorf("%d files are left, %v, want %d", len(left), err, maxRecords)
	}
	if s.Load(Key{Name: "new"}) == nil {
		t.Error("the newest is gone")
	}
}

func TestARegistryKeepsRecordsBesideTheCache(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	r := Registry{Repository: host + "/cache/shop"}
	k, rec := Key{Name: "shop", Scope: "main"}, someRecord(t)
	if got, err := r.Load(t.Context(), k, time.Time{}); got != nil || err == nil {
		t.Errorf("Load() of nothing = %v, %v", got, err)
	}
	if err := r.Save(t.Context(), k, rec); err != nil {
		t.Fatal(err)
	}
	got, err := r.Load(t.Context(), k, rec.Time.Add(-time.Second))
	if err != nil || got == nil || got.Platforms[0].Stages[0].Steps[0].Text != "RUN x" {
		t.Errorf("Load() = %+v, %v", got, err)
	}
	if got, err := r.Load(t.Context(), k, rec.Time); got != nil || err != nil {
		t.Errorf("Load() of one that is not younger = %v, %v", got, err)
	}
	ref, err := name.NewTag(r.Repository + ":" + k.tag())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := remote.Get(ref, remote.WithContext(t.Context()))
	if err != nil || !strings.Contains(string(raw.Manifest), `"artifactType":"`+ArtifactType+`"`) {
		t.Errorf("manifest = %s, %v", raw.Manifest, err)
	}
	if err := remote.Write(ref, empty.Image, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	if got, err := r.Load(t.Context(), k, time.Time{}); got != nil || err == nil {
		t.Errorf("Load() of an image = %v, %v", got, err)
	}
}

func TestNoCacheHasTheTagOfARecord(t *testing.T) {
	tag := Key{Name: "shop"}.tag()
	if _, err := name.NewTag("r.example/c:" + tag); err != nil || len(tag) != 128 {
		t.Fatalf("tag = %q (%d), %v", tag, len(tag), err)
	}
	for _, platform := range []string{"", "linux/amd64", "linux/amd64,linux/arm64/v8,linux/s390x,linux/ppc64le"} {
		for _, branch := range []string{tag, "refs/heads/" + tag, tag[:127], tag + "x", tag[:80], tag[:83]} {
			for _, fork := range []string{"", "x", tag} {
				p := buildcache.Policy{Repo: "r", Branch: branch, TargetBranch: branch, DefaultBranch: branch, Fork: fork}
				read, write := p.Scopes(platform)
				for _, scope := range append(read, write) {
					if strings.HasPrefix(scope, tagPrefix) && len(scope) == len(tag) {
						t.Errorf("branch %q of fork %q has the cache %q", branch, fork, scope)
					}
				}
			}
		}
	}
}

// Ten bytes of a record could become a hundred of memory, and hours of comparing.
func TestARecordOfMillionsOfNothingsIsRefused(t *testing.T) {
	salt := base64.StdEncoding.EncodeToString(make([]byte, saltSize))
	for what, platforms := range map[string]string{
		"objects":   `[{"stages":[` + strings.Repeat("{},", 1<<20) + `{}]}]`,
		"lists":     `[{"facts":[` + strings.Repeat("[],", 1<<20) + `[]]}]`,
		"stages":    `[{"stages":[` + strings.Repeat(`{"base":-1,"context":-1},`, maxStages) + `{"base":-1,"context":-1}]}]`,
		"platforms": `[` + strings.Repeat("{},", maxPlatforms) + `{}]`,
	} {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		_, err := fmt.Fprintf(z, `{"v":%d,"salt":%q,"platforms":%s}`, version, salt, platforms)
		if err := errors.Join(err, z.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(packed.Bytes()); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("a record of many %s = %v, want it to be refused for them", what, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	good, err := someRecord(f).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{0x1f, 0x8b})
	f.Fuzz(func(t *testing.T, packed []byte) {
		if r, err := Decode(packed); err == nil && r.check() != nil {
			t.Error("Decode took a record that is not well-formed")
		}
	})
}
