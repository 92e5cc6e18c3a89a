package mask_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/mask"
)

// hundredSecrets are tokens and passwords of the usual kinds.
func hundredSecrets() []string {
	var secrets []string
	for i := range 100 {
		sum := sha256.Sum256(fmt.Append(nil, "secret", i))
		switch i % 4 {
		case 0:
			secrets = append(secrets, hex.EncodeToString(sum[:20]))
		case 1:
			secrets = append(secrets, base64.StdEncoding.EncodeToString(sum[:]))
		case 2:
			secrets = append(secrets, "P@ss "+base64.RawStdEncoding.EncodeToString(sum[:9])+`/"%1`)
		default:
			secrets = append(secrets, base64.RawURLEncoding.EncodeToString(sum[:30]))
		}
	}
	return secrets
}

// buildLog is a megabyte of what builds print.
func buildLog() []byte {
	var b strings.Builder
	for i := 0; b.Len() < 1<<20; i++ {
		sum := sha256.Sum256(fmt.Append(nil, i))
		fmt.Fprintf(&b, "#%d %d.%03d Get:%d http://deb.debian.org/debian bookworm/main amd64 libfoo%d amd64 1.2.%d-1 [%d kB]\n", i%40, i/7, i%1000, i, i%97, i%13, i*31%9973)
		fmt.Fprintf(&b, "go: downloading github.com/example/module-%d v0.%d.%d\n", i%211, i%19, i%7)
		fmt.Fprintf(&b, "=> exporting layer sha256:%x 0.%ds\n", sum, i%10)
		fmt.Fprintf(&b, "2025-01-02T03:04:05.%07dZ   PASS: TestSomething/case_%d (0.0%ds)\n", i, i, i%10)
	}
	return []byte(b.String())
}

// onlyWriter hides the fast paths that io.Discard offers.
type onlyWriter struct{ io.Writer }

func BenchmarkWriter(b *testing.B) {
	log := buildLog()
	base := []byte(base64.StdEncoding.EncodeToString(log))
	secrets := hundredSecrets()
	leaky := []byte(strings.ReplaceAll(string(log), "PASS", secrets[2]))
	worst := []byte(strings.Repeat("P@ss "+secrets[2][:12], 1<<16))
	for _, bench := range []struct {
		name    string
		secrets []string
		text    []byte
		size    int
	}{
		{"none", nil, log, 32 << 10},
		{"one", secrets[:1], log, 32 << 10},
		{"hundred/log", secrets, log, 32 << 10},
		{"hundred/line", secrets, log, 80},
		{"hundred/base64", secrets, base, 32 << 10},
		{"hundred/leaky", secrets, leaky, 32 << 10},
		{"hundred/worst", secrets, worst, 32 << 10},
		{"short", append([]string{"me", "42"}, secrets...), log, 32 << 10},
		{"key", []string{pemKey()}, log, 32 << 10},
	} {
		b.Run(bench.name, func(b *testing.B) {
			s := mask.NewSet()
			s.Add(bench.secrets...)
			benchmarkWriter(b, s, bench.text, bench.size)
		})
	}
	// Some secrets came while the job ran and are not compiled into one yet.
	b.Run("growing", func(b *testing.B) {
		s := mask.NewSet()
		s.Add(secrets[:90]...)
		_ = s.Mask("")
		s.Add(secrets[90:]...)
		benchmarkWriter(b, s, log, 32<<10)
	})
}

func benchmarkWriter(b *testing.B, s *mask.Set, text []byte, size int) {
	b.Helper()
	w := s.NewWriter(onlyWriter{io.Discard})
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		for at := 0; at < len(text); at += size {
			if _, err := w.Write(text[at:min(at+size, len(text))]); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkMaskLine(b *testing.B) {
	s := mask.NewSet()
	s.Add(hundredSecrets()...)
	lines := strings.Split(string(buildLog()), "\n")
	i, total := 0, 0
	for b.Loop() {
		line := lines[i%len(lines)]
		_ = s.Mask(line)
		total += len(line)
		i++
	}
	b.SetBytes(int64(total / max(i, 1)))
}

// pemKey is a private key of three kilobytes.
func pemKey() string {
	var der []byte
	for i := 0; len(der) < 2300; i++ {
		sum := sha256.Sum256(fmt.Append(nil, "key", i))
		der = append(der, sum[:]...)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// BenchmarkCompile is the price of new secrets, paid by the first use, and the
// memory that they take from then on.
func BenchmarkCompile(b *testing.B) {
	var forty []string
	for i := range 100 {
		sum := sha256.Sum256(fmt.Append(nil, "token", i))
		forty = append(forty, base64.StdEncoding.EncodeToString(sum[:30]))
	}
	for name, secrets := range map[string][]string{"hundred": hundredSecrets(), "hundred of 40": forty, "key": {pemKey()}} {
		b.Run(name, func(b *testing.B) {
			var s *mask.Set
			before := heap()
			for b.Loop() {
				s = mask.NewSet()
				s.Add(secrets...)
				_ = s.Mask("text")
			}
			b.ReportMetric(float64(heap()-before), "B/set")
			runtime.KeepAlive(s)
		})
	}
}

// heap is what is in use, in bytes.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what sync.Pool keeps goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkGrow is a job with 100 secrets that registers another 200, each of
// which is hidden before the next comes.
func BenchmarkGrow(b *testing.B) {
	for b.Loop() {
		s := mask.NewSet()
		s.Add(hundredSecrets()...)
		for i := range 200 {
			s.Add(fmt.Sprintf("secret-%x-%d", i*7919, i))
			_ = s.Mask("a line")
		}
	}
}
