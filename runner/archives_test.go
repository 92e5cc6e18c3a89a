package runner_test

import (
	"testing"

	"github.com/dockless-ci/dockless/internal/job"
)

// bundle makes a folder with what archives have to keep.
const bundle = "mkdir -p in/sub in/.dot; echo a >in/a; echo b >in/sub/b; echo c >in/.dot/c; chmod 750 in/sub/b; ln -s a in/link; touch -d '2001-02-03 04:05:06 UTC' in/a in/sub\n"

func TestArchiveFiles(t *testing.T) {
	for name, c := range map[string]fileCase{
		"zip": {
			before: bundle, task: use(archiveFiles, "rootFolderOrFile", "in", "archiveFile", "out/x.zip"),
			after: "ls -A out; mkdir to; unzip -q out/x.zip -d to; " + tree("to") + "; stat -c %a to/in/sub/b; stat -c %Y to/in/a",
			want:  []string{"x.zip", "to/in/.dot/c=c", "to/in/a=a", "to/in/link=a", "to/in/sub/b=b", "750", "981173106"},
			log:   []string{"Found 1 files", "Archiving file: in", "adding: in/sub/b"},
		},
		"without the folder, and quiet": {
			before: bundle, task: use(archiveFiles, "rootFolderOrFile", "in", "includeRootFolder", "false", "archiveFile", "x.zip", "quiet", "true"),
			after: "unzip -Z1 x.zip | LC_ALL=C sort", want: []string{".dot/", ".dot/c", "a", "link", "sub/", "sub/b"}, log: []string{"Found 4 files"},
		},
		"one file": {
			before: bundle, task: use(archiveFiles, "rootFolderOrFile", "in/a", "includeRootFolder", "false", "archiveFile", "x.jar"),
			after: "unzip -Z1 x.jar", want: []string{"a"},
		},
		"where the service says": {
			before: "mkdir -p $(Build.BinariesDirectory); echo a >$(Build.BinariesDirectory)/a", task: use(archiveFiles, "includeRootFolder", "false"),
			after: "unzip -Z1 $(Build.ArtifactStagingDirectory)/$(Build.BuildId).zip", want: []string{"a"},
		},
		"tar.gz": {
			before: bundle, task: use(archiveFiles, "rootFolderOrFile", "in", "archiveType", "tar", "archiveFile", "x.tar.gz", "verbose", "true"),
			after: "mkdir to; tar xzf x.tar.gz -C to; " + tree("to"),
			want:  []string{"to/in/.dot/c=c", "to/in/a=a", "to/in/link -> a", "to/in/sub/b=b"}, log: []string{"in/sub/b"},
		},
		"tar": {
			before: bundle, task: use(archiveFiles, "rootFolderOrFile", "in", "archiveType", "tar", "tarCompression", "none", "archiveFile", "x.tar"),
			after: "mkdir to; tar xf x.tar -C to; " + tree("to") + "; stat -c '%a' to/in/sub/b; stat -c %Y to/in/sub to/in/a",
			want:  []string{"to/in/.dot/c=c", "to/in/a=a", "to/in/link -> a", "to/in/sub/b=b", "750", "981173106", "981173106"},
		},
		"tar.bz2": {
			before: bundle, task: use(archiveFiles, "rootFolderOrFile", "in", "archiveType", "tar", "tarCompression", "bz2", "archiveFile", "x.tar.bz2"),
			after: "ls -A; bzip2 -dc x.tar.bz2 | tar t | wc -l", want: []string{"in", "x.tar.bz2", "7"},
		},
		"tar.xz": {
			before: bundle, task: use(archiveFiles, "rootFolderOrFile", "in", "archiveType", "tar", "tarCompression", "xz", "archiveFile", "x.tar.xz"),
			after: "ls -A; xz -dc x.tar.xz | tar t | wc -l", want: []string{"in", "x.tar.xz", "7"},
		},
		"7z": {
			before: bundle, task: use(archiveFiles, "rootFolderOrFile", "in", "archiveType", "7z", "sevenZipCompression", "fast", "includeRootFolder", "false", "archiveFile", "x.7z"),
			after: "7zz l -slt x.7z | sed -n 's/^Path = //p' | LC_ALL=C sort; ls -A", want: []string{".dot", ".dot/c", "a", "link", "sub", "sub/b", "x.7z", "in", "x.7z"},
		},
		"a 7z in the folder that it packs": {
			before: "mkdir -p in/out in/sub; echo a >in/a; echo old >in/out/x.7z; echo s >in/sub/x.7z", task: use(archiveFiles, "rootFolderOrFile", "in", "archiveType", "7z", "archiveFile", "in/out/x.7z"),
			after: "7zz l -slt in/out/x.7z | sed -n 's/^Path = //p' | LC_ALL=C sort; ls -A in/out", want: []string{"in", "in/a", "in/out", "in/out/x.7z", "in/sub", "in/sub/x.7z", "x.7z"},
		},
		"a wim in the folder that it packs": {
			before: "mkdir in; echo a >in/a; echo old >in/x.wim", task: use(archiveFiles, "rootFolderOrFile", "in", "archiveType", "wim", "includeRootFolder", "false", "archiveFile", "in/x.wim"),
			after: "7zz l -slt in/x.wim | sed -n 's/^Path = //p' | LC_ALL=C sort", want: []string{"a", "in/x.wim"},
		},
		"added to a 7z in the folder that it packs": {
			before: "mkdir in; echo a >in/a; echo b >in/b; (cd in && 7zz a x.7z a >/dev/null)", task: use(archiveFiles, "rootFolderOrFile", "in", "archiveType", "7z", "includeRootFolder", "false", "archiveFile", "in/x.7z", "replaceExistingArchive", "false"),
			after: "7zz l -slt in/x.7z | sed -n 's/^Path = //p' | LC_ALL=C sort", want: []string{"a", "b", "in/x.7z"},
		},
		"added to a 7z": {
			before: "echo a >a; echo b >@b; 7zz a x.7z a >/dev/null", task: use(archiveFiles, "rootFolderOrFile", "@b", "archiveType", "7z", "archiveFile", "x.7z", "replaceExistingArchive", "false"),
			after: "7zz l -slt x.7z | sed -n 's/^Path = //p' | LC_ALL=C sort", want: []string{"@b", "a", "x.7z"},
		},
		"wim": {
			before: bundle, task: use(archiveFiles, "rootFolderOrFile", "in", "archiveType", "wim", "archiveFile", "x.wim"),
			after: "7zz l -slt x.wim | grep -c '^Path = in'", want: []string{"7"},
		},
		"the folder that it lands in": {
			before: "echo a >a; echo old >x.zip", task: use(archiveFiles, "rootFolderOrFile", "$(Build.SourcesDirectory)", "archiveFile", "x.zip"),
			after: "unzip -Z1 x.zip", want: []string{"s/", "s/a"}, log: []string{"Replacing the archive "},
		},
		"and a tar": {
			before: "echo a >a", task: use(archiveFiles, "rootFolderOrFile", ".", "archiveType", "tar", "archiveFile", "x.tgz"),
			after: "tar tf x.tgz", want: []string{"s/", "s/a"},
		},
		"added to a zip": {
			before: "echo a >a; echo b >b; zip -q x.zip a b; echo new >a", task: use(archiveFiles, "rootFolderOrFile", "a", "archiveFile", "x.zip", "replaceExistingArchive", "false"),
			after: "unzip -Z1 x.zip; unzip -p x.zip a", want: []string{"b", "a", "new"},
		},
		"added to a tar": {
			before: "echo a >a; echo b >b; tar cf x.tar a; ", task: use(archiveFiles, "rootFolderOrFile", "b", "archiveType", "tar", "tarCompression", "none", "archiveFile", "x.tar", "replaceExistingArchive", "false"),
			after: "tar tf x.tar", want: []string{"a", "b"},
		},
		"nothing is added to a compressed tar": {
			before: "echo a >a; tar czf x.tgz a", task: use(archiveFiles, "rootFolderOrFile", "a", "archiveType", "tar", "archiveFile", "x.tgz", "replaceExistingArchive", "false"),
			result: job.Failed, issue: "nothing can be added to a compressed tar", after: "tar tf x.tgz", want: []string{"a"},
		},
		"what is no file is left out of a zip": {
			before: "mkdir in; mkfifo in/pipe; ln -s nowhere in/gone; echo a >in/a", task: use(archiveFiles, "rootFolderOrFile", "in", "archiveFile", "x.zip"),
			after: "unzip -Z1 x.zip", want: []string{"in/", "in/a"}, issue: "left out, because the link leads nowhere",
		},
		"a name that looks like an option": {
			before: "mkdir in; echo a >in/-x; echo b >'in/@b'", task: use(archiveFiles, "rootFolderOrFile", "in", "includeRootFolder", "false", "archiveFile", "x.zip"),
			after: "unzip -Z1 x.zip", want: []string{"-x", "@b"},
		},
		"nothing": {
			before: "true", task: use(archiveFiles, "rootFolderOrFile", "in", "archiveFile", "x.zip"),
			result: job.Failed, issue: "the input rootFolderOrFile: ", after: "ls -A", want: []string{},
		},
		"an archive that is a folder": {
			before: "mkdir x.zip; echo a >a", task: use(archiveFiles, "rootFolderOrFile", "a", "archiveFile", "x.zip"),
			result: job.Failed, issue: "x.zip exists and is no file", after: "ls -A x.zip", want: []string{},
		},
		"something unheard of": {
			before: "echo a >a", task: use(archiveFiles, "rootFolderOrFile", "a", "archiveType", "rar", "archiveFile", "x.rar"),
			result: job.Failed, issue: `the input archiveType is "rar"`, after: "ls -A", want: []string{"a"},
		},
	} {
		t.Run(name, c.run)
	}
}

