// Command scanner is a generator of bills of materials as BuildKit's protocol
// wants it: it lists the files at the root of what it is shown.
package main

import (
	"encoding/json"
	"os"
	"path/filepath"
)

func main() {
	source := os.Getenv("BUILDKIT_SCAN_SOURCE")
	entries, err := os.ReadDir(source)
	if err != nil {
		panic(err)
	}
	type file struct {
		SPDXID string `json:"SPDXID"`
		Name   string `json:"fileName"`
	}
	doc := map[string]any{"spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT", "name": "test", "dataLicense": "CC0-1.0", "documentNamespace": "https://example.com/test"}
	var files []file
	for _, e := range entries {
		files = append(files, file{SPDXID: "SPDXRef-" + e.Name(), Name: "/" + e.Name()})
	}
	doc["files"] = files
	data, err := json.Marshal(map[string]any{"_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://spdx.dev/Document", "predicate": doc})
	if err != nil {
		panic(err)
	}
	if err := os.WriteFile(filepath.Join(os.Getenv("BUILDKIT_SCAN_DESTINATION"), filepath.Base(source)+".spdx.json"), data, 0o600); err != nil {
		panic(err)
	}
}
