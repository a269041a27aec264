package storagetest

import (
	"errors"
	"testing"

	"github.com/millrace/millrace/pipeline"
)

// brokenMachines are what may be wrong with a state machine, and a case that must find it out.
var brokenMachines = []struct{ bug, found string }{
	{"each begins with its number", "apply/two new ones are alike"},
	{"every third command is dropped", "apply/each command shows"},
	{"answers differ", "apply/the same commands give the same states and answers"},
	{"a batch counts once", "apply/batches make no difference"},
	{"entries are kept", "apply/entries stay the caller's"},
	{"entries are changed", "apply/entries stay the caller's"},
	{"log ids are changed", "apply/entries stay the caller's"},
	{"answers share a buffer", "apply/answers stay as they were given"},
	{"a batch is cut", "apply/many at once"},
	{"capturing clears", "snapshot/changes nothing"},
	{"what is captured goes on", "snapshot/holds exactly what was captured"},
	{"a capture takes the place of the one before", "snapshot/two at a time"},
	{"a captured state must be written", "snapshot/can be given up"},
	{"a writer's error is hidden", "snapshot/a writer's error comes back"},
	{"a writer's error is another", "snapshot/a writer's error comes back"},
	{"bytes are miscounted", "snapshot/counts its bytes"},
	{"the last line is lost", "restore/round trip"},
	{"an empty state is an error", "restore/an empty state"},
	{"what was there stays", "restore/replaces what was there"},
	{"answers begin anew", "restore/goes on as the other does"},
	{"a restored state is not captured", "restore/from generation to generation"},
	{"it restores once", "restore/twice from one state"},
	{"it reads once", "restore/in small pieces"},
	{"it does not read to the end", "restore/to the end"},
	{"a reader's error is hidden", "restore/a reader's error comes back"},
	{"a new one holds an entry", "disk/a new one holds nothing"},
	{"Sync returns what is held", "disk/Sync returns the last entry it was given"},
	{"Sync returns nothing twice", "disk/Sync returns the last entry it was given"},
	{"Sync does nothing", "power/what was synced is there"},
	{"Sync works once", "power/what was synced is there"},
	{"Applied is one too few", "disk/what was synced is there"},
	{"Applied is always zero", "disk/it goes on behind what it holds"},
	{"state and log id are written apart", "disk/what was not is a beginning of it"},
	{"answers begin anew at a restart", "disk/it goes on behind what it holds"},
	{"a snapshot holds what was synced", "disk/a snapshot says what it was given"},
	{"a snapshot has no log id", "disk/a snapshot says what it was given"},
	{"a restored state is not synced", "disk/a restored state is there"},
	{"a capture reads the disk", "disk/a captured state outlives the ones after it"},
	{"written at Close", "power/what was synced is there"},
	{"a restore is written in two steps", "power/a restore is done or not"},
	{"Restore uses the frozen page again", "snapshot/outlives a restore"},
	{"Restore uses the frozen page again", "disk/a captured state outlives a restore"},
	{"Adopt panics", "adopt/the state is there, and stands where it was put"},
	{"Adopt keeps the log id that came with the state", "adopt/the state is there, and stands where it was put"},
	{"where Adopt puts it is not durable", "adopt/the state is there, and stands where it was put"},
	{"Adopt keeps the log id that was there", "adopt/in place of what was there"},
	{"an adopted state is added to what was there", "adopt/in place of what was there"},
	{"answers begin anew behind Adopt", "adopt/it goes on behind that"},
	{"an adopted state has its old log id in a snapshot", "adopt/a snapshot says where it stands"},
	{"Restore uses the frozen page again", "adopt/a captured state outlives it"},
	{"Adopt stops at the first piece", "adopt/to the end"},
	{"Adopt takes half a state", "adopt/a reader's error comes back"},
	{"Adopt writes where it stands first", "adopt power/it is done or not"},
	{"where Adopt puts it is not durable", "adopt power/what was synced is there"},
	{"what was never synced can't be opened", "power/nothing was ever synced"},
}

// kind returns the least of the toys that a case applies to.
func (n machineNeed) kind() toyKind {
	switch {
	case n&needAdopter != 0:
		return toyWhole
	case n&needOnDisk != 0:
		return toyOnDisk
	case n&needSnapshotter != 0:
		return toySnapshotter
	}
	return toyPlain
}

func tryMachine(t *testing.T, bug string, kind toyKind, g machineGroup, one machineCase) (problems, skipped string) {
	c := toyMachineConfig(bug, kind)
	return attempt(t, func(t testing.TB) string { return c.runMachine(t, g.needs, one) })
}

// TestBrokenMachines: a state machine that is right passes every case that applies to it; each that is broken fails the case
// that must find it; and there is no case that nothing can fail.
func TestBrokenMachines(t *testing.T) {
	type placed struct {
		group machineGroup
		one   machineCase
	}
	cases := map[string]placed{}
	for _, group := range machineGroups() {
		for _, one := range group.cases {
			name := group.name + "/" + one.name
			cases[name] = placed{group, one}
			for _, kind := range []toyKind{toyPlain, toySnapshotter, toyOnDisk, toyWhole} {
				problems, skipped := tryMachine(t, "", kind, group, one)
				applies := kind >= group.needs.kind()
				if problems != "" || applies != (skipped == "") {
					t.Errorf("a state machine that is right (kind %d): %s: %s; skipped because %q", kind, name, problems, skipped)
				}
			}
		}
	}
	failed := map[string]bool{}
	for _, b := range brokenMachines {
		c := cases[b.found]
		if problems, _ := tryMachine(t, b.bug, toyWhole, c.group, c.one); problems == "" {
			t.Errorf("%s: %q does not find it", b.bug, b.found)
		}
		failed[b.found] = true
	}
	for name, c := range cases {
		for i := 0; i < len(brokenMachines) && !failed[name]; i++ {
			problems, _ := tryMachine(t, brokenMachines[i].bug, toyWhole, c.group, c.one)
			failed[name] = problems != ""
		}
		if !failed[name] {
			t.Errorf("no broken state machine fails %q", name)
		}
	}
	t.Logf("%d cases, %d broken state machines", len(cases), len(brokenMachines))
}

// TestErrorsOfWhatIsTested: an Open, Apply or Close that fails fails the case, and does not go unseen.
func TestErrorsOfWhatIsTested(t *testing.T) {
	broken := errors.New("broken")
	for name, change := range map[string]func(p *MachinePlace){
		"Open":  func(p *MachinePlace) { p.Open = func() (pipeline.StateMachine, error) { return nil, broken } },
		"Close": func(p *MachinePlace) { p.Close = func(pipeline.StateMachine) error { return broken } },
		"nil":   func(p *MachinePlace) { p.Open = nil },
	} {
		c := toyMachineConfig("", toyOnDisk)
		whole := c.New
		c.New = func(t testing.TB) MachinePlace { p := whole(t); change(&p); return p }
		problems, _ := attempt(t, func(t testing.TB) string { return c.runMachine(t, 0, applyCases[0]) })
		if problems == "" {
			t.Errorf("%s fails, and the case does not", name)
		}
	}
	for name, place := range map[string]LogPlace{
		"Open":   {Open: func() (pipeline.Log, error) { return nil, broken }},
		"nil":    {},
		"Repair": {Open: newToyDisk("", false).open, Fail: func() {}},
	} {
		c := LogConfig{New: func(testing.TB) LogPlace { return place }}
		if problems, _ := attempt(t, func(t testing.TB) string { return c.runLog(t, startCases[0]) }); problems == "" {
			t.Errorf("%s fails, and the case does not", name)
		}
	}
}
