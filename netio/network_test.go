package netio

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/millrace/millrace/codec"
)

// join starts a transport of a network whose peers are nodes 1 to 3.
func join(t testing.TB, n *Network, id codec.NodeID, s *sink) *Inproc {
	t.Helper()
	p := n.Transport(id, testCluster, incarnation(int(id)))
	p.SetPeers([]codec.Node{{ID: 1}, {ID: 2}, {ID: 3}})
	if err := p.Start(s.link()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func TestInprocHandsOverDirectly(t *testing.T) {
	n := NewNetwork()
	sinks := []*sink{newSink(), newSink(), newSink()}
	a := join(t, n, 1, sinks[0])
	join(t, n, 2, sinks[1])
	join(t, n, 3, sinks[2])
	frame, piece := appendOf(t, 2, 7, 100), pieceOf(2, 8, 100)
	sent := []codec.Packet{frame, heartbeat(3, 1), heartbeat(3, 2)}
	a.Send(codec.LaneAppend, sent)
	same(t, sinks[1].received(), []codec.Packet{frame}, 1)
	same(t, sinks[2].received(), []codec.Packet{heartbeat(0, 1), heartbeat(0, 2)}, 1)
	a.Send(codec.LaneSnapshot, []codec.Packet{piece})
	same(t, sinks[1].received(), []codec.Packet{frame, piece}, 1)
	if got := sinks[1].received(); &got[0].Frame.Bytes()[0] != &frame.Frame.Bytes()[0] || &got[1].Data.Bytes()[0] != &piece.Data.Bytes()[0] {
		t.Error("the frame or the data was copied")
	}
	if sent[0].Node != 2 || sent[1].Node != 3 {
		t.Error("the sender's packets were changed")
	}
	if a.Addr() != "inproc:1" {
		t.Errorf("address %q", a.Addr())
	}
	for i := range 10 {
		a.Send(codec.LaneControl, []codec.Packet{heartbeat(2, i)})
	}
	if len(sinks[0].verified) != 2 || len(sinks[1].verified) != 1 {
		t.Errorf("verified %v and %v, want each peer once", sinks[0].verified, sinks[1].verified)
	}
	want := uint64(len(wire(frame, piece)) + 12*codec.MessageHeaderSize)
	if s := a.Stats(); s.MessagesOut != 14 || s.BytesOut != want || s.Dialed != 2 {
		t.Errorf("stats %+v, want 14 messages of %d bytes, 2 dialed", s, want)
	}
}

// TestInprocPeersMeetBeforeTheFirstPacket: as over TCP, where they are dialed when SetPeers names them.
func TestInprocPeersMeetBeforeTheFirstPacket(t *testing.T) {
	n := NewNetwork()
	one, other := newSink(), newSink()
	a, b := n.Transport(1, testCluster, incarnation(1)), n.Transport(2, testCluster, incarnation(2))
	for p, s := range map[*Inproc]*sink{a: one, b: other} {
		if err := p.Start(s.link()); err != nil {
			t.Fatal(err)
		}
		defer p.Close()
	}
	a.SetPeers([]codec.Node{{ID: 1}, {ID: 2}, {ID: 3}})
	b.SetPeers([]codec.Node{{ID: 1}, {ID: 2}})
	if len(one.verified) != 1 || len(other.verified) != 1 || a.Stats().Dialed != 1 || b.Stats().Dialed != 0 {
		t.Errorf("verified %v and %v, want each the other once", one.verified, other.verified)
	}
}

// A node that restarts meets those anew that knew it: a crash may have taken what it had noted of them, whoever sends first.
// What its last life has lost is nothing to it.
func TestInprocPeersMeetAfterARestart(t *testing.T) {
	for _, first := range []codec.NodeID{1, 2} {
		n := NewNetwork()
		stays, leaves, returns := newSink(), newSink(), newSink()
		nodes := map[codec.NodeID]*Inproc{1: join(t, n, 1, stays), 2: join(t, n, 2, leaves)}
		nodes[1].Send(codec.LaneControl, []codec.Packet{heartbeat(2, 1)})
		n.Cut(2, 1)
		nodes[2].Send(codec.LaneControl, []codec.Packet{heartbeat(1, 2)})
		if err := nodes[2].Close(); err != nil {
			t.Fatal(err)
		}
		nodes[2] = join(t, n, 2, returns)
		n.HealAll()
		if len(returns.downs) != 0 {
			t.Errorf("the new life of node 2 is told of %v, which it did not send", returns.downs)
		}
		nodes[first].Send(codec.LaneControl, []codec.Packet{heartbeat(3-first, 3)})
		if want := []codec.NodeID{1}; !slices.Equal(leaves.verified, want) || !slices.Equal(returns.verified, want) {
			t.Errorf("node %d sends first: the lives of node 2 were asked about %v and %v, want %v each", first, leaves.verified, returns.verified, want)
		}
		if want := []codec.NodeID{2, 2}; !slices.Equal(stays.verified, want) {
			t.Errorf("node %d sends first: node 1 was asked about %v, want %v", first, stays.verified, want)
		}
	}
}

func TestInprocCutIsOneWay(t *testing.T) {
	n := NewNetwork()
	sinks := []*sink{newSink(), newSink()}
	a, b := join(t, n, 1, sinks[0]), join(t, n, 2, sinks[1])
	downs := func(s *sink) int { return len(s.downs) }
	send := func(from *Inproc, to codec.NodeID, i int) {
		from.Send(codec.LaneControl, []codec.Packet{heartbeat(to, i)})
	}

	n.Cut(1, 2)
	send(a, 2, 1)
	send(a, 2, 2)
	send(b, 1, 3)
	if len(sinks[1].packets) != 0 || len(sinks[0].packets) != 1 || downs(sinks[0]) != 1 || downs(sinks[1]) != 0 {
		t.Fatalf("cut 1 to 2: delivered %d and %d, downs %v and %v",
			len(sinks[1].packets), len(sinks[0].packets), sinks[0].downs, sinks[1].downs)
	}
	n.Heal(1, 2)
	if downs(sinks[0]) != 2 {
		t.Fatalf("healing told %d times of what was lost, want once more", downs(sinks[0])-1)
	}
	send(a, 2, 4)
	same(t, sinks[1].received(), []codec.Packet{heartbeat(0, 4)}, 1)

	n.Partition([]codec.NodeID{1}, []codec.NodeID{2, 3})
	send(a, 2, 5)
	send(b, 1, 6)
	if downs(sinks[0]) != 3 || downs(sinks[1]) != 1 {
		t.Errorf("downs %v and %v", sinks[0].downs, sinks[1].downs)
	}
	n.HealAll()
	send(a, 2, 7)
	send(b, 1, 8)
	if len(sinks[1].packets) != 2 || len(sinks[0].packets) != 2 {
		t.Errorf("after HealAll delivered %d and %d", len(sinks[1].packets), len(sinks[0].packets))
	}
}

// Each lane is told of its own losses.
func TestInprocLanesAreLostOneByOne(t *testing.T) {
	n := NewNetwork()
	up, got := newSink(), newSink()
	a := join(t, n, 1, up)
	join(t, n, 2, got)
	n.Cut(1, 2)
	a.Send(codec.LaneSnapshot, []codec.Packet{pieceOf(2, 1, 10)})
	a.Send(codec.LaneAppend, []codec.Packet{appendOf(t, 2, 1, 10)})
	a.Send(codec.LaneSnapshot, []codec.Packet{pieceOf(2, 2, 10)})
	want := []downCall{{2, codec.LaneSnapshot}, {2, codec.LaneAppend}}
	if !slices.Equal(up.downs, want) {
		t.Fatalf("Down called for %v, want %v", up.downs, want)
	}
	n.Heal(1, 2)
	if len(up.downs) != 4 {
		t.Errorf("healing told of %v, want both lanes once more", up.downs[2:])
	}
	a.Send(codec.LaneSnapshot, []codec.Packet{pieceOf(2, 3, 10)})
	same(t, got.received(), []codec.Packet{pieceOf(0, 3, 10)}, 1)
}

// What was lost after Down had been called is told before anything behind it goes, also where no Heal says that the
// lane works again.
func TestInprocTellsOfEveryGap(t *testing.T) {
	n := NewNetwork()
	up, got := newSink(), newSink()
	a := n.Transport(1, testCluster, incarnation(1))
	if err := a.Start(up.link()); err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	join(t, n, 2, got)
	send := func(i int) { a.Send(codec.LaneControl, []codec.Packet{heartbeat(2, i)}) }
	send(1) // not a peer yet: lost, Down
	send(2) // lost
	if len(up.downs) != 1 {
		t.Fatalf("Down called %d times, want 1", len(up.downs))
	}
	a.SetPeers([]codec.Node{{ID: 2}})
	send(3) // the sender does not know of 2: lost too, Down
	if len(up.downs) != 2 || len(got.packets) != 0 {
		t.Fatalf("Down called %d times, %d delivered; want 2, none", len(up.downs), len(got.packets))
	}
	send(4)
	same(t, got.received(), []codec.Packet{heartbeat(0, 4)}, 1)
	n.Cut(1, 2)
	send(5) // lost again: news
	if len(up.downs) != 3 {
		t.Errorf("Down called %d times, want 3", len(up.downs))
	}
}

func TestInprocRefusals(t *testing.T) {
	n := NewNetwork()
	up, got := newSink(), newSink()
	a := join(t, n, 1, up)
	refuse := errors.New("not the one I know")
	got.verify = func(id codec.NodeID, i codec.Incarnation) error {
		if i != incarnation(1) {
			return refuse
		}
		return nil
	}
	b := join(t, n, 2, got)
	send := func(from *Inproc) { from.Send(codec.LaneControl, []codec.Packet{heartbeat(2, 1)}) }

	stranger := n.Transport(3, "prod", incarnation(3))
	stranger.SetPeers([]codec.Node{{ID: 2}})
	told := newSink()
	if err := stranger.Start(told.link()); err != nil {
		t.Fatal(err)
	}
	send(stranger)
	if err := stranger.Close(); err != nil {
		t.Fatal(err)
	}
	if b.Stats().By[RefusedWrongCluster] != 1 || len(told.downs) != 1 {
		t.Errorf("wrong cluster: %v, downs %v", b.Stats().By, told.downs)
	}

	twin := n.Transport(1, testCluster, incarnation(1))
	if err := twin.Start(newSink().link()); err == nil {
		t.Error("two transports of node 1 started")
	}
	send(a)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	reborn := n.Transport(1, testCluster, incarnation(9))
	reborn.SetPeers([]codec.Node{{ID: 2}})
	if err := reborn.Start(up.link()); err != nil {
		t.Fatal(err)
	}
	defer reborn.Close()
	send(reborn)
	if len(got.packets) != 1 || b.Stats().By[RefusedWrongIncarnation] != 1 || reborn.Stats().By[DialRefused] != 1 {
		t.Errorf("delivered %d; %v", len(got.packets), b.Stats().By)
	}
	if err := reborn.Start(up.link()); !errors.Is(err, ErrStarted) {
		t.Errorf("second start: %v", err)
	}
	if err := a.Start(up.link()); !errors.Is(err, ErrClosed) {
		t.Errorf("start after close: %v", err)
	}
}

// Nodes that close while they send to each other neither wait for each other nor call anybody afterwards.
func TestInprocCloseWhileBusy(t *testing.T) {
	for range 50 {
		n := NewNetwork()
		var nodes []*Inproc
		var closed [4]bool
		var mu sync.Mutex
		check := func(id codec.NodeID) {
			mu.Lock()
			defer mu.Unlock()
			if closed[id] {
				t.Error("called after Close")
			}
		}
		for id := codec.NodeID(1); id <= 3; id++ {
			p := n.Transport(id, testCluster, incarnation(int(id)))
			p.SetPeers([]codec.Node{{ID: 1}, {ID: 2}, {ID: 3}})
			err := p.Start(codec.Link{
				Verify:  func(codec.NodeID, codec.Incarnation) error { check(id); return nil },
				Deliver: func([]codec.Packet) { check(id) },
				Down:    func(codec.NodeID, codec.Lane) { check(id) },
			})
			if err != nil {
				t.Fatal(err)
			}
			nodes = append(nodes, p)
		}
		var running sync.WaitGroup
		for i, p := range nodes {
			running.Add(2)
			go func() {
				defer running.Done()
				for range 200 {
					p.Send(codec.LaneControl, []codec.Packet{heartbeat(1, 1), heartbeat(2, 1), heartbeat(3, 1)})
				}
			}()
			go func() {
				defer running.Done()
				if err := p.Close(); err != nil {
					t.Error(err)
				}
				mu.Lock()
				closed[i+1] = true
				mu.Unlock()
			}()
		}
		running.Wait()
	}
}

func TestInprocAllocatesNothing(t *testing.T) {
	n := NewNetwork()
	got := newSink()
	got.deliver = func([]codec.Packet) {}
	a := join(t, n, 1, newSink())
	join(t, n, 2, got)
	packets := []codec.Packet{appendOf(t, 2, 1, 100), forwardOf(2, 2, 100)}
	a.Send(codec.LaneAppend, packets)
	if allocs := testing.AllocsPerRun(1000, func() { a.Send(codec.LaneAppend, packets) }); allocs > 0 && !raceEnabled {
		t.Errorf("%v allocations a send", allocs)
	}
}
