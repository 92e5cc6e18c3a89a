package testresults

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Bounds of one file. They keep a hostile file from costing more than its job's
// own time; real files stay far below.
const (
	// maxFile is the size in bytes. Reports of the largest suites have some tens
	// of megabytes, and the parser may hold one text of a file whole.
	maxFile = 128 << 20
	// maxDepth is how deep elements nest. Suites nest as directories do.
	maxDepth = 256
	// maxCases is the number of results. A thousand of them are one request, and
	// a run with more than this can be neither published nor read by anybody.
	maxCases = 500_000
	// maxText is what is kept of a message or a stack, in bytes: a thousand
	// failures with both have to fit into some requests.
	maxText = 64 << 10
	// maxOutput is what is kept of a case's output, in bytes.
	maxOutput = 1 << 20
	// maxNames is what is kept of a name, in bytes.
	maxNames = 4 << 10
)

var errTooLarge = fmt.Errorf("the file is larger than %d MiB", maxFile>>20)

// document walks through an XML file. Elements are known by their local names:
// writers disagree about namespaces.
type document struct {
	file  string
	masks Masks
	xml   *xml.Decoder
	level int // how many elements are open
	cases int
}

// element is the beginning of an element.
type element struct {
	of    *document
	name  string
	attrs []xml.Attr
}

// attr returns an attribute, "" when it is absent, cut to what is kept of names.
func (e element) attr(name string) string { return e.of.cut(e.text(name), maxNames) }

// text returns an attribute that may be long.
func (e element) text(name string) string {
	for _, a := range e.attrs {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// open reads up to the root of a document.
func open(r io.Reader, file string, masks Masks) (*document, element, error) {
	d := &document{file: file, masks: masks}
	decoded, err := decoded(&limited{r: r, left: maxFile})
	if err != nil {
		return nil, element{}, d.fault(err)
	}
	d.xml = xml.NewDecoder(decoded)
	d.xml.CharsetReader = charset
	for {
		token, err := d.next()
		if errors.Is(err, io.EOF) {
			return nil, element{}, d.fault(errors.New("the file has no element"))
		}
		if err != nil {
			return nil, element{}, err
		}
		if start, ok := token.(xml.StartElement); ok {
			return d, element{d, start.Name.Local, start.Attr}, nil
		}
	}
}

// next returns the next token, counting open elements.
func (d *document) next() (xml.Token, error) {
	token, err := d.xml.Token()
	if errors.Is(err, io.EOF) && d.level == 0 {
		return nil, io.EOF
	}
	if err != nil {
		return nil, d.fault(err)
	}
	switch token.(type) {
	case xml.StartElement:
		if d.level++; d.level > maxDepth {
			return nil, d.fault(fmt.Errorf("elements nest deeper than %d", maxDepth))
		}
	case xml.EndElement:
		d.level--
	}
	return token, nil
}

// children calls visit with every child of the element entered last. What visit
// does not read of a child is passed over.
func (d *document) children(visit func(element) error) error {
	inside := d.level
	for {
		token, err := d.next()
		if err != nil {
			return err
		}
		if start, ok := token.(xml.StartElement); ok {
			if err := visit(element{d, start.Name.Local, start.Attr}); err != nil {
				return err
			}
			for d.level > inside {
				if _, err := d.next(); err != nil {
					return err
				}
			}
		}
		if d.level < inside {
			return nil
		}
	}
}

// content returns the text of the element entered last, of everything in it, cut
// to limit bytes and without blanks around it.
func (d *document) content(limit int) (string, error) {
	inside := d.level
	text := clip{masks: d.masks, limit: limit}
	for {
		token, err := d.next()
		if err != nil {
			return "", err
		}
		if data, ok := token.(xml.CharData); ok {
			text.add(data)
		}
		if d.level < inside {
			return cut(strings.TrimSpace(text.end()), limit), nil
		}
	}
}

// end reads what follows the root, which may be a broken tail.
func (d *document) end() error {
	for {
		if _, err := d.next(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// fault says where in which file err is.
func (d *document) fault(err error) error {
	line := 1
	if d.xml != nil {
		line, _ = d.xml.InputPos()
	}
	if syntax, ok := errors.AsType[*xml.SyntaxError](err); ok {
		line, err = syntax.Line, errors.New(syntax.Msg)
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%s:%d: %w", d.file, line, err)
}

// root fails when the root is none of names.
func (d *document) root(e element, format string, names ...string) error {
	if slices.Contains(names, e.name) {
		return nil
	}
	return d.fault(fmt.Errorf("a file of format %s begins with <%s>, this one with <%s>", format, strings.Join(names, "> or <"), d.cut(e.name, 100)))
}

// count counts a case.
func (d *document) count() error {
	if d.cases++; d.cases > maxCases {
		return d.fault(fmt.Errorf("the file has more than %d results", maxCases))
	}
	return nil
}

// limited reads at most left bytes and fails beyond.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		if n, err := l.r.Read(make([]byte, 1)); n == 0 {
			return 0, err
		}
		return 0, errTooLarge
	}
	n, err := l.r.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}
