package libpod

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"io"
)

// What of an archive is looked at or held back. An image's configuration has some
// kilobytes, an index a few hundred bytes for each image.
const (
	maxConfig = 1 << 20
	maxHeld   = 4 << 20
)

// dockerOnly are the fields of an image's configuration that the OCI specification
// does not have, as they stand in its JSON.
var dockerOnly = [][]byte{[]byte(`"Healthcheck":{`), []byte(`"OnBuild":[`), []byte(`"Shell":[`)}

// loadable returns an archive that Podman loads without losing anything. BuildKit
// writes archives that are both an OCI layout and one of Docker's. Podman reads such
// a one as a layout, and then drops from an image's configuration what only Docker
// has, its healthcheck among it. So when there is such a thing the layout is left
// out. Otherwise it stays: Podman unpacks the layers of a layout once, and those of
// Docker's archives twice. What is no tar archive passes as it is.
//
// The reader ends with the error of archive; the caller closes it.
func loadable(archive io.Reader) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		buffered := bufio.NewReaderSize(archive, 64<<10)
		// The magic word of every tar archive since 1988, in its first header.
		head, err := buffered.Peek(512)
		if err == nil && bytes.HasPrefix(head[257:], []byte("ustar")) {
			err = sift(tar.NewReader(buffered), tar.NewWriter(w))
			if err == nil {
				_, err = io.Copy(io.Discard, buffered) // padding: who writes the archive must not hang
			}
		} else {
			_, err = io.Copy(w, buffered)
		}
		_ = w.CloseWithError(err) // always nil
	}()
	return r
}

type heldEntry struct {
	header *tar.Header
	data   []byte
}

// sift copies entries and holds back those that make a layout until it is known
// whether they shall be there.
func sift(in *tar.Reader, out *tar.Writer) error {
	var held []heldEntry
	docker, special := false, false
	for {
		entry, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		switch {
		case (entry.Name == "oci-layout" || entry.Name == "index.json") && entry.Size <= maxHeld:
			data, err := io.ReadAll(in)
			if err != nil {
				return err
			}
			held = append(held, heldEntry{entry, data})
			continue
		case entry.Name == "manifest.json":
			docker = true
		}
		if err := out.WriteHeader(entry); err != nil {
			return err
		}
		from := io.Reader(in)
		if entry.Size <= maxConfig {
			data, err := io.ReadAll(in)
			if err != nil {
				return err
			}
			special = special || isSpecial(data)
			from = bytes.NewReader(data)
		}
		if _, err := io.Copy(out, from); err != nil {
			return err
		}
	}
	for _, e := range held {
		if docker && special {
			break
		}
		if err := out.WriteHeader(e.header); err != nil {
			return err
		}
		if _, err := out.Write(e.data); err != nil {
			return err
		}
	}
	return out.Close()
}

// isSpecial reports whether a blob is the configuration of an image that has what
// only Docker knows.
func isSpecial(blob []byte) bool {
	if !bytes.HasPrefix(blob, []byte("{")) {
		return false
	}
	for _, field := range dockerOnly {
		if bytes.Contains(blob, field) {
			return true
		}
	}
	return false
}
