package storagetest

import "testing"

const bugOfThoseThatForget = "the incarnation outlives what was promised"

// brokenLogs are what may be wrong with a log, and a case that must find it out.
var brokenLogs = []struct{ bug, found string }{
	{"the incarnation is zero", "start/the incarnation is never zero"},
	{"the incarnation is made at each opening", "start/the incarnation stays"},
	{bugOfThoseThatForget, "start/a log that forgets has another incarnation"},
	{"all places have one incarnation", "start/two places have two incarnations"},
	{"it knows a peer already", "start/a new log knows no peers"},
	{"one log for all groups", "start/groups do not see each other"},
	{"an empty log has a commit", "start/a new log is empty"},
	{"votes are forgotten", "vote/a vote alone is kept"},
	{"the first vote stays", "vote/the newest vote counts"},
	{"committed is forgotten", "vote/committed or not is kept"},
	{"votes have 32 bits", "vote/the largest ids are kept"},
	{"a vote with a frame is lost", "vote/a vote with a frame"},
	{"a truncation wipes the vote", "vote/a vote outlives every change of the entries"},
	{"a jump wipes the vote", "vote/a vote outlives every change of the entries"},
	{"votes need no HasVote", "vote/a vote without HasVote is none"},
	{"entries are forgotten", "append/one entry"},
	{"it keeps the caller's write", "append/one entry"},
	{"the sizes of frames are not known", "append/frames of many sizes"},
	{"the newest frame is kept alone", "append/frames of many sizes"},
	{"the second life takes no entries", "append/after opening again"},
	{"kinds are forgotten", "append/every kind of entry"},
	{"empty entries are dropped", "append/entries without data"},
	{"frames are unpacked", "append/a frame keeps its bytes"},
	{"frames without entries are refused", "append/frames without their entries"},
	{"frames of megabytes are refused", "append/a frame of megabytes"},
	{"fresh frames are not in memory", "append/fresh frames are in memory at once"},
	{"a frame of another leader is refused", "append/entries of several leaders"},
	{"only the first index finds its frame", "read/any index finds its frame"},
	{"beyond its end it finds the last frame", "read/nothing beyond the ends"},
	{"a read of nothing finds nothing", "read/nothing beyond the ends"},
	{"ReadFrame reads no fresh frames", "read/what is asked for is also read"},
	{"a read finds the frame before", "read/any index finds its frame"},
	{"a read is answered twice", "read/what is asked for is also read"},
	{"a read is not answered", "read/many at a time"},
	{"old frames are not read", "read/old frames of a long log"},
	{"old frames rot", "read/old frames of a long log"},
	{"the third read is lost", "read/while it is written"},
	{"truncations are ignored", "truncate/everything"},
	{"truncations are lost at a restart", "truncate/between two frames"},
	{"the frame comes before the truncation", "truncate/a conflict at the same index"},
	{"a truncation leaves one more", "truncate/inside a frame"},
	{"a truncation takes one more", "truncate/after the last entry"},
	{"a truncation takes the whole frame", "truncate/inside a frame"},
	{"a truncation leaves the whole frame", "truncate/twice inside one frame"},
	{"a log is never emptied", "truncate/everything"},
	{"a truncation behind the end panics", "truncate/an empty log"},
	{"old frames can't be cut", "truncate/inside a frame that is old"},
	{"a truncation to the base is ignored", "purge/what follows can be truncated"},
	{"purges are ignored", "purge/a part"},
	{"purges are lost at a restart", "purge/all but one frame"},
	{"a purge takes everything", "purge/the first entry"},
	{"a purge leaves one frame", "purge/a read does not bring them back"},
	{"a purge takes one frame", "purge/old entries of a long log"},
	{"a purge of everything is ignored", "purge/everything"},
	{"the purge comes before the frame", "purge/with the frame it ends behind"},
	{"the base of a purge has no membership", "membership/in the base, once purged"},
	{"the base has no leader", "purge/twenty entries, bit by bit"},
	{"jumps are ignored", "jump/far ahead"},
	{"jumps are lost at a restart", "jump/just ahead"},
	{"a jump can't go back", "jump/inside, over what follows"},
	{"a jump is only taken by an empty log", "jump/to the last index"},
	{"a jump is only taken by a log with entries", "jump/an empty log"},
	{"a second jump is ignored", "jump/twice"},
	{"a jump goes one too far", "jump/far ahead"},
	{"a jump keeps what follows", "jump/inside, over what follows"},
	{"a frame behind a jump is lost", "jump/with vote, frame and purge in one write"},
	{"a jump wipes every group", "jump/another group stays"},
	{"the base of a jump has no membership", "membership/in the base of a jump"},
	{"memberships come backwards", "membership/from the log, in order"},
	{"memberships are not found", "membership/not those that were truncated"},
	{"a large membership is cut", "membership/of every member"},
	{"commits are forgotten", "commit/rides along with a frame"},
	{"the saved commit is the last index", "commit/never more than was submitted"},
	{"commits are shared", "commit/of each group"},
	{"a write without records is not reported", "commit/alone is reported too"},
	{"nothing is reported", "reports/every write is reported"},
	{"every tenth write is not reported", "reports/in order, none before it was submitted"},
	{"reports come backwards", "reports/in order, none before it was submitted"},
	{"a report runs ahead", "reports/in order, none before it was submitted"},
	{"a report comes with the next write", "reports/every write is reported"},
	{"writes are counted", "reports/numbers may leap"},
	{"every group is told", "reports/to each group its own"},
	{"peers are forgotten", "peers/are remembered"},
	{"the first peer stays", "peers/the newest incarnation counts"},
	{"Peers returns its own map", "peers/what Peers returns is the caller's"},
	{"done is never called", "peers/are remembered"},
	{"a peer wipes the entries", "peers/between the writes of groups"},
	{"peers are remembered after Close", "peers/not after Close"},
	{"what Close finds is lost", "close/makes durable what waits"},
	{"a group's reports wait for Close", "reports/every write is reported"},
	{"a closed log goes on reporting", "close/no report follows"},
	{"Close fails", "start/a new log is empty"},
	{"no close is clean", "close/a clean close is told from others"},
	{"a closed log goes on", "close/a closed log opens no group"},
	{"a group opens twice", "close/a group is opened once"},
	{"a place opens twice", "close/a place is opened once"},
	{"groups that are not open are lost", "close/groups that nobody opens stay"},
	{"a group's second life is empty", "append/after opening again"},
	{"written at Close", "crash/what was reported is there"},
	{"half of the writes are lost in a crash", "crash/what was reported is there"},
	{"every close is clean", "crash/it is no clean close"},
	{"a seal counts for ever", "crash/right after opening"},
	{"groups share a buffer", "together/two groups"},
	{"two that remember a peer at once lose one", "together/peers beside writes"},
	{"groups share a buffer", "together/groups are opened beside writes"},
	{"a truncation forgets the reads before it", "together/reads beside truncations"},
	{"a read looks for its place before the writes, and there after them", "together/reads beside truncations"},
	{"a read looks for its place before the writes, and there after them", "together/reads beside purges"},
	{"errors are ignored", "poison/every group is told once"},
	{"an error is told twice", "poison/every group is told once"},
	{"only the writer is told", "poison/every group is told once"},
	{"an error is forgotten", "poison/nothing is acknowledged any more"},
	{"Close hides an error", "poison/nothing is acknowledged any more"},
}

