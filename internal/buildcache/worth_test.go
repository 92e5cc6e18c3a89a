package buildcache

import (
	"slices"
	"testing"
	"time"
)

func TestAnExportIsSkippedOnlyWhenTheLastOnesCostMoreThanTheySpared(t *testing.T) {
	s := func(took, spared int) Yield {
		return Yield{Took: time.Duration(took) * time.Second, Spared: time.Duration(spared) * time.Second}
	}
	dear := []Yield{s(20, 0), s(10, 2), s(10, 4)}
	for name, test := range map[string]struct {
		history History
		longest time.Duration
		want    string
	}{
		"nothing known":                    {},
		"the first spared nothing":         {history: History{Yields: []Yield{s(20, 0)}}},
		"two are no evidence":              {history: History{Yields: []Yield{s(20, 0), s(20, 0)}}},
		"three that were not worth it":     {history: History{Yields: dear}, want: "the last 3 exports took 40 s and spared 6 s"},
		"importing cost more than it gave": {history: History{Yields: []Yield{s(1, 0), s(1, -1), s(1, -1)}}, want: "the last 3 exports took 3 s and spared 0 s"},
		"one good day pays for all":        {history: History{Yields: []Yield{s(20, 0), s(10, 2), s(10, 60)}}},
		"even is worth it":                 {history: History{Yields: []Yield{s(1, 0), s(1, 1), s(1, 2)}}},
		"a longer step than before":        {history: History{Yields: dear, Longest: 4 * time.Second}, longest: 14 * time.Second},
		"a longer step, not an export's":   {history: History{Yields: dear, Longest: 4 * time.Second}, longest: 13 * time.Second, want: "the last 3 exports took 40 s and spared 6 s"},
		"a step as long as before":         {history: History{Yields: dear, Longest: 5 * time.Second}, longest: 5 * time.Second, want: "the last 3 exports took 40 s and spared 6 s"},
		"nearly time to try again":         {history: History{Yields: dear, Skipped: retryAfter - 1}, want: "the last 3 exports took 40 s and spared 6 s"},
		"time to try again":                {history: History{Yields: dear, Skipped: retryAfter}},
	} {
		if got := test.history.Skip(test.longest); got != test.want {
			t.Errorf("%s: Skip() = %q, want %q", name, got, test.want)
		}
	}
}

func TestWhatImportsSpareIsCreditedToTheExportBeforeThem(t *testing.T) {
	var h History
	h.Credit(time.Hour) // of a cache that somebody else exported
	for range evidence {
		h.Exported(10*time.Second, time.Second)
		h.Credit(time.Second)
	}
	if got, want := h.Skip(time.Second), "the last 3 exports took 30 s and spared 3 s"; got != want {
		t.Fatalf("Skip() = %q, want %q", got, want)
	}
	// An export that many builds use while others are skipped pays in the end.
	for range 3 {
		h.Credit(10 * time.Second)
		h.Skipped++
	}
	if got := h.Skip(time.Second); got != "" {
		t.Errorf("Skip() after the last export has spared 31 s = %q, want none", got)
	}
	for range 2 * judged {
		h.Exported(time.Second, time.Second)
	}
	if want := slices.Repeat([]Yield{{Took: time.Second}}, judged); !slices.Equal(h.Yields, want) || h.Skipped != 0 {
		t.Errorf("history = %+v, want the last %d exports and no skipped one", h, judged)
	}
}

func TestEachFormIsWeakerThanTheOneBefore(t *testing.T) {
	export := Policy{Repo: "c", Name: "shop", Branch: "main"}.Export("")
	var got []string
	for form, more := FormZstd, true; more; form, more = form.Weaker() {
		a := export.In(form).Attrs
		got = append(got, a["compression"]+" oci="+a["oci-mediatypes"]+" image="+a["image-manifest"])
		if !form.Valid() || a["ref"] != "c/shop:main" {
			t.Errorf("%s: valid %t, attributes %v", form, form.Valid(), a)
		}
	}
	want := []string{"zstd oci=true image=true", "gzip oci=true image=true", "gzip oci=false image=false"}
	if !slices.Equal(got, want) {
		t.Errorf("forms = %q, want %q", got, want)
	}
	if export.Attrs["compression"] != "zstd" {
		t.Error("In changed the entry it was called on")
	}
}

func TestAModeIsOneOfFourWords(t *testing.T) {
	for mode, ok := range map[Mode]bool{"": true, "auto": true, "async": true, "sync": true, "off": true, "on": false, "Off": false} {
		if err := mode.Validate(); (err == nil) != ok {
			t.Errorf("Validate(%q) = %v", mode, err)
		}
	}
}
