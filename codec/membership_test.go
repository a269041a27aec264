package codec

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestNewMembership(t *testing.T) {
	given := []Node{{ID: 3, Address: "c"}, {ID: 1, Address: "a"}, {ID: 2, Address: "b"}}
	m := NewMembership(OneLeaderPerTerm, given...)
	want := Membership{
		Mode:    OneLeaderPerTerm,
		Configs: []VoterConfig{{Voters: []NodeID{1, 2, 3}, Quorum: QuorumSystem{Kind: QuorumMajority}}},
		Nodes:   []Node{{ID: 1, Address: "a"}, {ID: 2, Address: "b"}, {ID: 3, Address: "c"}},
	}
	if !reflect.DeepEqual(m, want) || m.Validate() != nil {
		t.Errorf("NewMembership = %+v (%v), want %+v", m, m.Validate(), want)
	}
	if given[0].ID != 3 {
		t.Error("NewMembership reordered its caller's nodes")
	}
}

func TestMembershipLookups(t *testing.T) {
	m := sampleMemberships()[1].value
	for id, voter := range map[NodeID]bool{1: true, 2: true, 3: true, 4: false, 5: false, 1 << 40: true} {
		if m.IsVoter(id) != voter {
			t.Errorf("IsVoter(%d) = %v", id, !voter)
		}
		n, ok := m.Node(id)
		if ok != (id != 5) || ok && n.ID != id {
			t.Errorf("Node(%d) = %+v, %v", id, n, ok)
		}
	}
}

func TestMembershipClone(t *testing.T) {
	m := sampleMemberships()[1].value
	c := m.Clone()
	if !reflect.DeepEqual(m, c) {
		t.Fatalf("clone %+v differs from %+v", c, m)
	}
	c.Nodes[0].Address, c.Configs[0].Voters[0], c.Configs[1].Quorum.Kind = "changed", 99, 99
	if !reflect.DeepEqual(m, sampleMemberships()[1].value) {
		t.Error("a change of the clone reached the original")
	}
}

func TestMembershipValidate(t *testing.T) {
	nodes := func(n int) []Node {
		out := make([]Node, n)
		for i := range out {
			out[i].ID = NodeID(i + 1)
		}
		return out
	}
	for _, c := range []struct {
		want string // part of the message; it names the offending value
		edit func(m *Membership)
	}{
		{"vote mode 0", func(m *Membership) { m.Mode = 0 }},
		{"vote mode 3", func(m *Membership) { m.Mode = 3 }},
		{"1025 nodes, limit 1024", func(m *Membership) { m.Nodes = nodes(1025) }},
		{"node 0 after node 0", func(m *Membership) { m.Nodes[0].ID = 0 }},
		{"node 1 after node 1", func(m *Membership) { m.Nodes[1].ID = 1 }},
		{"node 2 after node 3", func(m *Membership) { m.Nodes[1].ID, m.Nodes[2].ID = 3, 2 }},
		{"address of node 2 has 256 bytes, limit 255", func(m *Membership) { m.Nodes[1].Address = strings.Repeat("a", 256) }},
		{"0 voter configs, want 1 to 16", func(m *Membership) { m.Configs = nil }},
		{"17 voter configs, want 1 to 16", func(m *Membership) { m.Configs = make([]VoterConfig, 17) }},
		{"config 0: unknown quorum system QuorumKind(0)", func(m *Membership) { m.Configs[0].Quorum.Kind = 0 }},
		{"config 0: no voters", func(m *Membership) { m.Configs[0].Voters = nil }},
		{"config 0: voter 0 after voter 0", func(m *Membership) { m.Configs[0].Voters[0] = 0 }},
		{"config 0: voter 1 after voter 1", func(m *Membership) { m.Configs[0].Voters[1] = 1 }},
		{"config 0: voter 9 is not among the nodes", func(m *Membership) { m.Configs[0].Voters[2] = 9 }},
		{"voter 3 is to be promoted, want a learner", func(m *Membership) { m.Nodes[2].Promote = true }},
		{"node 3 is leaving, want that in a transient membership only", func(m *Membership) { m.Nodes[2].Leaving = true }},
		{"node 3 is leaving, want that in a transient membership only, of no voter of its last config", func(m *Membership) {
			m.Transient, m.Configs = true, append(m.Configs, MajorityConfig(2, 3))
			m.Nodes[2].Leaving = true
		}},
		{"transient with one voter config, want at least 2", func(m *Membership) { m.Transient = true }},
		{"config 1: unknown quorum system QuorumKind(5)", func(m *Membership) {
			m.Configs = append(m.Configs, m.Configs[0].Clone())
			m.Configs[1].Quorum.Kind = 5
		}},
	} {
		m := sampleMemberships()[0].value
		c.edit(&m)
		err := m.Validate()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Validate: %v, want an error that says %q", err, c.want)
			continue
		}
		if len(m.Nodes) > 0 && m.Nodes[1].ID == 2 && len(m.Nodes[1].Address) < 256 {
			if _, _, err := ReadMembership(AppendMembership(nil, &m)); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s: read with %v, want ErrCorrupt", c.want, err)
			}
		}
	}
	limit := NewMembership(SeveralLeadersPerTerm, nodes(MembershipNodesMax)...)
	if got, _, err := ReadMembership(AppendMembership(nil, &limit)); err != nil || !reflect.DeepEqual(got, limit) {
		t.Errorf("membership of %d nodes: %v", MembershipNodesMax, err)
	}
}

