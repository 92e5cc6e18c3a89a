package imagebuild

import "testing"

func TestTheSizeOfACacheIsThatOfItsLayers(t *testing.T) {
	for name, c := range map[string]struct {
		manifest string
		want     int64
		fails    bool
	}{
		"a manifest":                 {`{"config":{"size":9},"layers":[{"size":3},{"size":4}]}`, 7, false},
		"an index":                   {`{"manifests":[{"size":30},{"size":4}]}`, 34, false},
		"a size that cannot be":      {`{"layers":[{"size":-3},{"size":4}]}`, 4, false},
		"a manifest without layers":  {`{}`, 0, false},
		"something else altogether":  {`<html>`, 0, true},
		"a list where a map belongs": {`[]`, 0, true},
	} {
		got, err := sizeOfLayers([]byte(c.manifest))
		if got != c.want || (err != nil) != c.fails {
			t.Errorf("%s: sizeOfLayers() = %d, %v, want %d and failure %t", name, got, err, c.want, c.fails)
		}
	}
}
