package main

import (
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
)

// TestLife runs the program's steps, each of which fails where the one before did not do what it says.
func TestLife(t *testing.T) {
	c := &cluster{dir: t.TempDir(), listen: map[codec.NodeID]string{}, running: map[codec.NodeID]*engine.Raft{}}
	if err := c.live(t.Context()); err != nil {
		t.Error(err)
	}
	m := c.running[2].Metrics()
	if m.Leader != 2 || m.Vote.Leader.Term != 2 || m.Elections != 0 || !m.Membership.IsVoter(4) || m.Membership.IsVoter(3) {
		t.Errorf("at the end %+v, want node 2 to lead in term 2 still, with a witness for node 3", m)
	}
	for id := range c.running {
		if err := c.close(id); err != nil {
			t.Error(err)
		}
	}
}
