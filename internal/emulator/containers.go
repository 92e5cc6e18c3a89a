package emulator

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// containerItem is one file of a run's container (§9.1).
type containerItem struct {
	path     string
	total    int64 // of the stream that is uploaded
	have     int64
	length   int64 // of the file itself
	encoding string
	busy     bool // a chunk is being stored
	file     *appendFile
}

type containerItemWire struct {
	ContainerID     int64  `json:"containerId"`
	ScopeIdentifier string `json:"scopeIdentifier"`
	Path            string `json:"path"`
	ItemType        string `json:"itemType"`
	Status          string `json:"status"`
	FileLength      int64  `json:"fileLength"`
	ContentLocation string `json:"contentLocation"`
}

func (s *Server) runOfContainer(c *call) (*run, error) {
	id, err := strconv.Atoi(c.v("containerId"))
	for _, r := range s.runs {
		if err == nil && r.containerID() == id {
			return r, s.mayUse(c, r)
		}
	}
	return nil, refuse(http.StatusNotFound, "ContainerNotFoundException", "There is no file container %s.", c.v("containerId"))
}

func itemPath(c *call) string {
	path := c.q("itemPath")
	if path == "" {
		path = c.v("itemPath")
	}
	return strings.Trim(path, "/")
}

// chunk is what Content-Range says: where a body begins and how long the stream is.
// The zero value is a body that is the whole stream.
type chunk struct{ start, total int64 }

func (c *call) chunk() (chunk, error) {
	var ch chunk
	text := c.r.Header.Get("Content-Range")
	if text == "" {
		return ch, nil
	}
	var end int64
	_, err := fmt.Sscanf(text, "bytes %d-%d/%d", &ch.start, &end, &ch.total)
	if err != nil || ch.start < 0 || end >= ch.total || end-ch.start+1 != c.r.ContentLength {
		return ch, badRequest("Content-Range %q does not fit a body of %d bytes (§9.1).", text, c.r.ContentLength)
	}
	return ch, nil
}

// putItem takes one chunk of a file. Chunks come in order; the last one is
// answered with 201, those before it with 202.
func (s *Server) putItem(c *call) (any, error) {
	ch, err := c.chunk()
	if err != nil {
		return nil, err
	}
	it, err := s.openItem(c, ch.start)
	if err != nil {
		return nil, err
	}
	size, _, err := c.upload(it.file, c.stored())
	s.mu.Lock()
	defer s.mu.Unlock()
	it.busy = false
	if err != nil {
		return nil, err
	}
	it.have += size
	it.total = max(ch.total, it.have)
	it.length, it.encoding = it.total, c.r.Header.Get("Content-Encoding")
	if n, err := strconv.ParseInt(c.r.Header.Get("x-tfs-filelength"), 10, 64); err == nil && n >= 0 {
		it.length = n
	}
	status := http.StatusAccepted
	if it.have == it.total {
		status = http.StatusCreated
		if err := it.file.pause(); err != nil {
			return nil, err
		}
	}
	answerJSON(c.w, status, it.wire(c))
	return streamed{}, nil
}

// openItem finds or makes the file that a chunk belongs to. A chunk that starts at
// zero starts the file again. The caller stores the chunk and ends busy.
func (s *Server) openItem(c *call, start int64) (*containerItem, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.runOfContainer(c)
	if err != nil {
		return nil, err
	}
	path := itemPath(c)
	if path == "" || c.q("scope") == "" {
		return nil, badRequest("An upload names itemPath and scope (§9.1).")
	}
	it := r.items[path]
	if it == nil || start == 0 {
		it = &containerItem{path: path, file: &appendFile{path: filepath.Join(s.dir, "containers", strconv.Itoa(r.id), newGUID())}}
	}
	switch {
	case it.busy:
		return nil, badRequest("A chunk of %s is being stored; chunks come one after another (§9.1).", path)
	case it.have != start:
		return nil, badRequest("The chunk starts at byte %d, the file has %d (§9.1).", start, it.have)
	}
	r.items[path], it.busy = it, true
	c.note = path
	return it, nil
}

func (it *containerItem) wire(c *call) containerItemWire {
	id, _ := strconv.ParseInt(c.v("containerId"), 10, 64) // found by it already
	status := "pendingUpload"
	if it.have >= it.total {
		status = "created"
	}
	return containerItemWire{
		ContainerID: id, ScopeIdentifier: c.q("scope"), Path: it.path, ItemType: "file", Status: status, FileLength: it.length,
		ContentLocation: base(c.r) + "/_apis/resources/Containers/" + c.v("containerId") + "?itemPath=" + it.path,
	}
}

// getContainer lists the files at or below a path, or answers one file's content.
func (s *Server) getContainer(c *call) (any, error) {
	s.mu.Lock()
	r, err := s.runOfContainer(c)
	if err != nil {
		s.mu.Unlock()
		return nil, err
	}
	path, out := itemPath(c), []containerItemWire{}
	for name, it := range r.items {
		if path == "" || name == path || strings.HasPrefix(name, path+"/") {
			out = append(out, it.wire(c))
		}
	}
	var one containerItem // a copy: it grows while chunks arrive
	if it := r.items[path]; it != nil {
		one = *it
	}
	s.mu.Unlock()
	if one.file != nil && c.wants("application/octet-stream") {
		return one.content(c)
	}
	slices.SortFunc(out, func(a, b containerItemWire) int { return strings.Compare(a.Path, b.Path) })
	return listOf(out), nil
}

func (it *containerItem) content(c *call) (any, error) {
	file, err := it.file.read()
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // only read from
	if it.encoding != "" {
		c.w.Header().Set("Content-Encoding", it.encoding)
	}
	c.w.Header().Set("Content-Type", "application/octet-stream")
	c.w.Header().Set("Content-Length", itoa(it.have))
	_, _ = io.CopyN(c.w, file, it.have) // a client that went away is its own problem
	return streamed{}, nil
}
