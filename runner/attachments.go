package runner

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/mask"
	"github.com/dockless-ci/dockless/runner/internal/command"
)

// maxAttachment bounds one attachment, in bytes, because it is held in memory
// until it is sent.
const maxAttachment = 64 << 20

// attachmentCommands put a file onto the record of the step.
func attachmentCommands() commandTable {
	return commandTable{
		"task":  {"addattachment": addAttachment, "uploadsummary": uploadSummary, "uploadfile": uploadFile},
		"build": {"uploadlog": uploadLog, "uploadsummary": uploadBuildSummary},
	}
}

func addAttachment(a *attempt, c command.Command) error {
	kind, name := c.Property("type"), c.Property("name")
	for property, value := range map[string]string{"type": kind, "name": name} {
		if !validFileName(value) {
			return fmt.Errorf("the property %s is missing or no valid file name", property)
		}
	}
	return a.attach(kind, name, c.Data)
}

func uploadSummary(a *attempt, c command.Command) error {
	return a.attach(job.AttachmentSummary, filepath.Base(c.Data), c.Data)
}

func uploadFile(a *attempt, c command.Command) error {
	return a.attach(job.AttachmentFile, filepath.Base(c.Data), c.Data)
}

func uploadLog(a *attempt, c command.Command) error {
	return a.attach(job.AttachmentLog, "CustomToolLog", c.Data)
}

func uploadBuildSummary(a *attempt, c command.Command) error {
	return a.attach(job.AttachmentSummary, "CustomMarkDownSummary-"+filepath.Base(c.Data), c.Data)
}

func validFileName(name string) bool {
	return name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\\:*?\"<>|\x00\r\n")
}

// attach reads a file of the step and adds it to the record.
func (a *attempt) attach(kind, name, file string) error {
	if file == "" {
		return errors.New("the path of the file is missing")
	}
	f, err := a.x.open(a.x.path(file))
	if err != nil {
		return fmt.Errorf("attaching a file: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return errors.Join(fmt.Errorf("attaching %s: it is no regular file", file), err)
	}
	content, err := io.ReadAll(io.LimitReader(f, maxAttachment+1))
	if err != nil {
		return fmt.Errorf("attaching a file: %w", err)
	}
	if len(content) > maxAttachment {
		return fmt.Errorf("attaching %s: it is larger than %d MiB", file, maxAttachment>>20)
	}
	if mask.IsText(content) {
		content = a.x.masks.MaskText(content) // a changed byte would break anything else, such as an archive
	}
	a.x.rep.Attach(a.ctx, a.node.record.ID, job.Attachment{Type: kind, Name: a.x.masks.Mask(name), Content: content})
	return nil
}
