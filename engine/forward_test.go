package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/netio"
	"github.com/millrace/millrace/pipeline/session"
)

// oneWay cuts the direction from one node to another.
func (c *cables) oneWay(from, to codec.NodeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut[[2]codec.NodeID{from, to}] = true
}

// follower returns a node that follows the leader, and knows it.
func (c *cluster) follower() (leader, follower *Raft) {
	c.t.Helper()
	leader = c.leader()
	follower = c.nodes[c.others(leader.NodeID())[0]]
	until(c.t, "the follower to know the leader", func() bool {
		n, ok := follower.Leader()
		return ok && n.ID == leader.NodeID()
	})
	return leader, follower
}

func TestFollowerForwardsOnRequest(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.adjust = func(cfg *Config) { calm(cfg); cfg.ProposalBytesMax = 64 << 10 }
		c := startCluster(t, o)
		leader, follower := c.follower()
		if _, err := follower.Submit(t.Context(), Proposal{Data: []byte("not asked for")}); !errors.As(err, new(*NotLeaderError)) {
			t.Fatalf("without Forward: %v", err)
		}
		r, err := follower.Submit(t.Context(), Proposal{Data: []byte("a"), Forward: true})
		if err != nil || string(r.Data) != "1" || r.LogID.Leader.Node != leader.NodeID() {
			t.Fatalf("forwarded: %v %q, %v", r.LogID, r.Data, err)
		}
		lead := r.LogID.Leader
		if r, err = follower.Submit(t.Context(), Proposal{Data: nil, Forward: true, IfLeader: lead}); err != nil || string(r.Data) != "2" {
			t.Fatalf("an empty one, under the right leadership: %q, %v", r.Data, err)
		}
		var refused *LeadershipError
		want := codec.LeaderID{Term: lead.Term + 1, Node: 9}
		if _, err = follower.Submit(t.Context(), Proposal{Forward: true, IfLeader: want}); !errors.As(err, &refused) ||
			*refused != (LeadershipError{Node: leader.NodeID(), Want: want, Vote: codec.Vote{Leader: lead, Committed: true}}) {
			t.Fatalf("under another leadership: %v", err)
		}
		if r, err = leader.Submit(t.Context(), Proposal{Data: []byte("b"), Forward: true}); err != nil || string(r.Data) != "3" {
			t.Fatalf("on the leader: %q, %v", r.Data, err)
		}
		large := make([]byte, leader.cfg.ProposalBytesMax)
		if _, err := follower.Submit(t.Context(), Proposal{Data: large, Forward: true}); err != nil {
			t.Fatalf("of the largest size: %v", err)
		}
		if _, err := follower.Submit(t.Context(), Proposal{Data: append(large, 1), Forward: true}); !errors.Is(err, ErrTooLarge) {
			t.Fatalf("beyond it: %v", err)
		}
		notice := func(codec.LogID) { t.Error("a forwarded proposal gives a notice") }
		if _, err := follower.Submit(t.Context(), Proposal{Forward: true, Committed: notice}); !errors.As(err, new(*ArgumentError)) {
			t.Fatalf("with a notice: %v", err)
		}
		c.agree(4)
	})
}

// fateOf forwards a proposal in the background.
func fateOf(ctx context.Context, r *Raft, data string) <-chan error {
	got := make(chan error, 1)
	go func() {
		_, err := r.Submit(ctx, Proposal{Data: []byte(data), Forward: true})
		got <- err
	}()
	return got
}

func mustBeUnknown(t *testing.T, err, cause error) {
	t.Helper()
	if !errors.As(err, new(*UnknownError)) || !errors.Is(err, cause) {
		t.Fatalf("got %v, want an UnknownError with %v", err, cause)
	}
}

