package codec

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestQuorumKindNames(t *testing.T) {
	if got := fmt.Sprint(QuorumMajority, QuorumFlexible, QuorumWeighted, QuorumHierarchical, QuorumKind(7)); got !=
		"majority flexible weighted hierarchical QuorumKind(7)" {
		t.Errorf("quorum kinds print as %q", got)
	}
}

// sampleSystems are one valid quorum system of each kind over voters 1 to 4.
func sampleSystems() map[string]QuorumSystem {
	return map[string]QuorumSystem{
		"majority": {Kind: QuorumMajority},
		"flexible": {Kind: QuorumFlexible, Election: 3, Write: 2},
		"weighted": {Kind: QuorumWeighted, Election: 4, Write: 2, Weights: []uint32{2, 0, 2, 1}},
		"hierarchical": {Kind: QuorumHierarchical, Election: 2, Write: 1, Groups: []QuorumGroup{
			{Voters: []NodeID{1, 4}, Election: 1, Write: 2}, {Voters: []NodeID{2, 3}, Election: 1, Write: 2},
		}},
	}
}

// What Validate says about the form of a quorum system names the offending value and what was expected.
func TestQuorumSystemValidate(t *testing.T) {
	for _, c := range []struct {
		system, want string
		edit         func(q *QuorumSystem)
	}{
		{"majority", "unknown quorum system QuorumKind(0)", func(q *QuorumSystem) { q.Kind = 0 }},
		{"flexible", "unknown quorum system QuorumKind(5)", func(q *QuorumSystem) { q.Kind = 5 }},
		{"majority", "majority quorum with thresholds 1 and 0, want none", func(q *QuorumSystem) { q.Election = 1 }},
		{"majority", "majority quorum with thresholds 0 and 2, want none", func(q *QuorumSystem) { q.Write = 2 }},
		{"majority", "majority quorum with 4 weights, want none", func(q *QuorumSystem) { q.Weights = make([]uint32, 4) }},
		{"flexible", "flexible quorum with 4 weights, want none", func(q *QuorumSystem) { q.Weights = make([]uint32, 4) }},
		{"weighted", "weighted quorum with 1 groups, want none", func(q *QuorumSystem) { q.Groups = make([]QuorumGroup, 1) }},
		{"hierarchical", "hierarchical quorum with 4 weights, want none", func(q *QuorumSystem) { q.Weights = make([]uint32, 4) }},
		{"flexible", "thresholds 0 for elections and 2 for writes, want 1 to 4 (voters)", func(q *QuorumSystem) { q.Election = 0 }},
		{"flexible", "thresholds 3 for elections and 0 for writes, want 1 to 4 (voters)", func(q *QuorumSystem) { q.Write = 0 }},
		{"flexible", "thresholds 5 for elections and 2 for writes, want 1 to 4 (voters)", func(q *QuorumSystem) { q.Election = 5 }},
		{"flexible", "thresholds 3 for elections and 5 for writes, want 1 to 4 (voters)", func(q *QuorumSystem) { q.Write = 5 }},
		{"weighted", "3 weights for 4 voters", func(q *QuorumSystem) { q.Weights = q.Weights[:3] }},
		{"weighted", "thresholds 6 for elections and 2 for writes, want 1 to 5 (weights together)", func(q *QuorumSystem) { q.Election = 6 }},
		{"weighted", "thresholds 4 for elections and 0 for writes, want 1 to 5 (weights together)", func(q *QuorumSystem) { q.Write = 0 }},
		{"weighted", "want 1 to 0 (weights together)", func(q *QuorumSystem) { clear(q.Weights) }},
		{"hierarchical", "thresholds 3 for elections and 1 for writes, want 1 to 2 (groups)", func(q *QuorumSystem) { q.Election = 3 }},
		{"hierarchical", "group 1: thresholds 1 for elections and 3 for writes, want 1 to 2 (voters)", func(q *QuorumSystem) { q.Groups[1].Write = 3 }},
		{"hierarchical", "group 0: thresholds 0 for elections and 2 for writes, want 1 to 2 (voters)", func(q *QuorumSystem) { q.Groups[0].Election = 0 }},
		{"hierarchical", "group 1: thresholds 1 for elections and 2 for writes, want 1 to 0 (voters)", func(q *QuorumSystem) { q.Groups[1].Voters = nil }},
		{"hierarchical", "group 0: voter 1 after voter 4, want ids sorted and unique", func(q *QuorumSystem) { q.Groups[0].Voters = []NodeID{4, 1} }},
		{"hierarchical", "group 1: voter 2 after voter 2, want ids sorted and unique", func(q *QuorumSystem) { q.Groups[1].Voters = []NodeID{2, 2} }},
		{"hierarchical", "group 1: voter 4 is in group 0 too", func(q *QuorumSystem) { q.Groups[1].Voters = []NodeID{3, 4} }},
		{"hierarchical", "group 1: 5 is no voter", func(q *QuorumSystem) { q.Groups[1].Voters = []NodeID{3, 5} }},
		{"hierarchical", "group 0: 0 is no voter", func(q *QuorumSystem) { q.Groups[0].Voters = []NodeID{0, 1} }},
		{"hierarchical", "voter 3 is in no group", func(q *QuorumSystem) { q.Groups[1].Voters, q.Groups[1].Write = q.Groups[1].Voters[:1], 1 }},
		{"hierarchical", "voter 1 is in no group", func(q *QuorumSystem) { q.Groups = nil }},
	} {
		m := NewMembership(SeveralLeadersPerTerm, Node{ID: 1}, Node{ID: 2}, Node{ID: 3}, Node{ID: 4})
		m.Configs[0].Quorum = sampleSystems()[c.system]
		if err := m.Validate(); err != nil {
			t.Errorf("%s: %v", c.system, err)
		}
		c.edit(&m.Configs[0].Quorum)
		if err := m.Validate(); err == nil || !strings.HasPrefix(err.Error(), "membership: config 0: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error that says %q", c.system, err, c.want)
		}
	}
}

