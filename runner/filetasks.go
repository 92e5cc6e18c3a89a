package runner

import "github.com/dockless-ci/dockless/runner/internal/filetasks"

// fileTasks are the built-ins that copy, delete, pack and unpack files.
func fileTasks() map[string]task {
	return map[string]task{
		"5bfb729a-a7c8-4a78-a7c3-8d717bb7c13c@2": {
			name: "CopyFiles", title: "Copy files", description: "Copy the files that patterns choose to another folder.", run: native(filetasks.Copy),
		},
		"b7e8b412-0437-4065-9371-edc5881de25b@1": {
			name: "DeleteFiles", title: "Delete files", description: "Delete the files and folders that patterns choose.", run: native(filetasks.Delete),
		},
		"d8b84976-e99a-4b86-b885-4849694435b0@2": {
			name: "ArchiveFiles", title: "Archive files", description: "Pack files into a zip, tar, 7z or wim archive.", run: native(filetasks.Archive),
		},
		"5e1e3830-fbfb-11e5-aab1-090c92bc4988@1": {
			name: "ExtractFiles", title: "Extract files", description: "Unpack zip, tar and other archives.", run: native(filetasks.Extract),
		},
	}
}
