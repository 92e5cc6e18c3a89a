package job

import (
	"io/fs"
	"strconv"
	"strings"
)

// Types of artifacts (protocol §9.2). They are compared ignoring case; a task may
// make up others.
const (
	ArtifactContainer      = "Container"
	ArtifactFilePath       = "FilePath"
	ArtifactVersionControl = "VersionControl"
	ArtifactPipeline       = "PipelineArtifact"
)

// Artifact is a named result of a run (protocol §9.2).
type Artifact struct {
	ID       int              `json:"id,omitempty"`
	Name     string           `json:"name"`
	Source   string           `json:"source,omitempty"` // id of the job that published it
	Resource ArtifactResource `json:"resource"`
}

// ArtifactResource says where the content of an artifact is.
type ArtifactResource struct {
	Type       string            `json:"type"`
	Data       string            `json:"data"` // location; what it looks like depends on Type
	Properties map[string]string `json:"properties,omitempty"`
}

// Container returns the file container of an artifact and its folder there, which
// is never empty, from "#/<container>/<folder>". ok is false for anything else.
func (r ArtifactResource) Container() (id int64, folder string, ok bool) {
	rest, found := strings.CutPrefix(r.Data, "#/")
	if !strings.EqualFold(r.Type, ArtifactContainer) || !found {
		return 0, "", false
	}
	number, folder, _ := strings.Cut(rest, "/")
	id, err := strconv.ParseInt(number, 10, 64)
	folder = strings.Trim(folder, "/")
	return id, folder, err == nil && folder != ""
}

// ContainerLocation is the inverse of [ArtifactResource.Container].
func ContainerLocation(id int64, folder string) string {
	return "#/" + strconv.FormatInt(id, 10) + "/" + folder
}

// RunReference names a run and the project it belongs to.
type RunReference struct {
	Project string // GUID
	Build   int
}

// RunQuery says which run somebody means: the one with the number Build, else the
// latest completed one that everything else fits.
type RunQuery struct {
	Project    string // GUID or name
	Build      int    // 0: the latest
	Definition string // number or name; empty: any, only with Build
	Branch     string // empty: any
	Tags       []string
	Partial    bool // runs with issues count, too
	Failed     bool // and failed ones
}

// Upload is files on their way into the container of a run (protocol §9.1).
type Upload struct {
	Run       RunReference
	Container int64
	Folder    string // in the container
	Whole     string // name of the artifact that has the folder for itself; empty: several may share it
	Files     []UploadFile
	Temp      string // directory for files that nobody else may read, which take a compressed copy
	// Say is told what is uploaded; it is called concurrently. Nil: nobody is.
	Say func(line string)
}

// UploadFile is one file of an [Upload]. Open is called again for another attempt.
type UploadFile struct {
	Path string // below the folder, with forward slashes
	Open func() (fs.File, error)
}

// ContainerFile is one file of an artifact.
type ContainerFile struct {
	Path string // below the artifact's folder, with forward slashes; as the server wrote it
	Size int64  // bytes; -1: not known
}