// Weights of up to 32 bits add up without running over, and a list that is empty rather than nil is no list.
func TestQuorumSystemExtremes(t *testing.T) {
	m := NewMembership(SeveralLeadersPerTerm, Node{ID: 1}, Node{ID: 2})
	q := &m.Configs[0].Quorum
	*q = QuorumSystem{Kind: QuorumWeighted, Election: 1<<32 - 1, Write: 1<<32 - 1, Weights: []uint32{1<<32 - 1, 1<<32 - 1}}
	if err := m.Validate(); err != nil {
		t.Error(err)
	}
	if got, _, err := ReadMembership(AppendMembership(nil, &m)); err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("read %+v, %v; want %+v", got, err, m)
	}
	*q = QuorumSystem{Kind: QuorumMajority, Weights: []uint32{}, Groups: []QuorumGroup{}}
	if err := m.Validate(); err != nil {
		t.Error(err)
	}
}

func TestMajorityConfig(t *testing.T) {
	given := []NodeID{3, 1, 2}
	want := VoterConfig{Voters: []NodeID{1, 2, 3}, Quorum: QuorumSystem{Kind: QuorumMajority}}
	if c := MajorityConfig(given...); !reflect.DeepEqual(c, want) || given[0] != 3 {
		t.Errorf("MajorityConfig(3, 1, 2) = %+v, arguments left as %v", c, given)
	}
}

func TestVoterConfigString(t *testing.T) {
	for system, want := range map[string]string{
		"majority":     "majority of [1 2 3 4]",
		"flexible":     "flexible of [1 2 3 4], election 3, write 2",
		"weighted":     "weighted of [1 2 3 4] by [2 0 2 1], election 4, write 2",
		"hierarchical": "hierarchical of [1 4] (election 1, write 2) and [2 3] (election 1, write 2), election 2, write 1",
	} {
		c := VoterConfig{Voters: []NodeID{1, 2, 3, 4}, Quorum: sampleSystems()[system]}
		if c.String() != want || fmt.Sprintf("%+v", c) != want {
			t.Errorf("prints as %q and %+v, want %q", c, c, want)
		}
	}
}

// A config equals itself and its clone, and nothing that differs in a single field; a change of a clone stays there.
func TestVoterConfigEqualClone(t *testing.T) {
	edits := map[string]func(c *VoterConfig){
		"voter":           func(c *VoterConfig) { c.Voters[3] = 9 },
		"number":          func(c *VoterConfig) { c.Voters = c.Voters[:3] },
		"kind":            func(c *VoterConfig) { c.Quorum.Kind = 9 },
		"election":        func(c *VoterConfig) { c.Quorum.Election++ },
		"write":           func(c *VoterConfig) { c.Quorum.Write++ },
		"weight":          func(c *VoterConfig) { c.Quorum.Weights[1]++ },
		"group's voter":   func(c *VoterConfig) { c.Quorum.Groups[1].Voters[0] = 9 },
		"group's count":   func(c *VoterConfig) { c.Quorum.Groups[0].Election++ },
		"group's write":   func(c *VoterConfig) { c.Quorum.Groups[0].Write++ },
		"number of group": func(c *VoterConfig) { c.Quorum.Groups = c.Quorum.Groups[:1] },
	}
	for system, q := range sampleSystems() {
		config := VoterConfig{Voters: []NodeID{1, 2, 3, 4}, Quorum: q}
		for field, edit := range edits {
			if strings.Contains(field, "weight") && q.Weights == nil || strings.Contains(field, "group") && q.Groups == nil {
				continue
			}
			clone := config.Clone()
			if !clone.Equal(&config) || !reflect.DeepEqual(clone, config) {
				t.Fatalf("%s: clone %+v differs from %+v", system, clone, config)
			}
			edit(&clone)
			if clone.Equal(&config) || config.Equal(&clone) {
				t.Errorf("%s: equal although the %s differs", system, field)
			}
			if !reflect.DeepEqual(config.Quorum, sampleSystems()[system]) || config.Voters[3] != 4 {
				t.Errorf("%s: a change of the clone's %s reached the original", system, field)
			}
		}
	}
}
