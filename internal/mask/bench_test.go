package mask_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
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
	s := mask.NewSet()
	s.Add(hundredSecrets()...)
	run := func(name string, text []byte, size int) {
		b.Run(name, func(b *testing.B) {
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
		})
	}
	run("log/32k", log, 32<<10)
	run("log/line", log, 80)
	run("base64/32k", base, 32<<10)
	leaky := []byte(strings.ReplaceAll(string(log), "PASS", hundredSecrets()[2]))
	run("leaky/32k", leaky, 32<<10)
	run("worst/32k", []byte(strings.Repeat("P@ss "+hundredSecrets()[2][:12], 1<<16)), 32<<10)
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

// BenchmarkCompile is the price of a hundred new secrets, paid by the first use.
func BenchmarkCompile(b *testing.B) {
	secrets := hundredSecrets()
	b.ReportAllocs()
	for b.Loop() {
		s := mask.NewSet()
		s.Add(secrets...)
		_ = s.Mask("text")
	}
}
