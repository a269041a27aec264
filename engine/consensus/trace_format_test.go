package consensus

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/codec"
)

// The forms in which traces show and take the nouns of the protocol. Parsers panic: a trace file is part of the tests,
// and [stage.command] turns the panic into a failure that names the line.

// parseNumber reads a decimal number.
func parseNumber(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		mistake("%q, want a number", s)
	}
	return n
}

// parseNodes reads "1,2,3".
func parseNodes(s string) []codec.NodeID {
	var out []codec.NodeID
	for field := range strings.SplitSeq(s, ",") {
		out = append(out, codec.NodeID(parseNumber(field)))
	}
	return out
}

// parseLeader reads "T5-N2".
func parseLeader(s string) codec.LeaderID {
	var l codec.LeaderID
	if n, err := fmt.Sscanf(s, "T%d-N%d", &l.Term, &l.Node); n != 2 || err != nil {
		mistake("%q, want a leader id such as T5-N2", s)
	}
	return l
}

// parseVote reads "T5-N2", with a + behind it for a committed vote.
func parseVote(s string) codec.Vote {
	leader, committed := strings.CutSuffix(s, "+")
	return codec.Vote{Leader: parseLeader(leader), Committed: committed}
}

// parseLogID reads "T5-N2-17", or "none".
func parseLogID(s string) codec.LogID {
	if s == "none" {
		return codec.LogID{}
	}
	i := strings.LastIndex(s, "-")
	if i < 0 {
		mistake("%q, want a log id such as T5-N2-17", s)
	}
	return codec.LogID{Leader: parseLeader(s[:i]), Index: codec.Index(parseNumber(s[i+1:]))}
}

// parseRuns reads "T1-N1:3,T2-N2:2": three entries of one leadership, then two of another.
func parseRuns(s string) []codec.LeaderID {
	var out []codec.LeaderID
	for field := range strings.SplitSeq(s, ",") {
		leader, count, ok := strings.Cut(field, ":")
		if !ok {
			mistake("%q, want a leader id and a number such as T1-N1:3", field)
		}
		out = append(out, repeat(parseLeader(leader), int(parseNumber(count)))...)
	}
	return out
}

// parseQuorum reads "flexible:3:2" (election, write) or "weighted:3:3:2.1.1" (and the voters' weights).
func parseQuorum(s string) codec.QuorumSystem {
	fields := strings.Split(s, ":")
	q := codec.QuorumSystem{Election: uint32(parseNumber(fields[1])), Write: uint32(parseNumber(fields[2]))}
	switch fields[0] {
	case "flexible":
		q.Kind = codec.QuorumFlexible
	case "weighted":
		q.Kind = codec.QuorumWeighted
		for w := range strings.SplitSeq(fields[3], ".") {
			q.Weights = append(q.Weights, uint32(parseNumber(w)))
		}
	default:
		mistake("%q, want flexible or weighted", fields[0])
	}
	return q
}

// parseMembership reads the arguments voters=1,2,3 (several configs: 1,2,3/3,4,5), quorum=flexible:3:2, learners=4,
// promote=4, witnesses=3, priority=2:5, mode=one.
func (s *stage) parseMembership(args *arguments) *codec.Membership {
	m := codec.Membership{Mode: s.mode}
	if args.has("mode") {
		m.Mode = parseMode(args.text("mode"))
	}
	var ids []codec.NodeID
	for voters := range strings.SplitSeq(args.text("voters"), "/") {
		config := codec.MajorityConfig(parseNodes(voters)...)
		if args.has("quorum") {
			config.Quorum = parseQuorum(args.text("quorum"))
		}
		m.Configs = append(m.Configs, config)
		ids = append(ids, config.Voters...)
	}
	flagged := func(key string) []codec.NodeID {
		if !args.has(key) {
			return nil
		}
		return parseNodes(args.text(key))
	}
	learners, promote, witnesses := flagged("learners"), flagged("promote"), flagged("witnesses")
	ids = append(append(ids, learners...), promote...)
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		m.Nodes = append(m.Nodes, codec.Node{
			ID: id, Address: fmt.Sprint("node", id),
			Promote: slices.Contains(promote, id), Witness: slices.Contains(witnesses, id),
		})
	}
	if args.has("priority") {
		for field := range strings.SplitSeq(args.text("priority"), ",") {
			id, priority, _ := strings.Cut(field, ":")
			i := slices.IndexFunc(m.Nodes, func(n codec.Node) bool { return n.ID == codec.NodeID(parseNumber(id)) })
			m.Nodes[i].Priority = uint8(parseNumber(priority))
		}
	}
	return &m
}

func parseMode(s string) codec.VoteMode {
	switch s {
	case "one":
		return codec.OneLeaderPerTerm
	case "several":
		return codec.SeveralLeadersPerTerm
	}
	mistake("mode %q, want one or several", s)
	return 0
}

// nodesString lists ids: "1 2 3".
func nodesString(ids []codec.NodeID) string {
	return strings.Trim(fmt.Sprint(ids), "[]")
}