// TestLostAnswerIsUnknown: the leader's answer does not come. The proposal is applied once: nobody sends it again.
func TestLostAnswerIsUnknown(t *testing.T) {
	for _, tcp := range []bool{false, true} {
		t.Run(fmt.Sprint("tcp=", tcp), func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, clusterOptions{nodes: 3, memory: true, tcp: tcp, cables: true, adjust: func(cfg *Config) {
				cfg.ElectionTimeoutMin, cfg.ElectionTimeoutMax = 30*time.Second, 60*time.Second
				cfg.ForwardTimeout = 200 * time.Millisecond
				cfg.ForwardBytesMax = 1000
			}})
			leader, follower := c.follower()
			c.cable.oneWay(leader.NodeID(), follower.NodeID())
			mustBeUnknown(t, <-fateOf(t.Context(), follower, "a"), errNoAnswer)
			ctx, cancel := context.WithCancelCause(t.Context())
			ended := errors.New("ended by the test")
			fate := fateOf(ctx, follower, "b")
			c.sms[leader.NodeID()].await(t, 2)
			cancel(ended)
			mustBeUnknown(t, <-fate, ended)
			if err := <-fateOf(ctx, follower, "never"); err != ended {
				t.Fatalf("with a context that had ended: %v", err)
			}
			fate = fateOf(t.Context(), follower, "c"+strings.Repeat(".", 600))
			c.sms[leader.NodeID()].await(t, 3)
			var busy *BusyError
			if err := <-fateOf(t.Context(), follower, strings.Repeat(".", 400)); !errors.As(err, &busy) ||
				busy.What != "forwarded proposals" || busy.Limit != 1000 || busy.Bytes != 601+128 {
				t.Fatalf("beyond the bound: %v", err)
			}
			mustBeUnknown(t, <-fate, errNoAnswer)
			mustBeUnknown(t, <-fateOf(t.Context(), follower, strings.Repeat(".", 400)), errNoAnswer) // there is room again
			c.cable.heal()
			if sent, _ := c.cable.count(follower.NodeID(), codec.MessageForward); sent != 4 {
				t.Errorf("%d proposals were sent, want each of 4 once", sent)
			}
			c.propose("after")
			c.once(5)
		})
	}
}

func TestForwarderNoticesThatItsLeaderIsGone(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true, cables: true})
	leader, follower := c.follower()
	c.cable.part([]codec.NodeID{leader.NodeID()}, c.others(leader.NodeID(), follower.NodeID()))
	c.cable.oneWay(leader.NodeID(), follower.NodeID())
	mustBeUnknown(t, <-fateOf(t.Context(), follower, "a"), errLeaderChanged)
	c.cable.heal()
	c.proposeOnce("b")
	leader, follower = c.follower()
	c.cable.oneWay(follower.NodeID(), leader.NodeID())
	err := <-fateOf(t.Context(), follower, "c")
	if !errors.Is(err, errLaneBroke) && !errors.Is(err, errLeaderChanged) {
		t.Fatalf("over a broken lane: %v", err)
	}
}

func TestForwarderThatCloses(t *testing.T) {
	c := startCluster(t, clusterOptions{nodes: 3, memory: true, cables: true, adjust: calm})
	leader, follower := c.follower()
	c.cable.oneWay(leader.NodeID(), follower.NodeID())
	fate := fateOf(t.Context(), follower, "a")
	c.sms[leader.NodeID()].await(t, 1)
	c.close(follower.NodeID())
	mustBeUnknown(t, <-fate, ErrStopped)
	if err := <-fateOf(t.Context(), follower, "b"); !errors.Is(err, ErrStopped) || errors.As(err, new(*UnknownError)) {
		t.Fatalf("after Close: %v", err)
	}
}

func TestForwardWithoutLeader(t *testing.T) {
	log := MemoryLog()
	r, err := Open(Config{NodeID: 1, ClusterID: "test", Log: log, Transport: netio.NewNetwork().Transport(1, "test", log.Incarnation())}, newRegister())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var refused *NotLeaderError
	if err := <-fateOf(t.Context(), r, "a"); !errors.As(err, &refused) || refused.Leader.ID != 0 {
		t.Fatalf("without a leader: %v", err)
	}
}

// TestForwardingSessionAcrossFailover: clients at a follower keep proposing while leaders come and go. Every command is
// applied once, and each client has its own answer.
func TestForwardingSessionAcrossFailover(t *testing.T) {
	eachKind(t, func(t *testing.T, o clusterOptions) {
		o.cables = true
		c := startCluster(t, o)
		leader, follower := c.follower()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		s, err := follower.OpenSession(ctx, Forwarding())
		if err != nil {
			t.Fatal(err)
		}
		const commands = 200
		answers := make(chan string, commands)
		propose := func(n int) {
			r, err := s.Do(ctx, fmt.Append(nil, n))
			answers <- fmt.Sprintf("%s %v", r.Data, err)
		}
		for n := range commands / 2 {
			go propose(n)
		}
		seen := map[string]bool{}
		for n := range commands {
			seen[<-answers] = true
			if n == commands/4 {
				c.cable.part([]codec.NodeID{leader.NodeID()}, c.others(leader.NodeID()))
				for n := range commands / 2 {
					go propose(commands/2 + n)
				}
			}
		}
		for n := range commands {
			if want := fmt.Sprintf("%d <nil>", n+1); !seen[want] {
				t.Errorf("nobody has the answer %q; there are %v", want, slices.Sorted(maps.Keys(seen)))
				break
			}
		}
		if open := s.State().Open; len(open) != 0 {
			t.Errorf("open in the end: %v", open)
		}
		c.cable.heal()
		until(t, "the session to be closed", func() bool { return s.Close(ctx) == nil })
		if _, err := resume(t, follower, SessionState{ID: s.ID(), Next: 1}, Forwarding()).Do(ctx, nil); !errors.As(err, new(*SessionExpiredError)) {
			t.Errorf("after the session was closed: %v", err)
		}
		c.once(commands)
	})
}

