package mask_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/mask"
)

// largeSecret is lines of base64, as a file with keys has them.
func largeSecret(size int) string {
	var b strings.Builder
	for i := 0; b.Len() < size; i++ {
		sum := sha256.Sum256(fmt.Append(nil, "large", i))
		b.WriteString(base64.StdEncoding.EncodeToString(append(sum[:], sum[:16]...)) + "\n")
	}
	return b.String()[:size]
}

// BenchmarkLarge is what one large secret costs, once.
func BenchmarkLarge(b *testing.B) {
	for _, size := range []int{32 << 10, 256 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size>>10), func(b *testing.B) {
			value := largeSecret(size)
			var s *mask.Set
			before := heap()
			for b.Loop() {
				began := time.Now()
				s = mask.NewSet()
				s.Add(value)
				added := time.Since(began)
				_ = s.Mask("text")
				b.ReportMetric(float64(added.Milliseconds()), "ms-add")
				b.ReportMetric(float64((time.Since(began) - added).Milliseconds()), "ms-compile")
			}
			b.ReportMetric(float64(heap()-before)/(1<<20), "MiB/set")
			runtime.KeepAlive(s)
		})
	}
}
