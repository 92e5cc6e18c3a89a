// Package cdi knows which devices the Container Device Interface offers on a
// machine. It reads the specification files that tools such as nvidia-ctk write
// and a container engine applies, and takes nothing from them but names: [Read]
// returns the kinds, each with the names of its devices.
//
// The format is that of the CDI specification
// (github.com/cncf-tags/container-device-interface, SPEC.md, version 1.0.0).
package cdi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	// maxFile bounds one specification. That of a machine with eight GPUs, each
	// cut in seven, stays below 200 KiB; most of it are the paths of libraries.
	maxFile = 1 << 20
	// maxFiles bounds the files that are read. There is one for each tool.
	maxFiles = 64
	// maxDevices bounds the devices of one kind. Capabilities are for people to
	// read, and 256 is all of the machine above with its names and numbers.
	maxDevices = 256
	// maxDepth and maxColumn bound how deep YAML may be nested, see unusual. A
	// specification needs less than ten levels, of two or four blanks.
	maxDepth, maxColumn = 64, 256
)

// Dirs returns where the specification and Podman look by default.
func Dirs() []string { return []string{"/etc/cdi", "/var/run/cdi"} }

// Kind is a vendor's class of devices.
type Kind struct {
	Vendor, Class string
	Devices       []string // sorted, each once
}

// String is the kind as specifications and demands write it, as in "nvidia.com/gpu".
func (k Kind) String() string { return k.Vendor + "/" + k.Class }

// Read returns the kinds of devices that the specifications in dirs describe,
// sorted by name. A directory that does not exist is empty; a file that cannot be
// used is told to log and passed over, because the engine does the same.
func Read(ctx context.Context, dirs []string, log *slog.Logger) []Kind {
	kinds := make(map[string]Kind)
	files := 0
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				log.WarnContext(ctx, "device specifications are left out", "dir", dir, "error", err)
			}
			continue
		}
		for _, entry := range entries {
			if ext := filepath.Ext(entry.Name()); ext != ".json" && ext != ".yaml" {
				continue
			}
			path := filepath.Join(dir, entry.Name())
			if files++; files > maxFiles {
				log.WarnContext(ctx, "device specifications are left out", "file", path, "most_files", maxFiles)
				break
			}
			found, err := readFile(path)
			if err != nil {
				log.WarnContext(ctx, "a device specification is left out", "file", path, "error", err)
				continue
			}
			known := kinds[found.String()]
			found.Devices = append(found.Devices, known.Devices...)
			kinds[found.String()] = found
		}
	}
	all := make([]Kind, 0, len(kinds))
	for _, k := range kinds {
		slices.Sort(k.Devices)
		k.Devices = slices.Compact(k.Devices)
		k.Devices = k.Devices[:min(len(k.Devices), maxDevices)]
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b Kind) int { return strings.Compare(a.String(), b.String()) })
	return all
}

func readFile(path string) (_ Kind, err error) {
	info, err := os.Stat(path) // a link is followed, as volumes of Kubernetes have them
	if err != nil {
		return Kind{}, err
	}
	if !info.Mode().IsRegular() {
		return Kind{}, errors.New("it is no file")
	}
	f, err := os.Open(path)
	if err != nil {
		return Kind{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Kind{}, err
	}
	if len(text) > maxFile {
		return Kind{}, fmt.Errorf("it is larger than %d bytes", maxFile)
	}
	return parse(text, filepath.Ext(path) == ".json")
}

// specification is what is read of a file.
type specification struct {
	Kind    string `json:"kind"`
	Devices []struct {
		Name string `json:"name"`
	} `json:"devices"`
}

// The names of the specification. They become names and values of capabilities,
// so nothing else may pass.
var (
	vendorName = regexp.MustCompile(`^[A-Za-z]([A-Za-z0-9_.-]*[A-Za-z0-9])?$`)
	className  = regexp.MustCompile(`^[A-Za-z]([A-Za-z0-9_-]*[A-Za-z0-9])?$`)
	deviceName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?$`)
)

// maxName bounds a name; those of the wild have less than fifty characters.
const maxName = 128

// parse reads one specification.
func parse(text []byte, isJSON bool) (Kind, error) {
	var s specification
	if isJSON {
		if err := json.Unmarshal(text, &s); err != nil {
			return Kind{}, fmt.Errorf("it is no specification in JSON: %w", err)
		}
	} else if err := readYAML(text, &s); err != nil {
		return Kind{}, fmt.Errorf("it is no specification in YAML: %w", err)
	}
	vendor, class, _ := strings.Cut(s.Kind, "/")
	if len(s.Kind) > maxName || !vendorName.MatchString(vendor) || !className.MatchString(class) {
		return Kind{}, errors.New("its kind is not of the form vendor/class")
	}
	k := Kind{Vendor: vendor, Class: class}
	for _, d := range s.Devices {
		if len(d.Name) > maxName || !deviceName.MatchString(d.Name) {
			return Kind{}, errors.New("a device's name is none that the specification allows")
		}
		k.Devices = append(k.Devices, d.Name)
	}
	if len(k.Devices) == 0 {
		return Kind{}, errors.New("it has no devices")
	}
	return k, nil
}

// readYAML takes the two members of interest out of the syntax tree. Decoding
// would follow aliases, of which a small file can make a large one. It guards
// against the YAML package, which has panicked on malformed input before.
func readYAML(text []byte, s *specification) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("it cannot be read")
		}
	}()
	tokens := lexer.Tokenize(strings.ReplaceAll(string(text), "\r\n", "\n"))
	if unusual(tokens) {
		return errors.New("it is nested deeply, or has anchors or tags")
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil {
		return errors.New("it has an error of syntax") // the package's text quotes the file over several lines
	}
	for _, doc := range file.Docs {
		for key, value := range members(doc.Body) {
			switch key {
			case "kind":
				s.Kind = scalar(value)
			case "devices":
				list, ok := value.(*ast.SequenceNode)
				if !ok {
					return errors.New("its devices are no list")
				}
				for _, item := range list.Values {
					s.Devices = append(s.Devices, struct {
						Name string `json:"name"`
					}{scalar(members(item)["name"])})
				}
			}
		}
	}
	return nil
}

// members are the entries of a mapping, nil when node is none.
func members(node ast.Node) map[string]ast.Node {
	mapping, ok := node.(ast.MapNode)
	if !ok {
		return nil
	}
	all := make(map[string]ast.Node)
	for entries := mapping.MapRange(); entries.Next(); {
		all[scalar(entries.Key())] = entries.Value()
	}
	return all
}

// scalar is the text of a plain or quoted value, "" of anything else. Numbers
// keep their spelling: the name of nvidia-ctk's first device is "0".
func scalar(node ast.Node) string {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value
	}
	return ""
}

// unusual finds what a specification does not need and a parser that descends by
// recursion could be hurt with. Nesting on one line shows in the column of what
// nests; nesting over many lines needs as many blanks in front of each.
func unusual(tokens token.Tokens) bool {
	brackets := 0
	for _, t := range tokens {
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			if brackets++; brackets > maxDepth {
				return true
			}
		case token.SequenceEndType, token.MappingEndType:
			brackets--
		case token.SequenceEntryType, token.MappingKeyType, token.MappingValueType:
			if brackets == 0 && t.Position.Column > maxColumn {
				return true
			}
		case token.AnchorType, token.AliasType, token.TagType, token.DirectiveType:
			return true
		}
	}
	return false
}
