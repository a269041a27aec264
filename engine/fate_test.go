package engine

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/codec"
)

// each is one error of every exported kind, by its name, with the fate that the table in doc.go says.
var each = map[string]struct {
	err  error
	fate Fate
}{
	"ErrBusy":               {ErrBusy, FateNotDone},
	"BusyError":             {&BusyError{}, FateNotDone},
	"ErrStopped":            {ErrStopped, FateNotDone},
	"ErrTooLarge":           {ErrTooLarge, FateNotDone},
	"ErrInitialized":        {ErrInitialized, FateNotDone},
	"ErrMembership":         {ErrMembership, FateNotDone},
	"IntersectionError":     {&IntersectionError{}, FateNotDone},
	"WitnessQuorumError":    {&WitnessQuorumError{}, FateNotDone},
	"ErrNotMember":          {ErrNotMember, FateNotDone},
	"ErrChangeInProgress":   {ErrChangeInProgress, FateNotDone},
	"ErrTransferInProgress": {ErrTransferInProgress, FateNotDone},
	"ErrLeaderLeaves":       {ErrLeaderLeaves, FateNotDone},
	"ErrTransferTarget":     {ErrTransferTarget, FateNotDone},
	"ErrMayNotCampaign":     {ErrMayNotCampaign, FateNotDone},
	"ErrNoLeaderToForget":   {ErrNoLeaderToForget, FateNotDone},
	"ErrWitnessLog":         {ErrWitnessLog, FateNotDone},
	"ChangedError":          {&ChangedError{}, FateNotDone},
	"BehindError":           {&BehindError{}, FateNotDone},
	"ErrPurged":             {ErrPurged, FateNotDone},
	"PurgedError":           {&PurgedError{}, FateNotDone},
	"ErrNotSnapshotter":     {ErrNotSnapshotter, FateNotDone},
	"ErrNotAdopter":         {ErrNotAdopter, FateNotDone},
	"ErrRestoreGivenUp":     {ErrRestoreGivenUp, FateNotDone},
	"ErrRestoreMismatch":    {ErrRestoreMismatch, FateNotDone},
	"ErrNothingApplied":     {ErrNothingApplied, FateNotDone},
	"ErrNothingToPurge":     {ErrNothingToPurge, FateNotDone},
	"QuorumError":           {&QuorumError{Cause: context.Canceled}, FateNotDone},
	"LagError":              {&LagError{Cause: context.Canceled}, FateNotDone},
	"ErrNoState":            {ErrNoState, FateNotDone},
	"ErrLeaseReadsOff":      {ErrLeaseReadsOff, FateNotDone},
	"ErrLeaseReads":         {ErrLeaseReads, FateNotDone},
	"DiskStallError":        {&DiskStallError{}, FateUnknown},
	"StagedError":           {&StagedError{Cause: ErrStopped}, FateNotDone},
	"TransferError":         {&TransferError{Cause: context.Canceled}, FateUnknown},
	"WitnessError":          {&WitnessError{}, FateNotDone},
	"UnknownError":          {&UnknownError{Cause: context.Canceled}, FateUnknown},
	"StateMachineError":     {&StateMachineError{}, FateUnknown},
	"LeadershipError":       {&LeadershipError{}, FateNotDone},
	"SessionExpiredError":   {&SessionExpiredError{}, FateUnknown},
	"AppliedError":          {&AppliedError{}, FateDone},
	"SessionAnsweredError":  {&SessionAnsweredError{}, FateUnknown},
	"ErrInFlight":           {ErrInFlight, FateNotDone},
	"OpenCommandError":      {&OpenCommandError{Cause: &NotLeaderError{}}, FateUnknown},
	"ForwardError":          {&ForwardError{}, FateNotDone},
	"NotLeaderError":        {&NotLeaderError{}, FateNotDone},
	"ConfigError":           {&ConfigError{}, FateNotDone},
	"ArgumentError":         {&ArgumentError{}, FateNotDone},
	"IncarnationError":      {&IncarnationError{}, FateNotDone},
}

func TestFateOf(t *testing.T) {
	for name, e := range each {
		if got := FateOf(e.err); got != e.fate {
			t.Errorf("%s: %v, want %v", name, got, e.fate)
		}
		if got := FateOf(fmt.Errorf("a caller adds words: %w", e.err)); got != e.fate {
			t.Errorf("%s, wrapped: %v, want %v", name, got, e.fate)
		}
	}
	for _, c := range []struct {
		err  error
		want Fate
	}{
		{nil, FateDone},
		{context.Canceled, FateNotDone},
		{context.DeadlineExceeded, FateNotDone},
		{errors.New("of somebody else"), FateUnknown},
		// What an error wraps does not decide.
		{&UnknownError{LogID: codec.LogID{Index: 7}, Cause: &NotLeaderError{}}, FateUnknown},
		{&UnknownError{Cause: &ForwardError{Node: 2, Text: "busy"}}, FateUnknown},
		{fmt.Errorf("%w: %w", &BehindError{}, context.DeadlineExceeded), FateNotDone},
	} {
		if got := FateOf(c.err); got != c.want {
			t.Errorf("%v: %v, want %v", c.err, got, c.want)
		}
	}
	if got := Fate(9).String() + FateDone.String() + FateNotDone.String() + FateUnknown.String(); got != "Fate(9)donenot doneunknown" {
		t.Error(got)
	}
}

// Every exported error has its line in the table of the package's documentation, and its case above.
func TestErrorsAreInTheTable(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(doc), "// # Errors")
	if !found {
		t.Fatal("doc.go has no part named Errors")
	}
	table, _, _ = strings.Cut(table, "\n// # ")
	words := strings.FieldsFunc(table, func(r rune) bool { return strings.ContainsRune(" ,;\n/()[].", r) })
	names := exportedErrors(t)
	if len(names) < 40 {
		t.Fatalf("only %d exported errors found: %v", len(names), names)
	}
	for _, name := range names {
		if !slices.Contains(words, name) {
			t.Errorf("%s is not in the table of doc.go", name)
		}
		if _, ok := each[name]; !ok {
			t.Errorf("%s has no case in this test", name)
		}
	}
	for name := range each {
		if !slices.Contains(names, name) {
			t.Errorf("%s has a case in this test and is not exported by errors.go", name)
		}
	}
}

// exportedErrors returns the exported names that errors.go declares.
func exportedErrors(t *testing.T) []string {
	file, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	add := func(id *ast.Ident) {
		if id.IsExported() {
			names = append(names, id.Name)
		}
	}
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, s := range g.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				add(s.Name)
			case *ast.ValueSpec:
				for _, id := range s.Names {
					add(id)
				}
			}
		}
	}
	return names
}
