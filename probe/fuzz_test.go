//go:build linux && (amd64 || arm64)

package probe

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"
	"testing"
	"time"
)

// FuzzDecide checks that no page makes the reader panic or write more than a
// short line, and that "live" is said of nothing but a page that satisfies
// docs/probe-abi.md, checked here on its bytes.
func FuzzDecide(f *testing.F) {
	const boot, now = 0x1122334455667788, int64(5e12)
	good := make([]byte, PageSize)
	put := func(offset int, v uint64) { binary.LittleEndian.PutUint64(good[offset:], v) }
	copy(good, "dockless")
	put(8, 2|62<<32)
	put(16, boot)
	for n, beat := range []uint64{uint64(now) - 1e9, uint64(now) - 31e9, uint64(now)} {
		at := 128 + 64*n
		put(at, 42|7<<24)
		put(at+8, uint64(Ready)|1<<8|uint64(n)<<32|500<<48)
		put(at+16, beat)
		put(at+24, 3600e9)
		copy(good[at+40:], "slot")
	}
	f.Add(good, uint8(0), uint8(1), "", int64(0))
	f.Add(good, uint8(1), uint8(1), "slot", int64(30*time.Second))
	f.Add(good, uint8(1), uint8(2), "other", int64(-1))
	f.Add([]byte{}, uint8(0), uint8(1), "", int64(0))
	f.Fuzz(func(t *testing.T, data []byte, question, owner uint8, name string, maxAge int64) {
		// What the fuzzer sends replaces the beginning of a good page, so that
		// it need not find the magic first.
		raw := bytes.Clone(good)
		copy(raw, data)
		var s sight
		for i := range s.page {
			s.page[i] = binary.LittleEndian.Uint64(raw[8*i:])
		}
		for n := range s.fates {
			s.fates[n] = fate(owner % 3)
		}
		q := Query{Slot: name, MaxAge: time.Duration(maxAge)}
		e := evidence{boot: boot, now: now}
		ok, line := s.decide([]byte("> "), Question(question%2), q, e)
		if len(line) > lineSize || bytes.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("the line is %q", line)
		}
		if ok == strings.HasPrefix(string(line), "> not ") || !strings.HasPrefix(string(line), "> ") {
			t.Errorf("the answer is %v, the line %q", ok, line)
		}
		if e.boot = 0; ok {
			if yes, line := s.decide(nil, Question(question%2), q, e); yes {
				t.Errorf("without a boot id: %s", line)
			}
			checkLive(t, raw, fate(owner%3), boot, uint64(now), uint64(max(maxAge, 0)))
		}
	})
}

// checkLive checks what every live page has.
func checkLive(t *testing.T, raw []byte, owner fate, boot, now, maxAge uint64) {
	t.Helper()
	word := func(offset int) uint64 { return binary.LittleEndian.Uint64(raw[offset:]) }
	if string(raw[:8]) != "dockless" || raw[8] != 2 || word(16) != boot || owner != fateAlive {
		t.Error("a page with a bad header, or of dead processes, is live")
	}
	fresh := 0
	for at := 128; at < PageSize; at += 64 {
		allowed := word(at + 24)
		if maxAge > 0 {
			allowed = maxAge
		}
		state, beat := raw[at+8], word(at+16)
		if word(at) != 0 && raw[at+2]&0x40 == 0 && state >= uint8(Starting) && state <= uint8(Draining) && beat > 0 && beat <= now && now-beat <= allowed+1e9 {
			fresh++
		}
	}
	if fresh == 0 {
		t.Error("a page without a fresh slot is live")
	}
}

func FuzzParseStart(f *testing.F) {
	f.Add([]byte("41 (a) b) S 1 41 41 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 1"))
	f.Add([]byte("41 (a) Z 1 41 41 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 1"))
	f.Add([]byte("41 (a)"))
	f.Add([]byte(")"))
	f.Fuzz(func(t *testing.T, stat []byte) {
		got := parseStart(stat)
		if got == 0 {
			return
		}
		fields := strings.Split(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " ")
		// The third field is at index 1. Larger numbers wrap; the kernel has none.
		if want, err := strconv.ParseUint(fields[min(20, len(fields)-1)], 10, 64); err == nil && got != want {
			t.Errorf("parseStart(%q) = %d, want %d", stat, got, want)
		}
		if len(fields) < 22 || fields[0] != "" || strings.HasPrefix(fields[1], "Z") {
			t.Errorf("parseStart(%q) = %d", stat, got)
		}
	})
}

func TestAgesReadLikeAPersonSaysThem(t *testing.T) {
	for want, age := range map[string]time.Duration{
		"0ms":   999 * time.Microsecond,
		"12ms":  12 * time.Millisecond,
		"999ms": 999 * time.Millisecond,
		"1s":    1099 * time.Millisecond,
		"1.5s":  1500 * time.Millisecond,
		"9.9s":  9999 * time.Millisecond,
		"31s":   31900 * time.Millisecond,
		"2m":    2 * time.Minute,
		"2m5s":  2*time.Minute + 5*time.Second,
		"3h20m": 3*time.Hour + 20*time.Minute + time.Second,
		"26h":   26 * time.Hour,
	} {
		if got := string(appendAge(nil, int64(age))); got != want {
			t.Errorf("appendAge(%v) = %q, want %q", age, got, want)
		}
	}
}

func TestTheStartTimeIsReadWhateverTheProcessIsCalled(t *testing.T) {
	const tail = " 1 41 41 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 1 1"
	for stat, want := range map[string]uint64{
		"41 (cat) S" + tail:             987654,
		"41 (a) S 1 2 (b) R" + tail:     987654,
		"41 (dead) Z" + tail:            0,
		"41 (dead) X" + tail:            0,
		"41 (cut) S 1 41 41 0 -1":       0,
		"41 (cut) S" + tail[:50]:        0,
		"":                              0,
		"no process":                    0,
		"41 (odd) S" + tail[:47] + "x ": 0,
	} {
		if got := parseStart([]byte(stat)); got != want {
			t.Errorf("parseStart(%q) = %d, want %d", stat, got, want)
		}
	}
}
