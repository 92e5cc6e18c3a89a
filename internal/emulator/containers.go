package emulator

import (
	"fmt"
	"io"
	"maps"
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
	it, again, err := s.openItem(c, ch.start)
	if err != nil {
		return nil, err
	}
	if again {
		return s.repeated(c, it, ch)
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

// repeated answers a chunk that is stored already: its client did not get the
// answer.
func (s *Server) repeated(c *call, it *containerItem, ch chunk) (any, error) {
	if _, err := io.Copy(io.Discard, c.stored()); err != nil {
		return nil, badRequest("The body ended early.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	status := http.StatusAccepted
	if ch.start+c.r.ContentLength == it.total {
		status = http.StatusCreated
	}
	answerJSON(c.w, status, it.wire(c))
	return streamed{}, nil
}

// openItem finds or makes the file that a chunk belongs to. A chunk that starts at
// zero starts the file again. One that is stored already is said to come again;
// otherwise the caller stores the chunk and ends busy.
func (s *Server) openItem(c *call, start int64) (_ *containerItem, again bool, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.runOfContainer(c)
	if err != nil {
		return nil, false, err
	}
	path := itemPath(c)
	switch {
	case path == "" || c.q("scope") == "":
		return nil, false, badRequest("An upload names itemPath and scope (§9.1).")
	case guid(c.q("scope")) != r.scope():
		return nil, false, badRequest("The scope %s is not the project of the container (§9.1).", c.q("scope"))
	}
	it := r.items[path]
	if it == nil || start == 0 {
		it = &containerItem{path: path, file: &appendFile{path: filepath.Join(s.dir, "containers", strconv.Itoa(r.id), newGUID())}}
	}
	switch {
	case it.busy:
		return nil, false, badRequest("A chunk of %s is being stored; chunks come one after another (§9.1).", path)
	case start > 0 && start+c.r.ContentLength == it.have:
		c.note = path + " again"
		return it, true, nil
	case it.have != start:
		return nil, false, badRequest("The chunk starts at byte %d, the file has %d (§9.1).", start, it.have)
	}
	r.items[path], it.busy = it, true
	c.note = path
	return it, false, nil
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

// getContainer lists the files and folders at or below a path, or answers one
// file's content, or a folder as a zip.
func (s *Server) getContainer(c *call) (any, error) {
	s.mu.Lock()
	r, err := s.runOfContainer(c)
	if err != nil {
		s.mu.Unlock()
		return nil, err
	}
	path, found := itemPath(c), r.itemsBelow(itemPath(c))
	s.mu.Unlock()
	switch {
	case c.wants("application/zip") || strings.EqualFold(c.q("$format"), "zip"):
		return zipOf(c, found, path)
	case c.wants("application/octet-stream"):
		if len(found) != 1 || found[0].path != path {
			return nil, refuse(http.StatusNotFound, "ContainerItemNotFoundException", "The container has no file %s.", path)
		}
		return found[0].content(c)
	}
	var out []containerItemWire
	for _, dir := range foldersOf(found, path) {
		folder := containerItem{path: dir}
		wire := folder.wire(c)
		wire.ItemType = "folder"
		out = append(out, wire)
	}
	for _, it := range found {
		out = append(out, it.wire(c))
	}
	slices.SortFunc(out, func(a, b containerItemWire) int { return strings.Compare(a.Path, b.Path) })
	return listOf(out), nil
}

// itemsBelow returns copies of the items at or below a path, in order: they grow
// while chunks arrive. The caller holds the server's lock.
func (r *run) itemsBelow(path string) []containerItem {
	var found []containerItem
	for name, it := range r.items {
		if path == "" || name == path || strings.HasPrefix(name, path+"/") {
			found = append(found, *it)
		}
	}
	slices.SortFunc(found, func(a, b containerItem) int { return strings.Compare(a.path, b.path) })
	return found
}

// foldersOf returns the folders at or below a path that items are in.
func foldersOf(items []containerItem, path string) []string {
	known := make(map[string]bool)
	for _, it := range items {
		for dir, _ := cutLast(it.path); dir != "" && len(dir) >= len(path); dir, _ = cutLast(dir) {
			known[dir] = true
		}
	}
	return slices.Sorted(maps.Keys(known))
}

func cutLast(path string) (dir, name string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
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