func TestExtractFiles(t *testing.T) {
	for name, c := range map[string]fileCase{
		"zips that patterns choose": {
			before: "mkdir -p d/e; echo a >a; echo b >b; zip -qm d/1.zip a; zip -qm d/e/2.zip b; mkdir to; echo old >to/old",
			task:   use(extractFiles, "archiveFilePatterns", "**/*.{zip,jar}", "destinationFolder", "to"),
			after:  tree("to"), want: []string{"to/a=a", "to/b=b"}, log: []string{"Found: 2 files to extract:", "Cleaning destination folder"},
		},
		"into a folder as it is": {
			before: "echo a >a; zip -qm 1.zip a; mkdir to; echo old >to/old",
			task:   use(extractFiles, "archiveFilePatterns", "1.zip", "destinationFolder", "to", "cleanDestinationFolder", "false"),
			after:  tree("to"), want: []string{"to/a=a", "to/old=old"},
		},
		"not over what is there": {
			before: "echo a >a; echo b >b; zip -qm 1.zip b a; mkdir to; echo old >to/a",
			task:   use(extractFiles, "archiveFilePatterns", "1.zip", "destinationFolder", "to", "cleanDestinationFolder", "false"),
			result: job.Failed, issue: `its entry "a": there is a file at its place`, after: tree("to"), want: []string{"to/a=old"},
		},
		"unless asked": {
			before: "echo a >a; zip -qm 1.zip a; mkdir to; mkdir away; echo away >away/f; ln -s ../away/f to/a",
			task:   use(extractFiles, "archiveFilePatterns", "1.zip", "destinationFolder", "to", "cleanDestinationFolder", "false", "overwriteExistingFiles", "true"),
			after:  tree("away") + ";" + tree("to"), want: []string{"away/f=away", "to/a=a"},
		},
		"every tar": {
			before: bundle + "tar cf 1.tar in; mv in/a in/a2; tar czf 2.tar.gz in; mv in/a2 in/a3; tar cjf 3.tbz in; mv in/a3 in/a4; tar cJf 4.txz in",
			task:   use(extractFiles, "archiveFilePatterns", "?.*", "destinationFolder", "to", "overwriteExistingFiles", "true"),
			after:  tree("to") + "; stat -c %a to/in/sub/b; stat -c %Y to/in/sub to/in/a; ls -A $(Agent.TempDirectory) | grep -vc '\\.sh$' || true",
			want:   []string{"to/in/.dot/c=c", "to/in/a=a", "to/in/a2=a", "to/in/a3=a", "to/in/a4=a", "to/in/link -> a", "to/in/sub/b=b", "750", "981173106", "981173106", "0"},
		},
		"links of a tar": {
			before: "mkdir -p in/d; echo f >in/f; ln in/f in/hard; ln -s d in/dir; ln -s /etc/hostname in/away; tar cf 1.tar -C in .; rm -r in",
			task:   use(extractFiles, "archiveFilePatterns", "*.tar", "destinationFolder", "to"),
			after:  tree("to") + "; stat -c %h to/f", want: []string{"to/away -> /etc/hostname", "to/dir -> d", "to/f=f", "to/hard=f", "2"},
		},
		"no archive": {
			before: "mkdir to; echo old >to/old", task: use(extractFiles, "destinationFolder", "to"),
			after: "ls -A to", want: []string{}, issue: "No archives were found",
		},
		"an archive that is not there": {
			before: "true", task: use(extractFiles, "archiveFilePatterns", "x.zip", "destinationFolder", "to"),
			result: job.Failed, issue: "the input archiveFilePatterns: ", after: "ls", want: []string{},
		},
		"a folder is none": {
			before: "mkdir x.zip", task: use(extractFiles, "archiveFilePatterns", "x.zip", "destinationFolder", "to"),
			result: job.Failed, issue: "x.zip is no file", after: "ls", want: []string{"x.zip"},
		},
		"a zip that leads out": {
			before: "mkdir in; cd in; echo ok >ok; echo evil >../evil; zip -q ../x.zip ok ../evil; rm -r ok ../evil",
			task:   use(extractFiles, "archiveFilePatterns", "x.zip", "destinationFolder", "to"),
			result: job.Failed, issue: `its entry "../evil" leads out of the destination folder`, after: "ls -A . to", want: []string{".:", "in", "to", "x.zip", "", "to:"},
		},
		"a tar that writes through its own link": {
			before: "mkdir away; ln -s ../away l; tar cf x.tar l; rm l; mkdir l; echo evil >l/evil; tar rf x.tar l/evil",
			task:   use(extractFiles, "archiveFilePatterns", "x.tar", "destinationFolder", "to"),
			result: job.Failed, issue: `its entry "l/evil": `, after: "ls -A away to", want: []string{"away:", "", "to:"},
		},
		"a zip by another name": {
			before: "echo a >a; zip -qm 1.zip a; mv 1.zip p.nupkg",
			task:   use(extractFiles, "archiveFilePatterns", "*.nupkg", "destinationFolder", "to"), after: tree("to"), want: []string{"to/a=a"},
		},
		"what is broken": {
			before: "echo rubbish >x.zip", task: use(extractFiles, "archiveFilePatterns", "x.zip", "destinationFolder", "to"),
			result: job.Failed, issue: "it is no zip", after: "ls -A to", want: []string{},
		},
		"a tar that breaks off": {
			before: "head -c 100000 /dev/urandom >a; tar cf - a | head -c 50000 >x.tar; rm a", task: use(extractFiles, "archiveFilePatterns", "x.tar", "destinationFolder", "to"),
			result: job.Failed, issue: `its entry "a": unexpected EOF`, after: "ls -A to", want: []string{},
		},
		"by 7-Zip": {
			before: bundle + "7zz a in.7z in >/dev/null; mkdir to; echo old >to/old; echo old >to/a",
			task:   use(extractFiles, "archiveFilePatterns", "*.7z", "destinationFolder", "to/2"),
			after:  tree("to"), want: []string{"to/2/in/.dot/c=c", "to/2/in/a=a", "to/2/in/link=a", "to/2/in/sub/b=b", "to/a=old", "to/old=old"},
		},
		"by a 7-Zip that is not there": {
			before: "touch x.rar", task: use(extractFiles, "archiveFilePatterns", "x.rar", "destinationFolder", "to", "pathToSevenZipTool", "/nowhere/7z"),
			result: job.Failed, issue: "this needs 7-Zip, and there is no program /nowhere/7z", after: "true", want: []string{},
		},
		"what only other programs can": {
			before: "touch x.tar.lz", task: use(extractFiles, "archiveFilePatterns", "x.tar.lz", "destinationFolder", "to"),
			result: job.Failed, issue: "that only the program tar can unpack", after: "true", want: []string{},
		},
		"not over the agent's own folders": {
			before: "echo a >a; zip -qm $(Agent.TempDirectory)/1.zip a", task: use(extractFiles, "archiveFilePatterns", "$(Agent.TempDirectory)/1.zip", "destinationFolder", "$(Agent.TempDirectory)"),
			result: job.Failed, issue: "holds the folders of the agent", after: "true", want: []string{},
		},
	} {
		t.Run(name, c.run)
	}
}
