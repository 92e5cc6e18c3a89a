package command_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/runner/internal/command"
)

func TestCommandsAreReadAsTheGrammarSays(t *testing.T) {
	for name, c := range map[string]struct {
		line  string
		want  command.Command
		found bool
		err   error
	}{
		"plain line":                {line: "hello"},
		"only data":                 {line: "##vso[task.setsecret]s3cret", found: true, want: command.Command{Area: "task", Event: "setsecret", Data: "s3cret"}},
		"anywhere in the line":      {line: "x ##vso[task.debug]y", found: true, want: command.Command{Area: "task", Event: "debug", Data: "y"}},
		"names ignore case":         {line: "##vso[Task.SetVariable Variable=a;isOutput=true]1", found: true, want: command.Command{Area: "task", Event: "setvariable", Data: "1", Properties: map[string]string{"variable": "a", "isoutput": "true"}}},
		"first bracket ends":        {line: "##vso[task.setvariable variable=a]b]c", found: true, want: command.Command{Area: "task", Event: "setvariable", Data: "b]c", Properties: map[string]string{"variable": "a"}}},
		"only the first command":    {line: "##vso[task.debug]a ##vso[task.debug]b", found: true, want: command.Command{Area: "task", Event: "debug", Data: "a ##vso[task.debug]b"}},
		"value with equals sign":    {line: "##vso[task.setvariable variable=a=b]", found: true, want: command.Command{Area: "task", Event: "setvariable", Properties: map[string]string{"variable": "a=b"}}},
		"halves of pairs":           {line: "##vso[task.logissue type=;=x;;code;sourcepath=p]m", found: true, want: command.Command{Area: "task", Event: "logissue", Data: "m", Properties: map[string]string{"sourcepath": "p"}}},
		"escapes":                   {line: "##vso[task.setvariable variable=a%5D%3Bb]1%0D%0A2%AZP25", found: true, want: command.Command{Area: "task", Event: "setvariable", Data: "1\r\n2%", Properties: map[string]string{"variable": "a];b"}}},
		"percent is decoded last":   {line: "##vso[task.debug]%AZP250A", found: true, want: command.Command{Area: "task", Event: "debug", Data: "%0A"}},
		"lower case is no escape":   {line: "##vso[task.debug]%0a%25", found: true, want: command.Command{Area: "task", Event: "debug", Data: "%0a%25"}},
		"no bracket":                {line: "##vso task.debug", err: command.ErrMalformed},
		"never closed":              {line: "##vso[task.debug", err: command.ErrMalformed},
		"one part":                  {line: "##vso[task]x", err: command.ErrMalformed},
		"three parts":               {line: "##vso[a.b.c]x", err: command.ErrMalformed},
		"empty part":                {line: "##vso[.b]x", err: command.ErrMalformed},
		"prefix is case-sensitive":  {line: "##VSO[task.debug]x"},
		"space before the name":     {line: "##vso[ task.debug]x", err: command.ErrMalformed},
		"properties without spaces": {line: "##vso[task.logissue type=error]", found: true, want: command.Command{Area: "task", Event: "logissue", Properties: map[string]string{"type": "error"}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, found, err := command.Parse([]byte(c.line), true)
			if found != c.found || !errors.Is(err, c.err) {
				t.Fatalf("Parse(%q) found %t, error %v, want %t, %v", c.line, found, err, c.found, c.err)
			}
			if found && c.want.Properties == nil {
				c.want.Properties = map[string]string{}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("Parse(%q) (-want +got):\n%s", c.line, diff)
			}
		})
	}
}

func TestPercentsStayWhenDecodingIsOff(t *testing.T) {
	if got, want := command.Unescape("a%AZP25%0A", false), "a%AZP25\n"; got != want {
		t.Errorf("Unescape = %q, want %q", got, want)
	}
}

func TestDisarmedTextCommandsNothing(t *testing.T) {
	if got, want := command.Disarm("a##vso[x.y]##VSO[x.y]###vso"), "a**vso[x.y]**VSO[x.y]#**vso"; got != want {
		t.Errorf("Disarm = %q, want %q", got, want)
	}
}

func FuzzParse(f *testing.F) {
	for _, line := range []string{"##vso[a.b c=d;e=f]g", "##vso[", "##vso[a.b]%AZP25%0A", "x##vso[A.B  c=d ]"} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		c, found, err := command.Parse(line, true)
		if found && (err != nil || c.Area == "" || c.Event == "" || strings.Contains(c.Name(), "]")) {
			t.Errorf("Parse(%q) = %+v, %v", line, c, err)
		}
		if (found || err != nil) && !command.Suspect(line) {
			t.Errorf("Parse(%q) found something in a line that is not suspect", line)
		}
		if _, found, err := command.Parse([]byte(command.Disarm(string(line))), true); found || err != nil {
			t.Errorf("Disarm(%q) left a command", line)
		}
	})
}
