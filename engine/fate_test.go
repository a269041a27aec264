package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
	"github.com/millrace/millrace/netio"
	"github.com/millrace/millrace/wal"
	"github.com/millrace/millrace/wal/snapshot"
	"github.com/millrace/millrace/wal/vfs"
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
	"ErrHeaderOnly":         {ErrHeaderOnly, FateNotDone},
	"StagedError":           {&StagedError{Cause: ErrStopped}, FateNotDone},
	"TransferError":         {&TransferError{Cause: context.Canceled}, FateUnknown},
	"WitnessError":          {&WitnessError{}, FateNotDone},
	"UnknownError":          {&UnknownError{Cause: context.Canceled}, FateUnknown},
	"StateMachineError":     {&StateMachineError{}, FateNotDone},
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
		{&fs.PathError{Op: "sync", Path: "/x", Err: syscall.EIO}, FateUnknown},
		{&fs.PathError{Op: "mkdir", Path: "/x", Err: fs.ErrExist}, FateNotDone},
		{fmt.Errorf("node 1: %w", errors.Join(ErrWitnessLog, syscall.EIO)), FateNotDone},
		// What an error wraps does not decide.
		{&UnknownError{LogID: codec.LogID{Index: 7}, Cause: &NotLeaderError{}}, FateUnknown},
		{&UnknownError{Cause: &ForwardError{Node: 2, Text: "busy"}}, FateUnknown},
		{fmt.Errorf("%w: %w", &BehindError{}, context.DeadlineExceeded), FateNotDone},
		{fmt.Errorf("node 1 %w: %w", ErrStopped, &UnknownError{Cause: syscall.EIO}), FateNotDone},
		{fmt.Errorf("%w behind byte 0: %w", ErrRestoreGivenUp, &OpenCommandError{Cause: syscall.EIO}), FateNotDone},
		{&StagedError{Cause: &AppliedError{}}, FateNotDone},
	} {
		if got := FateOf(c.err); got != c.want {
			t.Errorf("%v: %v, want %v", c.err, got, c.want)
		}
	}
	if got := Fate(9).String() + FateDone.String() + FateNotDone.String() + FateUnknown.String(); got != "Fate(9)donenot doneunknown" {
		t.Error(got)
	}
}

// foreignErrors are errors of other packages that calls return as they are.
var foreignErrors = map[string]error{
	"context.Canceled": context.Canceled, "context.DeadlineExceeded": context.DeadlineExceeded,
	"fs.ErrExist": fs.ErrExist, "fs.ErrNotExist": fs.ErrNotExist,
	"codec.ErrCorrupt": codec.ErrCorrupt, "codec.ErrVersion": codec.ErrVersion,
	"consensus.ErrLogState": consensus.ErrLogState, "consensus.ErrCommittedConflict": consensus.ErrCommittedConflict,
	"consensus.ErrTermsExhausted": consensus.ErrTermsExhausted,
	"netio.ErrClosed":             netio.ErrClosed, "netio.ErrConfig": netio.ErrConfig, "netio.ErrInsecure": netio.ErrInsecure,
	"netio.ErrStarted":   netio.ErrStarted,
	"snapshot.ErrClosed": snapshot.ErrClosed, "snapshot.ErrForeign": snapshot.ErrForeign, "vfs.ErrLocked": vfs.ErrLocked,
	"wal.ErrIdentity": wal.ErrIdentity, "wal.ErrPoisoned": wal.ErrPoisoned,
}