// rawPeer speaks to one node as another node would.
type rawPeer struct {
	t       *testing.T
	net     Transport
	answers chan codec.Packet
	token   uint64
}

func newRawPeer(t *testing.T, net *netio.Network, id codec.NodeID) *rawPeer {
	t.Helper()
	p := &rawPeer{t: t, net: net.Transport(id, "test", codec.Incarnation{byte(id)}), answers: make(chan codec.Packet, 100)}
	if err := p.net.Start(codec.Link{
		Verify: func(codec.NodeID, codec.Incarnation) error { return nil },
		Deliver: func(packets []codec.Packet) {
			for _, packet := range packets {
				if packet.Message.Kind == codec.MessageForwardReply {
					p.answers <- packet
				}
			}
		},
		Down: func(codec.NodeID, codec.Lane) {},
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.net.Close() })
	p.net.SetPeers([]codec.Node{{ID: 1}})
	return p
}

// send sends a payload as a forwarded proposal to node 1.
func (p *rawPeer) send(payload []byte) {
	p.token++
	m := codec.Message{Kind: codec.MessageForward, Group: theGroup, Stream: p.token, Stamp: 77}
	body := append(make([]byte, codec.DataHeaderSize), payload...)
	p.net.Send(codec.LaneAppend, []codec.Packet{{Node: 1, Message: m, Data: codec.SealData(body)}})
}

// join makes the peer a learner of the cluster that node 1 leads.
func (p *rawPeer) join(r *Raft) {
	p.t.Helper()
	if _, err := r.ChangeMembership(p.t.Context(), AddLearner(codec.Node{ID: 2})); err != nil {
		p.t.Fatal(err)
	}
}

// ask sends a proposal and returns the answer: the log id and data, or the error.
func (p *rawPeer) ask(f codec.Forward) (Result, error) {
	p.t.Helper()
	return p.answer(codec.AppendForward(nil, &f), f.IfLeader)
}

// answer sends a payload and returns the answer to it.
func (p *rawPeer) answer(payload []byte, want codec.LeaderID) (Result, error) {
	p.t.Helper()
	p.send(payload)
	a := <-p.answers
	if a.Message.Stream != p.token || a.Message.Stamp != 77 || a.Node != 1 {
		p.t.Fatalf("answered %+v to token %d", a.Message, p.token)
	}
	if a.Message.Status == codec.StatusOK {
		return Result{LogID: a.Message.Log, Data: a.Data.Payload()}, nil
	}
	refusal, err := codec.ReadRefusal(a.Data.Payload())
	if err != nil {
		p.t.Fatal(err)
	}
	return Result{}, refusalError(1, a.Message.Log, want, &refusal)
}

func normal(data string) codec.Forward {
	return codec.Forward{Kind: codec.EntryNormal, Data: []byte(data)}
}

func ofSession(e session.Entry) codec.Forward {
	return codec.Forward{Kind: codec.EntrySession, Data: session.AppendEntry(nil, &e)}
}

// talker answers with as many bytes as the entry says.
type talker struct{}

func (s *talker) Apply(entries []Entry, results []Result) error {
	for i, e := range entries {
		n := 0
		fmt.Sscan(string(e.Data), &n)
		if n > 0 {
			results[i].Data = make([]byte, n)
		}
	}
	return nil
}

