package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace/millrace/cluster_benchmark/report"
	"github.com/millrace/millrace/cluster_benchmark/result"
)

// reported runs the command report in a directory with one result, old.jsonl.
func reported(t *testing.T, args ...string) (dir, stdout string, err error) {
	t.Helper()
	dir = t.TempDir()
	t.Chdir(dir)
	f, err := os.Create("old.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	err = result.WriteLine(f, &result.Result{Schema: result.Schema, Profile: "quick", Round: 1, Key: result.Key{Target: "millrace", Nodes: 3}, Safety: &result.Safety{OK: true}})
	if closeErr := f.Close(); err != nil || closeErr != nil {
		t.Fatal(err, closeErr)
	}
	if err := os.WriteFile("mine.html", []byte("<p>mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	c := rootCommand(&out, &out)
	c.SetArgs(append([]string{"report"}, args...))
	err = c.Execute()
	return dir, out.String(), err
}

func TestReportCommand(t *testing.T) {
	for _, c := range []struct {
		args []string
		file string
	}{{[]string{"old.jsonl"}, "old.html"}, {[]string{"old.jsonl", "old.jsonl", "--html", "x.html"}, "x.html"}} {
		dir, stdout, err := reported(t, c.args...)
		if err != nil || stdout != "Report: "+c.file+"\n" {
			t.Fatalf("%v: %q, %v", c.args, stdout, err)
		}
		data, err := os.ReadFile(filepath.Join(dir, c.file))
		if err != nil || !strings.HasPrefix(string(data), report.Mark) || !strings.HasSuffix(string(data), "</html>\n") {
			t.Errorf("%v: %d bytes, %v", c.args, len(data), err)
		}
		var out bytes.Buffer
		if err := writeReport(&out, c.args[:1], c.file); err != nil {
			t.Errorf("a report is not replaced: %v", err)
		}
	}
}

func TestReportRefuses(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "report: 0 result files given, want 1 to 26"},
		{[]string{"no.jsonl"}, "no.jsonl: no such file or directory, want a file of results"},
		{[]string{"mine.html"}, "mine.html:1: not a result"},
		{[]string{"old.jsonl", "--html", "mine.html"}, "--html mine.html: there is a file that is no report, want another name"},
		{[]string{"old.jsonl", "--html", "no/x.html"}, "--html no/x.html: no such file or directory, want a file that can be written"},
	} {
		_, _, err := reported(t, c.args...)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.args, err, c.want)
		}
		if data, err := os.ReadFile("mine.html"); err != nil || string(data) != "<p>mine" {
			t.Errorf("%v: a file that is no report holds %q, %v", c.args, data, err)
		}
	}
}