// tryLog runs one case against a toy log and returns what was wrong.
func tryLog(t *testing.T, bug string, forgets bool, one logCase) string {
	c := LogConfig{New: toyPlace(bug, forgets), Forgets: forgets, Patience: shortPatience}
	problems, _ := attempt(t, func(t testing.TB) string { return c.runLog(t, one) })
	return problems
}

// TestBrokenLogs: a log that is right passes every case; each that is broken fails the case that must find it; and there is
// no case that nothing can fail.
func TestBrokenLogs(t *testing.T) {
	cases := map[string]logCase{}
	for _, group := range logGroups() {
		for _, one := range group.cases {
			cases[group.name+"/"+one.name] = one
			for _, forgets := range []bool{false, true} {
				if problems := tryLog(t, "", forgets, one); problems != "" {
					t.Errorf("a log that is right (forgets: %v) fails %s/%s: %s", forgets, group.name, one.name, problems)
				}
			}
		}
	}
	failed := map[string]bool{}
	for _, b := range brokenLogs {
		problems := tryLog(t, b.bug, b.bug == bugOfThoseThatForget, cases[b.found])
		if problems == "" {
			t.Errorf("%s: %q does not find it", b.bug, b.found)
		}
		failed[b.found] = true
	}
	for name, one := range cases {
		for i := 0; i < len(brokenLogs) && !failed[name]; i++ {
			failed[name] = tryLog(t, brokenLogs[i].bug, false, one) != ""
		}
		if !failed[name] {
			t.Errorf("no broken log fails %q", name)
		}
	}
	t.Logf("%d cases, %d broken logs", len(cases), len(brokenLogs))
}