func TestReadMembershipCutShort(t *testing.T) {
	for _, s := range sampleMemberships() {
		b := AppendMembership(nil, &s.value)
		for n := range b {
			if _, _, err := ReadMembership(b[:n]); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s: first %d of %d bytes: %v, want ErrCorrupt", s.name, n, len(b), err)
			}
		}
	}
}

func TestReadMembershipRefuses(t *testing.T) {
	// One config of voter 1 under the majority rule, node 1 of priority 0 at address "a".
	intact := []byte{1, 1, 0, 1, 1, 1, 1, 1, 1, 0, 0, 1, 'a'}
	edited := func(at int, value byte) []byte {
		b := bytes.Clone(intact)
		b[at] = value
		return b
	}
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"unknown version", []byte{2, 1}, ErrVersion},
		{"unknown flag", edited(2, 2), ErrCorrupt},
		{"2^63 configs", append([]byte{1, 1, 0}, bytes.Repeat([]byte{0xff}, 9)...), ErrCorrupt},
		{"2^35 voters", []byte{1, 1, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x7f}, ErrCorrupt},
		{"more voters than bytes", []byte{1, 1, 0, 1, 0x80, 0x04, 1}, ErrCorrupt},
		{"more nodes than bytes", []byte{1, 1, 0, 1, 1, 1, 1, 0x80, 0x04, 1, 0}, ErrCorrupt},
		{"address longer than what follows", edited(11, 5), ErrCorrupt},
		{"unknown flag of a node", edited(10, 8), ErrCorrupt},
		{"id not in shortest form", []byte{1, 1, 0, 1, 1, 0x81, 0x00, 1, 1, 1, 0, 0, 1, 'a'}, ErrCorrupt},
		{"threshold beyond 32 bits", []byte{1, 1, 0, 1, 1, 1, 2, 0x81, 0x80, 0x80, 0x80, 0x10, 1, 1, 1, 0, 0, 1, 'a'}, ErrCorrupt},
		{"more weights than bytes", []byte{1, 1, 0, 1, 1, 1, 3, 1, 1, 0x80, 0x04, 1}, ErrCorrupt},
		{"weight beyond 32 bits", []byte{1, 1, 0, 1, 1, 1, 3, 1, 1, 1, 0x80, 0x80, 0x80, 0x80, 0x10, 1, 1, 0, 0, 1, 'a'}, ErrCorrupt},
		{"more groups than bytes", []byte{1, 1, 0, 1, 1, 1, 4, 1, 1, 0x80, 0x04, 1}, ErrCorrupt},
		{"more voters of a group than bytes", []byte{1, 1, 0, 1, 1, 1, 4, 1, 1, 1, 0x80, 0x04, 1}, ErrCorrupt},
	} {
		if _, n, err := ReadMembership(c.b); !errors.Is(err, c.want) || n != 0 {
			t.Errorf("%s: %d bytes, %v; want %v", c.name, n, err, c.want)
		}
	}
	for _, b := range [][]byte{intact,
		{1, 1, 0, 1, 1, 1, 2, 1, 1, 1, 1, 0, 0, 1, 'a'},
		{1, 1, 0, 1, 1, 1, 3, 1, 1, 1, 9, 1, 1, 0, 0, 1, 'a'},
		{1, 1, 0, 1, 1, 1, 4, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 'a'},
	} {
		if _, n, err := ReadMembership(b); err != nil || n != len(b) {
			t.Errorf("the intact form %v of these: %d bytes, %v", b, n, err)
		}
	}
}

// In a transient membership two configs decide; who stays is a voter of the last one.
func TestStays(t *testing.T) {
	m := sampleMemberships()[1].value // voters 1, 2, 3, then 2, 3, 1<<40; node 4 is a learner
	for id, want := range map[NodeID]bool{1: false, 2: true, 3: true, 4: false, 1 << 40: true, 9: false} {
		if got := m.Stays(id); got != want {
			t.Errorf("node %d stays: %v, want %v", id, got, want)
		}
	}
}