// quorumString describes a quorum system other than a majority.
func quorumString(q *codec.QuorumSystem) string {
	switch q.Kind {
	case codec.QuorumMajority:
		return ""
	case codec.QuorumWeighted:
		return fmt.Sprintf(" (weights %v, %d elect, %d write)", q.Weights, q.Election, q.Write)
	}
	return fmt.Sprintf(" (%v, %d elect, %d write)", q.Kind, q.Election, q.Write)
}

// membershipString describes a membership in one line.
func membershipString(m *codec.Membership) string {
	if m == nil {
		return "none"
	}
	var s []string
	for i := range m.Configs {
		s = append(s, "voters "+nodesString(m.Configs[i].Voters)+quorumString(&m.Configs[i].Quorum))
	}
	add := func(what string, is func(n codec.Node) bool) {
		var ids []codec.NodeID
		for _, n := range m.Nodes {
			if is(n) {
				ids = append(ids, n.ID)
			}
		}
		if len(ids) > 0 {
			s = append(s, what+" "+nodesString(ids))
		}
	}
	add("learners", func(n codec.Node) bool { return !m.IsVoter(n.ID) })
	add("to promote", func(n codec.Node) bool { return n.Promote })
	add("leaving", func(n codec.Node) bool { return n.Leaving })
	add("witnesses", func(n codec.Node) bool { return n.Witness })
	for _, n := range m.Nodes {
		if n.Priority > 0 {
			s = append(s, fmt.Sprintf("priority of %d is %d", n.ID, n.Priority))
		}
	}
	if m.Transient {
		s = append(s, "transient")
	}
	return strings.Join(s, ", ")
}

// logString describes a log: each leadership's entries of one kind, the pointers behind them.
func logString(l *testLog) string {
	var s []string
	if !l.base.ID.IsZero() {
		s = append(s, fmt.Sprintf("from %v", l.base.ID))
	}
	if len(l.entries) == 0 {
		s = append(s, "empty")
	}
	for i := 0; i < len(l.entries); {
		e, k := &l.entries[i], i
		for k < len(l.entries) && l.entries[k].id.Leader == e.id.Leader && l.entries[k].kind == e.kind && l.entries[k].header == e.header {
			k++
		}
		run := e.id.String()
		if k-i > 1 {
			run += fmt.Sprintf("..%d", l.entries[k-1].id.Index)
		}
		if e.kind != codec.EntryNormal {
			run += fmt.Sprintf(" %v", e.kind)
		}
		if e.header {
			run += " headers"
		}
		s = append(s, run)
		i = k
	}
	return strings.Join(s, ", ")
}

// named returns the name of a vote or log id, "none" for the zero one.
func named(v interface {
	fmt.Stringer
	IsZero() bool
}) string {
	if v.IsZero() {
		return "none"
	}
	return v.String()
}

// statusString describes what a node says of itself.
func statusString(st *Status) string {
	s := fmt.Sprintf("%v, vote %s", st.Role, named(st.Vote))
	if st.Leader != 0 && st.Role != Leader {
		s += fmt.Sprintf(", leader %d", st.Leader)
	}
	s += fmt.Sprintf(", last %s, flushed %s, commit %d", named(st.LastLog), named(st.Flushed), st.Commit)
	if !st.Purged.IsZero() {
		s += fmt.Sprintf(", purged up to %d", st.Purged.Index)
	}
	if !st.Snapshot.IsZero() {
		s += fmt.Sprintf(", snapshot of %d", st.Snapshot.Index)
	}
	if st.WantsSnapshot {
		s += ", wants a snapshot"
	}
	if st.Blocked {
		s += ", blocked"
	}
	switch st.LeaseUntil {
	case 0:
	case Never:
		s += ", lease for ever"
	default:
		s += fmt.Sprintf(", lease until %v", time.Duration(st.LeaseUntil).Round(ms))
	}
	if st.Transferee != 0 {
		s += fmt.Sprintf(", hands over to %d", st.Transferee)
	}
	if st.Malformed > 0 {
		s += fmt.Sprintf(", %d malformed", st.Malformed)
	}
	if st.Disagreed > 0 {
		s += fmt.Sprintf(", %d of another mode, the last from %d", st.Disagreed, st.DisagreedWith)
	}
	return s
}

// peerString describes a leader's view of a peer.
func peerString(p *PeerStatus) string {
	how := "probing"
	switch {
	case p.Streaming:
		how = "streaming"
	case p.Snapshot:
		how = "waiting"
	}
	s := fmt.Sprintf("%d: match %d, next %d, %s, %d of %d bytes in flight", p.Node, p.Match, p.Next, how, p.InflightBytes, p.WindowBytes)
	if !p.Voter {
		s += ", no voter"
	}
	if p.CaughtUp {
		s += ", caught up"
	}
	if p.Snapshot {
		s += ", to be sent a snapshot"
	}
	if p.Lost {
		s += ", lost its log"
	}
	return s
}
