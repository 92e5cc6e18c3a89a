package testresults

import (
	"path"
	"strings"
)

// trx reads what VSTest and MSTest write. Names of tests stand behind the results
// that use them, so the file is read twice.
func (r *reader) trx() error {
	t := &trxReader{reader: r, tests: make(map[string]trxTest)}
	for _, visit := range []func(element) error{t.definitions, t.results} {
		if _, err := r.begin(VSTest, "TestRun"); err != nil {
			return err
		}
		if err := r.doc.children(visit); err != nil {
			return err
		}
	}
	return nil
}

type trxReader struct {
	*reader
	tests  map[string]trxTest // by id
	folder string             // of attachments, relative to the file
}

// trxTest is the definition of a test.
type trxTest struct{ name, storage string }

// definitions is the first reading: what results refer to.
func (t *trxReader) definitions(e element) error {
	switch e.name {
	case "TestSettings":
		return t.doc.children(func(e element) error {
			if root := e.attr("runDeploymentRoot"); e.name == "Deployment" && root != "" {
				t.folder = unixPath(root)
			}
			return nil
		})
	case "TestDefinitions":
		return t.doc.children(t.definition)
	}
	return nil
}

func (t *trxReader) definition(e element) error {
	if err := t.doc.count(); err != nil {
		return err
	}
	test := trxTest{name: e.attr("name")}
	if storage := e.attr("storage"); storage != "" {
		test.storage = base(storage)
	}
	id := e.attr("id")
	err := t.doc.children(func(e element) error {
		if class, method := e.attr("className"), e.attr("name"); e.name == "TestMethod" && class != "" && method != "" {
			class, _, _ = strings.Cut(class, ",") // what follows names the assembly
			test.name = strings.TrimSpace(class) + "." + method
		}
		return nil
	})
	t.tests[id] = test
	return err
}

// results is the second reading.
func (t *trxReader) results(e element) error {
	switch e.name {
	case "Times":
		if from, to := date(e.attr("start")), date(e.attr("finish")); !to.Before(from) {
			t.period.include(from, to.Sub(from))
		}
	case "Results":
		return t.doc.children(func(e element) error {
			kind := trxKind(e)
			if kind == "" {
				return nil
			}
			c, err := t.result(e, kind)
			if err != nil {
				return err
			}
			return t.add(c)
		})
	case "ResultSummary":
		return t.doc.children(func(e element) error { return t.files(e, "", &t.run.Attachments) })
	}
	return nil
}

// trxKind returns the service's word for a kind of result, "" for what is none.
func trxKind(e element) string {
	return map[string]string{
		"UnitTestResult": "UnitTest", "WebTestResult": "WebTest", "TestResultAggregation": "OrderedTest", "ManualTestResult": "ManualTest",
	}[e.name]
}

func (t *trxReader) result(e element, kind string) (Case, error) {
	test := t.tests[e.attr("testId")]
	c := Case{
		Title: e.attr("testName"), Name: test.name, Storage: test.storage, Type: kind, Outcome: trxOutcome(e.attr("outcome")),
		Computer: e.attr("computerName"), Started: date(e.attr("startTime")), Duration: span(e.attr("duration")),
	}
	execution := e.attr("executionId")
	if dir := e.attr("relativeResultsDirectory"); dir != "" {
		execution = unixPath(dir)
	}
	err := t.doc.children(func(e element) error {
		switch e.name {
		case "Output":
			return t.output(&c)
		case "InnerResults":
			return t.parts(&c)
		}
		return t.files(e, execution, &c.Attachments)
	})
	if c.Outcome != Failed {
		c.Output, c.ErrorOutput = "", ""
	}
	return c, err
}

// trxOutcome reads an outcome. A missing one is that of a test whose host died;
// Error, Timeout and Aborted are failures, whatever else they are.
func trxOutcome(text string) Outcome {
	switch strings.ToLower(text) {
	case "passed", "passedbutrunaborted", "warning":
		return Passed
	case "", "failed", "error", "timeout", "aborted":
		return Failed
	case "inconclusive":
		return Inconclusive
	}
	return NotExecuted
}

func (t *trxReader) output(c *Case) error {
	return t.doc.children(func(e element) (err error) {
		switch e.name {
		case "StdOut":
			c.Output, err = t.doc.content(maxOutput)
		case "StdErr":
			c.ErrorOutput, err = t.doc.content(maxOutput)
		case "ErrorInfo":
			err = t.doc.children(func(e element) (err error) {
				switch e.name {
				case "Message":
					c.Message, err = t.doc.content(maxText)
				case "StackTrace":
					c.Stack, err = t.doc.content(maxText)
				}
				return err
			})
		}
		return err
	})
}

// maxParts bounds the parts of one result, which travel with it in one request.
const maxParts = 1000

// parts reads inner results; those inside of them become parts, too.
func (t *trxReader) parts(c *Case) error {
	return t.doc.children(func(e element) error {
		kind := trxKind(e)
		if kind == "" {
			return nil
		}
		if err := t.doc.count(); err != nil {
			return err
		}
		part, err := t.result(e, kind)
		if err != nil {
			return err
		}
		inner := part.Parts
		part.Parts, part.Output, part.ErrorOutput = nil, "", ""
		c.Attachments = append(c.Attachments, part.Attachments...)
		c.Attachments = c.Attachments[:min(len(c.Attachments), maxAttachments)]
		for _, p := range append([]Case{part}, inner...) {
			if len(c.Parts) < maxParts {
				c.Parts = append(c.Parts, p)
			}
		}
		return nil
	})
}

// files adds the paths of the files in e, which stand in a directory of their
// result below the folder of the file.
func (t *trxReader) files(e element, dir string, to *[]string) error {
	name := ""
	switch e.name {
	case "ResultFile":
		name = e.attr("path")
	case "A":
		name = e.attr("href")
	case "ResultFiles", "CollectorDataEntries", "Collector", "UriAttachments", "UriAttachment":
		return t.doc.children(func(e element) error { return t.files(e, dir, to) })
	}
	if name == "" {
		return nil
	}
	if name = unixPath(name); !path.IsAbs(name) {
		folder := t.folder
		if folder == "" { // MSTest's first version names the directory after the file
			folder = strings.TrimSuffix(base(t.file), path.Ext(t.file))
		}
		name = path.Join(folder, "In", dir, name)
	}
	attach(to, name)
	return nil
}

func unixPath(name string) string { return strings.ReplaceAll(name, `\`, "/") }