// TestLeaderAnswersForwardedProposals speaks to a leader as a forwarder of any mind would.
func TestLeaderAnswersForwardedProposals(t *testing.T) {
	net, log := netio.NewNetwork(), MemoryLog()
	sm := &talker{}
	r := openAlone(t, sm, func(c *Config) {
		c.Log, c.Transport = log, net.Transport(1, "test", log.Incarnation())
		c.ProposalBytesMax, c.FrameBytesMax, c.SessionsMax = 1000, 1000, 1
	})
	p := newRawPeer(t, net, 2)
	p.join(r)
	for _, size := range []string{"0", "1", "1000"} {
		if got, err := p.ask(normal(size)); err != nil || fmt.Sprint(len(got.Data)) != size || got.LogID.IsZero() {
			t.Errorf("an answer of %s bytes: %d, %v, %v", size, len(got.Data), got.LogID, err)
		}
	}
	var applied *AppliedError
	if _, err := p.ask(normal("1001")); !errors.As(err, &applied) || applied.LogID.Index != r.Metrics().Commit {
		t.Errorf("an answer that is larger than a message may be: %v", err)
	}
	if _, err := p.ask(normal(strings.Repeat("1", 1001))); !errors.Is(err, ErrTooLarge) ||
		err.Error() != "node 1: proposal of 1001 bytes, limit 1000: too large: too large" {
		t.Errorf("a proposal that is too large: %v", err)
	}
	first, err := p.ask(ofSession(session.Entry{Op: session.OpRegister, Capacity: 99, BytesMax: 99}))
	if err != nil {
		t.Fatal(err)
	}
	id := SessionID(first.LogID.Index)
	command := session.Entry{Op: session.OpCommand, Session: id, Serial: 1, Data: []byte("3")}
	one, err := p.ask(ofSession(command))
	again, err2 := p.ask(ofSession(command))
	if err != nil || err2 != nil || one.LogID != again.LogID || len(again.Data) != 3 {
		t.Errorf("a command and its retry: %v %v, %v %v", one.LogID, err, again.LogID, err2)
	}
	var answered *SessionAnsweredError
	command.Serial, command.Answered = 2, 1
	p.ask(ofSession(command))
	command.Serial = 1
	if _, err := p.ask(ofSession(command)); !errors.As(err, &answered) || *answered != (SessionAnsweredError{Session: id, Serial: 1, Answered: 1}) {
		t.Errorf("a straggler: %v", err)
	}
	// The leader's own configuration says how many sessions there are, not the forwarder's.
	if _, err := p.ask(ofSession(session.Entry{Op: session.OpRegister, Capacity: 99, BytesMax: 99})); err != nil {
		t.Fatal(err)
	}
	var expired *SessionExpiredError
	if _, err := p.ask(ofSession(command)); !errors.As(err, &expired) || expired.Session != id {
		t.Errorf("a command of a session that was evicted: %v", err)
	}
	before := r.Metrics().Counts.Malformed
	var refused *ForwardError
	if _, err := p.answer([]byte{9}, codec.LeaderID{}); !errors.As(err, &refused) || !strings.Contains(err.Error(), "proposal of version 9, want 1") {
		t.Errorf("a proposal of another version: %v", err)
	}
	if _, err := p.ask(codec.Forward{Kind: codec.EntrySession, Data: []byte("\x02 no session entry")}); !errors.As(err, &refused) {
		t.Errorf("no session entry: %v", err)
	}
	if n := r.Metrics().Counts.Malformed - before; n != 2 {
		t.Errorf("%d of 2 unreadable proposals are counted", n)
	}
}