// innerErrors are errors of the packages below that no call of this package returns, and what becomes of them.
var innerErrors = map[string]string{
	"codec.ErrShort":                "of decoders, which readers of files and packets tell as damage",
	"session.WindowError":           "a Session gives out no serial so far ahead, and is resumed with none",
	"consensus.ErrConfig":           "Open refuses what it would, with a ConfigError",
	"consensus.ErrNotLeader":        "told as a NotLeaderError",
	"consensus.ErrTermNotCommitted": "waited for",
	"consensus.ErrSnapshot":         "in the log's lines: a snapshot that came is not installed",
	"consensus.ErrNoLeader":         "waited for",
	"consensus.ErrReadLost":         "asked again",
	"consensus.ErrTooManyReads":     "asked again",
	"shipment.ErrRefused":           "in SnapshotSendEnded",
	"shipment.ErrDamaged":           "in SnapshotSendEnded",
	"shipment.ErrSuperseded":        "in SnapshotSendEnded",
	"shipment.ErrSilent":            "in SnapshotSendEnded",
	"wal.ErrClosed":                 "the node has ended before its log has: ErrStopped",
	"wal.ErrNotHeld":                "told as a PurgedError, or read again",
	"wal.ErrStale":                  "read again",
	"wal.ErrGroupOpen":              "a node opens its group once",
	"snapshot.ErrNotHeld":           "another one is taken",
	"snapshot.ErrOffset":            "between sender and receiver",
	"snapshot.ErrIncomplete":        "between sender and receiver",
	"snapshot.ErrStateless":         "of a writer that this package gives no state",
	"netio.ErrRefused":              "in the log's lines: the dial is repeated",
}

// Every exported error has one place in the table of the package's documentation, with the fate that FateOf returns, and its
// case above. So has every one of the packages below that comes through; the others are known not to.
func TestErrorsAreInTheTable(t *testing.T) {
	table := errorTable(t)
	names, aliases := declaredErrors(t, ".")
	if len(names) < 40 {
		t.Fatalf("only %d exported errors found: %v", len(names), names)
	}
	want := map[string]error{}
	for _, name := range names {
		if _, ok := each[name]; !ok {
			t.Errorf("%s has no case in this test", name)
		}
		want[name] = each[name].err
	}
	maps.Copy(want, foreignErrors)
	for name, err := range want {
		switch fates := table[name]; {
		case len(fates) != 1:
			t.Errorf("%s stands %d times in the table of doc.go, want once", name, len(fates))
		case FateOf(err).String() != fates[0]:
			t.Errorf("%s: FateOf is %v, the table says %s", name, FateOf(err), fates[0])
		}
		if _, known := fateIn(err); !known && name != "wal.ErrPoisoned" {
			t.Errorf("FateOf does not know %s", name)
		}
	}
	for name := range each {
		if !slices.Contains(names, name) {
			t.Errorf("%s has a case in this test and is not an exported error", name)
		}
	}
	for name := range table {
		if _, ok := want[name]; !ok {
			t.Errorf("the table of doc.go names %s, which is no error of this package, nor among foreignErrors", name)
		}
	}
	below := map[string]bool{}
	for _, folder := range []string{
		"../codec", "../pipeline", "../pipeline/session", "consensus", "shipment", "../wal", "../wal/snapshot", "../wal/vfs", "../netio",
	} {
		inner, theirs := declaredErrors(t, folder)
		maps.Copy(aliases, theirs)
		for _, name := range inner {
			below[path.Base(folder)+"."+name] = true
		}
	}
	for name := range below {
		if foreignErrors[name] == nil && innerErrors[name] == "" && !aliases[name] {
			t.Errorf("%s: name it in this package, in foreignErrors, or in innerErrors with what callers see instead", name)
		}
	}
	for name := range innerErrors {
		if !below[name] || foreignErrors[name] != nil || aliases[name] {
			t.Errorf("%s: is no error of a package below, or no inner one; remove it from innerErrors", name)
		}
	}
}

var errorName = regexp.MustCompile(`\b(?:[a-z]+\.)?(?:Err[A-Z]\w*|[A-Z]\w*Error|Canceled|DeadlineExceeded)\b`)

// errorTable returns for each error that the table of doc.go names the fates it has there.
func errorTable(t *testing.T) map[string][]string {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, text, found := strings.Cut(string(doc), "// # Errors")
	if !found {
		t.Fatal("doc.go has no part named Errors")
	}
	text, _, _ = strings.Cut(text, "\n// # ")
	table, fate := map[string][]string{}, ""
	for line := range strings.Lines(text) {
		row, is := strings.CutPrefix(line, "//\t")
		if !is {
			continue
		}
		const errorsAt, fateAt, doAt = 21, 67, 78
		if len(row) > doAt && strings.TrimSpace(row[fateAt:doAt]) != "" {
			fate = strings.TrimSpace(row[fateAt:doAt])
		}
		for _, name := range errorName.FindAllString(row[errorsAt:min(fateAt, len(row))], -1) {
			table[name] = append(table[name], fate)
		}
	}
	return table
}

