package consensus

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/millrace/millrace/codec"
)

// TestQuorumPictures draws, for each system in testdata/quorum, who holds and votes for what, what that amounts to, and
// what the proof says in both modes. After a change run with -rewrite and look at the difference. Input is one command
// in lines:
//
//	majority 1 2 3                                              a config; several lines are joint
//	flexible 1 2 3 4 election=3 write=2
//	weighted 1*4 2*4 3*5 election=5 write=9
//	hierarchical ( 1 2 3 election=2 write=2 ) ( 4 election=1 write=1 ) election=1 write=2
//	holds 1=10 2=12                                             entries, 0 for others
//	votes 1 2
//	witness 3
func TestQuorumPictures(t *testing.T) {
	datadriven.Walk(t, "testdata/quorum", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd != "quorums" {
				d.Fatalf(t, "unknown command %q", d.Cmd)
			}
			p := newPicture(t, d.Input)
			var sb strings.Builder
			p.draw(&sb)
			p.prove(&sb)
			return sb.String()
		})
	})
}

// picture is one membership with what its members hold and whom they voted for.
type picture struct {
	m     codec.Membership
	holds map[codec.NodeID]codec.Index
	votes []codec.NodeID
}

func newPicture(t *testing.T, input string) *picture {
	p := &picture{m: codec.Membership{Mode: several}, holds: map[codec.NodeID]codec.Index{}}
	var witnesses []codec.NodeID
	for line := range strings.Lines(input) {
		words := strings.Fields(line)
		kind, rest := words[0], &wordReader{t: t, words: words[1:]}
		switch kind {
		case "holds":
			for id, value := range rest.values("=") {
				p.holds[id] = codec.Index(value)
			}
		case "votes":
			p.votes = rest.group().Voters
		case "witness":
			witnesses = rest.group().Voters
		default:
			p.m.Configs = append(p.m.Configs, rest.config(kind))
		}
	}
	for id := codec.NodeID(1); id < 100; id++ {
		if _, holds := p.holds[id]; holds || p.m.IsVoter(id) {
			p.m.Nodes = append(p.m.Nodes, codec.Node{ID: id, Witness: slices.Contains(witnesses, id)})
		}
	}
	if err := p.m.Validate(); err != nil {
		t.Fatalf("%s: %v", input, err)
	}
	return p
}

// wordReader reads the words of a line.
type wordReader struct {
	t     *testing.T
	words []string
}

func (r *wordReader) number(s string) uint64 {
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		r.t.Fatal(err)
	}
	return v
}

// values reads all words of the form id, separator, number.
func (r *wordReader) values(separator string) map[codec.NodeID]uint64 {
	values := map[codec.NodeID]uint64{}
	for _, word := range r.words {
		id, value, _ := strings.Cut(word, separator)
		values[codec.NodeID(r.number(id))] = r.number(value)
	}
	return values
}

// group reads ids and thresholds up to a closing parenthesis or the end.
func (r *wordReader) group() (g codec.QuorumGroup) {
	for len(r.words) > 0 {
		word := r.words[0]
		r.words = r.words[1:]
		key, value, threshold := strings.Cut(word, "=")
		switch {
		case word == ")":
			return g
		case threshold && key == "election":
			g.Election = uint32(r.number(value))
		case threshold && key == "write":
			g.Write = uint32(r.number(value))
		default:
			g.Voters = append(g.Voters, codec.NodeID(r.number(word)))
		}
	}
	return g
}

// config reads the rest of a config's line.
func (r *wordReader) config(kind string) codec.VoterConfig {
	c := codec.VoterConfig{}
	for q := codec.QuorumMajority; q <= codec.QuorumHierarchical; q++ {
		if q.String() == kind {
			c.Quorum.Kind = q
		}
	}
	for c.Quorum.Kind == codec.QuorumHierarchical && r.words[0] == "(" {
		r.words = r.words[1:]
		g := r.group()
		c.Quorum.Groups = append(c.Quorum.Groups, g)
		c.Voters = append(c.Voters, g.Voters...)
	}
	if c.Quorum.Kind == codec.QuorumWeighted {
		for i, word := range r.words {
			id, weight, ok := strings.Cut(word, "*")
			if ok {
				r.words[i] = id
				c.Quorum.Weights = append(c.Quorum.Weights, uint32(r.number(weight)))
			}
		}
	}
	all := r.group()
	c.Voters = append(c.Voters, all.Voters...)
	slices.Sort(c.Voters)
	c.Quorum.Election, c.Quorum.Write = all.Election, all.Write
	return c
}

// draw writes the configs, a line for each member, and what each config and all of them have reached and elected.
func (p *picture) draw(sb *strings.Builder) {
	for i, c := range p.m.Configs {
		fmt.Fprintf(sb, "%c: %v\n", 'a'+i, c)
	}
	values, granted := make([]codec.Index, len(p.m.Nodes)), make([]bool, len(p.m.Nodes))
	for i, n := range p.m.Nodes {
		var notes string
		values[i], granted[i] = p.holds[n.ID], slices.Contains(p.votes, n.ID)
		if granted[i] {
			notes += " votes"
		}
		if n.Witness {
			notes += " witness"
		}
		letters := []byte(strings.Repeat("-", len(p.m.Configs)))
		for j, c := range p.m.Configs {
			if slices.Contains(c.Voters, n.ID) {
				letters[j] = 'a' + byte(j)
			}
		}
		bar := strings.Repeat("=", int(values[i])) + "|"
		fmt.Fprintf(sb, "%4d  %s  %-24s%4d%s\n", n.ID, letters, bar, values[i], notes)
	}
	for i := range p.m.Configs {
		if len(p.m.Configs) > 1 {
			p.verdict(sb, string(rune('a'+i)), p.m.Configs[i:i+1], values, granted)
		}
	}
	p.verdict(sb, "all", p.m.Configs, values, granted)
}

func (p *picture) verdict(sb *strings.Builder, name string, configs []codec.VoterConfig, values []codec.Index, granted []bool) {
	m := p.m
	m.Configs = configs
	e := newElectorate(0, &m, first)
	index := reached(&e, values, make([]codec.Index, len(values)))
	elected := "not elected"
	if e.elected(granted) {
		elected = "elected"
	}
	space := strings.Repeat(" ", 2+len(p.m.Configs)+2+int(index))
	fmt.Fprintf(sb, "%4s%s%-*s%4d reached, %s\n", name, space, 24-int(index), "^", index, elected)
}

// prove writes what the proof says in both modes.
func (p *picture) prove(sb *strings.Builder) {
	for _, mode := range []codec.VoteMode{several, one} {
		m := p.m
		m.Mode = mode
		verdict := "safe"
		if err := ProveQuorums(&m); err != nil {
			verdict = "refused: " + err.Error()
		}
		fmt.Fprintf(sb, "%v: %s\n", mode, verdict)
	}
}
