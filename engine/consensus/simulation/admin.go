package simulation

import (
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
)

// admin is everything that administrators do: each class by itself, so that two of them often act at once. They know
// which disks are lost, and ask for nothing that the rest could not survive.
//
// Owner: the run.
type admin struct {
	s      *run
	wanted []*codec.Membership // asked for and not answered yet
	fresh  []*node             // that run, and were never a member
}

func (a *admin) init(s *run) { a.s = s }

// attemptsMax is how often an administrator asks again for what was refused for the moment.
const attemptsMax = 5

// begin sets the operators going, who move nodes to where the membership has them and switch removed ones off.
func (a *admin) begin() {
	r := stream(a.s.opts.Seed, streamAdmin)
	var tend func()
	tend = func() {
		if a.s.healing {
			return
		}
		a.tend(r)
		a.s.after(500*time.Millisecond+exponential(r, time.Second), tend)
	}
	a.s.after(time.Second, tend)
}

// tend looks after the nodes.
func (a *admin) tend(r *rand.Rand) {
	m := a.s.check.newest()
	if m == nil {
		return
	}
	inForce := a.s.inForce()
	for _, n := range a.s.nodes {
		if n.gone {
			continue
		}
		n.moveHome(m, inForce)
		member := slices.ContainsFunc(inForce, func(m *codec.Membership) bool { _, ok := m.Node(n.id); return ok })
		if !member && !slices.Contains(a.fresh, n) && r.IntN(5) == 0 {
			a.s.tracef("node %d is switched off for good", n.id)
			n.leave()
		}
	}
}

// moveHome lets a node listen where the newest committed membership has it, unless it is where a later one has it.
func (n *node) moveHome(m *codec.Membership, inForce []*codec.Membership) {
	named, ok := m.Node(n.id)
	there := slices.ContainsFunc(inForce, func(m *codec.Membership) bool { o, ok := m.Node(n.id); return ok && o.Address == n.address })
	if ok && !n.gone && !there {
		n.s.net.moves(n, named.Address)
	}
}

// strike does one thing of a class.
func (a *admin) strike(c Class, r *rand.Rand) {
	switch c {
	case ClassTransfer:
		a.transfer(r)
	case ClassElect:
		a.ask(a.s.faults.victim(r), c, consensus.Input{Kind: consensus.InputElect})
	case ClassForget:
		all := r.IntN(2) == 0 // who then tells one of them to campaign knows the leader to be gone, or is wrong
		for _, n := range a.s.nodes {
			if all || r.IntN(2) == 0 {
				a.ask(n, c, consensus.Input{Kind: consensus.InputForgetLeader})
			}
		}
		if all {
			n := a.s.nodes[r.IntN(len(a.s.nodes))]
			a.s.after(a.s.shape.delay, func() { a.ask(n, c, consensus.Input{Kind: consensus.InputElect}) })
		}
	case ClassSwitch:
		n := a.s.faults.victim(r)
		a.turn(n, consensus.Switches{NoElections: r.IntN(2) == 0, NoHeartbeats: r.IntN(2) == 0, NoPreVote: r.IntN(2) == 0})
		back := n.switches
		a.s.after(exponential(r, 2*time.Second), func() { a.turn(n, back) })
	case ClassHeartbeat:
		a.ask(a.leader(r), c, consensus.Input{Kind: consensus.InputHeartbeat})
	default:
		a.change(c, r, attemptsMax)
	}
}

// ask asks a node for something and counts it when it was done.
func (a *admin) ask(n *node, c Class, in consensus.Input) {
	a.put(n, in, func(refused bool, _ error) {
		if !refused {
			a.s.faults.count(c)
		}
	})
}

// put leaves an input at a node for its next round.
func (a *admin) put(n *node, in consensus.Input, done func(refused bool, reason error)) {
	if n == nil || !n.up {
		done(true, errDown)
		return
	}
	a.s.note(70, uint64(n.id), uint64(in.Kind))
	n.box.asks = append(n.box.asks, ask{in, done})
	n.wake()
}

// turn switches parts of the protocol of a node on or off.
func (a *admin) turn(n *node, switches consensus.Switches) {
	a.ask(n, ClassSwitch, consensus.Input{Kind: consensus.InputSwitch, Switches: switches})
}

// leader returns a node that takes itself for the leader, nil when there is none.
func (a *admin) leader(r *rand.Rand) *node {
	start := r.IntN(len(a.s.nodes))
	for i := range a.s.nodes {
		if n := a.s.nodes[(start+i)%len(a.s.nodes)]; n.leads() {
			return n
		}
	}
	return nil
}