// declaredErrors returns the exported errors that a folder's package declares, by the rule that such names keep to, and
// which of other packages it gives a name of its own.
func declaredErrors(t *testing.T, folder string) (names []string, aliases map[string]bool) {
	t.Helper()
	aliases = map[string]bool{}
	add := func(id *ast.Ident, value ast.Expr) {
		if !id.IsExported() || errorName.FindString(id.Name) != id.Name {
			return
		}
		names = append(names, id.Name)
		if of, ok := value.(*ast.SelectorExpr); ok {
			aliases[types.ExprString(of)] = true
		}
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path.Join(folder, e.Name()), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			switch d := d.(type) {
			case *ast.GenDecl:
				for _, s := range d.Specs {
					switch s := s.(type) {
					case *ast.TypeSpec:
						add(s.Name, s.Type)
					case *ast.ValueSpec:
						for i, id := range s.Names {
							if len(s.Values) > i && d.Tok == token.VAR {
								add(id, s.Values[i])
							}
						}
					}
				}
			case *ast.FuncDecl: // an exported type whose name does not tell that it is an error
				if name := errorType(d); ast.IsExported(name) && errorName.FindString(name) != name {
					t.Errorf("%s/%s: %s is an error, want a name that ends with Error", folder, e.Name(), name)
				}
			}
		}
	}
	return names, aliases
}

// errorType returns the name of the type whose method Error a function is, "" for other functions.
func errorType(d *ast.FuncDecl) string {
	if d.Recv == nil || d.Name.Name != "Error" || len(d.Type.Params.List) > 0 {
		return ""
	}
	return strings.TrimPrefix(types.ExprString(d.Recv.List[0].Type), "*")
}

// elsewhereProven names, for errors that the clusters of fate_cluster_test.go, fate_alone_test.go and fate_fatal_test.go don't
// bring about, a test that does, by its file.
var elsewhereProven = map[string]string{
	"WitnessQuorumError":          "witness_test.go TestWitnessIsAddedAndRemoved",
	"IncarnationError":            "comeback_test.go TestNodeWithAnEmptyDiskIsRefused",
	"DiskStallError":              "event_test.go TestEventsOfADisk",
	"ForwardError":                "forward_test.go TestLeaderAnswersForwardedProposals",
	"ErrRestoreMismatch":          "restore_test.go TestRestoreEntriesThatDoNotFit",
	"codec.ErrVersion":            "crash/directory_test.go TestDirectoryOfSomebodyElse",
	"wal.ErrPoisoned":             "crash/fulldisk_test.go TestDiskFullOfANode",
	"consensus.ErrTermsExhausted": "consensus/election_test.go TestTermsRunOut",
}

// What the table says of an error is seen on a node that it is brought about on: each is named by such a test.
func TestFatesAreProven(t *testing.T) {
	var here []byte
	for _, name := range []string{"fate_cluster_test.go", "fate_alone_test.go", "fate_fatal_test.go"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		here = append(here, text...)
	}
	for name := range errorTable(t) {
		where := elsewhereProven[name]
		switch named := bytes.Contains(here, []byte(strconv.Quote(name))); {
		case named && where != "":
			t.Errorf("%s is brought about here; remove it from elsewhereProven", name)
		case !named && where == "":
			t.Errorf("%s: no test brings it about; add one to the files above, or to elsewhereProven", name)
		}
	}
	for name, where := range elsewhereProven {
		file, test, _ := strings.Cut(where, " ")
		text, err := os.ReadFile(file)
		bare := name[strings.LastIndex(name, ".")+1:]
		if err != nil || !bytes.Contains(text, []byte("func "+test+"(")) || !bytes.Contains(text, []byte(bare)) {
			t.Errorf("%s: %s has no %s that names it (%v)", name, file, test, err)
		}
	}
}