func TestLeaderBoundsForwardedProposals(t *testing.T) {
	net, log := netio.NewNetwork(), MemoryLog()
	sm := newGatedRegister()
	r := openAlone(t, sm, func(c *Config) {
		c.Log, c.Transport = log, net.Transport(1, "test", log.Incarnation())
		c.ForwardBytesMax = 300
	})
	p := newRawPeer(t, net, 2)
	p.join(r)
	a := normal("a")
	p.send(codec.AppendForward(nil, &a))
	<-sm.entered
	var busy *BusyError
	if _, err := p.ask(normal(strings.Repeat(".", 44))); !errors.As(err, &busy) || *busy != (BusyError{What: "node 1: proposals of other nodes", Bytes: 129, Limit: 300}) {
		t.Fatalf("beyond the bound: %v", err)
	}
	p.send(codec.AppendForward(nil, &a)) // fits
	until(t, "the second to be taken", func() bool { return r.Metrics().Entries == 2 })
	closed := make(chan error, 1)
	go func() { closed <- r.Close() }() // waits for both to be answered
	close(sm.gate)
	for range 2 {
		if a := <-p.answers; a.Message.Status != codec.StatusOK {
			t.Errorf("answered %+v", a.Message)
		}
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

func TestFollowerRefusesForwardedProposals(t *testing.T) {
	net, log := netio.NewNetwork(), MemoryLog()
	r, err := Open(Config{NodeID: 1, ClusterID: "test", Log: log, Transport: net.Transport(1, "test", log.Incarnation())}, newRegister())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var refused *NotLeaderError
	if _, err := newRawPeer(t, net, 2).ask(normal("a")); !errors.As(err, &refused) || refused.Node != 1 || refused.Leader.ID != 0 {
		t.Fatalf("got %v", err)
	}
}

// TestRefusalsKeepTheirMeaning: what the leader says is what the forwarder's caller is told.
func TestRefusalsKeepTheirMeaning(t *testing.T) {
	at := codec.LogID{Leader: codec.LeaderID{Term: 3, Node: 2}, Index: 40}
	want := codec.LeaderID{Term: 2, Node: 2}
	for _, c := range []struct{ err, told error }{
		{&UnknownError{LogID: at, Cause: errLostLeadership}, &UnknownError{LogID: at, Cause: &ForwardError{7, errLostLeadership.Error()}}},
		{&NotLeaderError{Node: 7, Leader: codec.Node{ID: 2, Address: "a:1"}}, &NotLeaderError{Node: 7, Leader: codec.Node{ID: 2, Address: "a:1"}}},
		{&LeadershipError{7, want, codec.Vote{Leader: at.Leader}}, &LeadershipError{7, want, codec.Vote{Leader: at.Leader}}},
		{&BusyError{What: "intake", Bytes: 5, Limit: 4}, &BusyError{What: "node 7: intake", Bytes: 5, Limit: 4}},
		{&SessionExpiredError{Session: 9}, &SessionExpiredError{Session: 9}},
		{&AppliedError{Session: 9, Serial: 3, LogID: at}, &AppliedError{Session: 9, Serial: 3, LogID: at}},
		{&SessionAnsweredError{Session: 9, Serial: 3, Answered: 4}, &SessionAnsweredError{Session: 9, Serial: 3, Answered: 4}},
		{fmt.Errorf("so %w", ErrStopped), &NotLeaderError{Node: 7}},
		{ErrNotMember, &ForwardError{7, "not a member"}},
		{&session.WindowError{Session: 9, Serial: 2000}, &ForwardError{7, (&session.WindowError{Session: 9, Serial: 2000}).Error()}},
	} {
		var p codec.Packet
		fillAnswer(&p, Result{}, c.err, 100)
		refusal, err := codec.ReadRefusal(p.Data.Payload())
		if err != nil || p.Message.Status != codec.StatusRefused {
			t.Fatal(err)
		}
		told := refusalError(7, p.Message.Log, want, &refusal)
		if !reflect.DeepEqual(told, c.told) {
			t.Errorf("%v became %v, want %v", c.err, told, c.told)
		}
		if certain(told) != certain(c.err) || settled(told) != settled(c.err) {
			t.Errorf("%v: certain %v, settled %v", told, certain(told), settled(told))
		}
	}
}

// TestStrangeAnswersAreNoAnswers: an answer of another node, to an earlier life, or given before, is dropped; one that can't
// be read leaves the fate unknown.
func TestStrangeAnswersAreNoAnswers(t *testing.T) {
	l := &loop{forwarding: newForwarding(), cfg: &Config{}}
	token := l.forwarding.token + 1
	f := &forwarded{cost: 9, token: token, to: 2, stamp: 5, reply: make(chan fate, 1)}
	l.forwarding.sent[token], l.forwarding.sentBytes = f, 9
	ok := codec.Message{Kind: codec.MessageForwardReply, Status: codec.StatusOK, Stream: token, Stamp: 5}
	for _, change := range []func(*codec.Packet){
		func(p *codec.Packet) { p.Node = 3 },
		func(p *codec.Packet) { p.Message.Stamp = 6 },
		func(p *codec.Packet) { p.Message.Stream++ },
	} {
		p := codec.Packet{Node: 2, Message: ok}
		change(&p)
		l.forwardReplied(&p)
		if len(f.reply) != 0 {
			t.Fatalf("%+v was taken for the answer", p)
		}
	}
	p := codec.Packet{Node: 2, Message: ok, Data: codec.SealData([]byte{0, 0, 0, 0, 99})}
	p.Message.Status = codec.StatusRefused
	l.forwardReplied(&p)
	l.forwardReplied(&p)
	mustBeUnknown(t, (<-f.reply).err, codec.ErrVersion)
	if l.malformed != 1 || l.forwarding.sentBytes != 0 || len(l.forwarding.sent) != 0 {
		t.Errorf("%d malformed, %d bytes and %d calls left", l.malformed, l.forwarding.sentBytes, len(l.forwarding.sent))
	}
}