// transfer hands the leadership over: to the best, to a voter, or to anybody.
func (a *admin) transfer(r *rand.Rand) {
	l := a.leader(r)
	if l == nil {
		return
	}
	in := consensus.Input{Kind: consensus.InputTransfer}
	if nodes := a.s.check.seen[l.id].member.Nodes; r.IntN(3) > 0 {
		in.Peer = nodes[r.IntN(len(nodes))].ID
	}
	if r.IntN(4) > 0 {
		in.Timeout = logDuration(r, a.s.shape.timeout/50, 8*a.s.shape.timeout)
	}
	a.ask(l, ClassTransfer, in)
}

// allowReversion lets leaders fill up a node again that lost what it had acknowledged, as soon as they notice.
func (a *admin) allowReversion() {
	for i := range 10 {
		a.s.after(time.Duration(i)*300*time.Millisecond, a.allowReversions)
	}
}

// allowReversions lets the leader fill up again whoever it takes for lost, where nodes may lose what they held.
func (a *admin) allowReversions() {
	l := a.s.leader()
	if l == nil || !a.s.lenient || a.s.shape.reverts {
		return
	}
	for _, p := range l.core.Peers(nil) {
		if p.Lost && !a.s.node(p.Node).lost() {
			a.put(l, consensus.Input{Kind: consensus.InputAllowReversion, Peer: p.Node}, func(bool, error) {})
		}
	}
}

// change asks the leader for one change of the membership, again and again where that is refused for the moment.
func (a *admin) change(c Class, r *rand.Rand, attempts int) {
	if attempts == 0 || a.s.healing {
		return
	}
	again := func() {
		a.s.after(50*time.Millisecond+exponential(r, 300*time.Millisecond), func() { a.change(c, r, attempts-1) })
	}
	l := a.leader(r)
	if l == nil {
		again()
		return
	}
	have := a.s.check.seen[l.id].member
	want, ok := a.draw(c, r, l, have)
	if !ok {
		again()
		return
	}
	l.complete(&want)
	in := consensus.Input{Kind: consensus.InputChange, Membership: &want}
	stale := false
	if r.IntN(2) == 0 {
		at := l.status.MemberAt
		if c == ClassRefusable && r.IntN(4) == 0 {
			at.Index++
			stale = true
		}
		in.If = &at
	}
	a.s.tracef("administrator (%v) asks node %d for %v", c, l.id, describe(&want))
	a.wanted = append(a.wanted, &want)
	a.put(l, in, func(refused bool, reason error) {
		a.wanted = slices.DeleteFunc(a.wanted, func(m *codec.Membership) bool { return m == &want })
		a.s.tracef("node %d refuses the change: %v, %v", l.id, refused, reason)
		if a.settled(c, in.If, stale, refused, reason) {
			a.s.faults.count(c)
			a.took(c, r, &want)
		} else {
			again()
		}
	})
}

// settled judges how a change was taken. It returns false where it is to be asked for again.
func (a *admin) settled(c Class, expected *codec.LogID, stale, refused bool, reason error) bool {
	var behind *consensus.BehindError
	var changed *consensus.ChangedError
	switch {
	case !refused && c == ClassRefusable:
		a.s.violate("a change was made that had to be refused")
	case !refused:
		return true
	case errors.As(reason, &changed):
		if expected == nil || *expected != changed.Want || changed.Want == changed.Have {
			a.s.violate("a change that expects %v is refused: %v", expected, reason)
		}
		return stale
	case errors.As(reason, &behind):
		return c == ClassRefusable
	case errors.Is(reason, consensus.ErrMembership):
		if c != ClassRefusable {
			a.s.violate("a sound change (%v) is refused: %v", c, reason)
		}
		return true
	case errors.Is(reason, consensus.ErrNotLeader), errors.Is(reason, consensus.ErrTermNotCommitted),
		errors.Is(reason, consensus.ErrChangeInProgress), errors.Is(reason, consensus.ErrTransferInProgress), errors.Is(reason, errDown):
	default:
		a.s.violate("a change is refused for the reason %v", reason)
	}
	return false
}

// took does what an administrator does when a change was taken.
func (a *admin) took(c Class, r *rand.Rand, want *codec.Membership) {
	a.fresh = slices.DeleteFunc(a.fresh, func(n *node) bool { _, ok := want.Node(n.id); return ok && c != ClassRefusable })
	if c != ClassAddress || r.IntN(2) == 0 {
		return // operators move the node when the change is committed
	}
	for _, o := range want.Nodes {
		if n := a.s.node(o.ID); !n.gone && n.address != o.Address {
			a.s.net.moves(n, o.Address)
		}
	}
}
