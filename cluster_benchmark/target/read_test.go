package target

import (
	"errors"
	"testing"

	"github.com/millrace/millrace/cluster_benchmark/load"
	"github.com/millrace/millrace/cluster_benchmark/setting"
)

// TestReads: in each of the ways there are, a read sees what was put before, and followers are read where that is asked for.
func TestReads(t *testing.T) {
	for _, way := range setting.Reads() {
		t.Run(way.Name, func(t *testing.T) {
			target, _ := open(t, setting.Millrace, setting.Scenario{Nodes: 3, Clients: 2, Payload: 16, Store: setting.StoreMemory, Net: setting.NetInproc, ReadRatio: 0.5, Read: way.Name})
			c := target.(*cluster)
			put(t, target, 2, 10, 16)
			least := c.members[0].machine.Last()
			for client := range 4 {
				reader, err := target.(load.ReadSource).Reader(client)
				if err != nil {
					t.Fatal(err)
				}
				var at member
				switch r := reader.(type) {
				case linearizable:
					at = r.member
				case leased:
					at = r.member
				}
				_, lease := reader.(leased)
				if lease != (way.Name == setting.ReadLease) || (at.node == c.leading().node) != (way.Name != setting.ReadFollower) {
					t.Errorf("client %d reads by %T at node %d", client, reader, at.node.NodeID())
				}
				if index, err := reader.Read(t.Context()); err != nil || index < least {
					t.Errorf("client %d read index %d, %v, want %d or more", client, index, err, least)
				}
			}
			if err := target.Close(); err != nil {
				t.Error(err)
			}
			if reader, err := target.(load.ReadSource).Reader(0); !errors.Is(err, errNoLeader) {
				t.Errorf("after Close: %v, %v", reader, err)
			}
		})
	}
}
