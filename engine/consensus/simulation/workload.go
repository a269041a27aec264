package simulation

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/pipeline/session"
)

// fate is what is known of an entry that a client proposed.
type fate uint8

const (
	waiting fate = iota
	unknown      // its leader lost office, or died: it may be applied, once, or never
	refused      // it did not happen
	acked        // it happened and was applied
)

// op is one entry of a client.
type op struct {
	fate  fate
	size  int         // bytes of data
	hash  uint64      // of its bytes
	index codec.Index // where it was applied, 0 for nowhere yet
	floor codec.Index // the greatest index that was acknowledged to anybody before it was proposed
	again uint64      // number of the entry that it repeats, plus 1; 0 for none
	// tries is how often it may be proposed again where nobody knows what became of it: under another number, or, in a
	// session, as what it is.
	tries   int
	session *client    // whose session it belongs to; nil for none
	in      session.ID // that session
	serial  uint64     // in it
	doubt   bool       // in a session: an earlier attempt may have happened
}

// attempt is what waits at a node for an answer: an entry, or the opening of a session.
type attempt struct {
	op     uint64
	opener *client
}

// workload is the clients, and the oracle that knows what became of each entry. No two entries are equal, so what is
// applied names its client's.
//
// Owner: the run.
type workload struct {
	s       *run
	rng     *rand.Rand
	ops     []op // by number
	clients []*client
	acked   int
	ackedTo codec.Index // the greatest index that was acknowledged
	retried int
	quiet   int64       // no client proposes until then
	shown   codec.Index // the greatest index that a reader was shown
	// reads and leaseReads count those that were answered, the latter by the leader's lease.
	reads, leaseReads int
	// sessions counts those that were opened, repeats the commands proposed again in them, expired those that a session ended
	// under.
	sessions, repeats, expired int
}

func (w *workload) init(s *run) { w.s, w.rng = s, stream(s.opts.Seed, streamWorkload) }

// begin sets the clients going. Some propose again what nobody knows the fate of, some of these in sessions.
func (w *workload) begin() {
	for i := range w.s.shape.clients {
		c := &client{w: w, tries: 3 * (i % 2), once: i%3 == 2}
		w.clients = append(w.clients, c)
		w.later(c)
	}
}

func (w *workload) later(c *client) {
	w.s.after(exponential(w.rng, w.s.shape.gap), func() {
		switch {
		case w.s.healing:
			return
		case w.s.shape.quietAtEnd && w.s.events > w.s.shape.events*4/5:
			return
		case w.s.now < w.quiet:
		case w.rng.IntN(200) == 0:
			w.quiet = w.s.now + int64(w.rng.Int64N(int64(3*time.Second)))
		case w.rng.IntN(4) == 0:
			w.read(w.reader(), w.s.shape.leaseReads && w.rng.IntN(2) == 0, func(bool) {})
		case c.once:
			c.next()
		default:
			n := w.target()
			for range 1 + w.rng.IntN(w.s.shape.batch) {
				w.submit(n, w.add(op{tries: c.tries}))
			}
		}
		w.later(c)
	})
}

// flood proposes much at a node within a short while: a leader that was cut off takes it, and the next one cuts it from its log.
func (w *workload) flood(n *node, r *rand.Rand) {
	at := time.Duration(0)
	for range 1 + r.IntN(8) {
		at += exponential(r, w.s.shape.timeout/8)
		w.s.after(at, func() {
			for range 1 + r.IntN(2*w.s.shape.batch) {
				if n.leads() && !w.s.healing {
					w.submit(n, w.add(op{tries: 1}))
				}
			}
		})
	}
}

// target returns the node that a client takes for the leader: mostly one that does.
func (w *workload) target() *node {
	if w.rng.IntN(8) > 0 {
		start := w.rng.IntN(len(w.s.nodes))
		for i := range w.s.nodes {
			if n := w.s.nodes[(start+i)%len(w.s.nodes)]; n.up && n.leads() {
				return n
			}
		}
	}
	return w.s.nodes[w.rng.IntN(len(w.s.nodes))]
}

// reader returns the node that a client reads from: any, or one that takes itself for the leader.
func (w *workload) reader() *node {
	if w.rng.IntN(2) == 0 {
		return w.target()
	}
	return w.s.nodes[w.rng.IntN(len(w.s.nodes))]
}

// data returns the bytes of an entry, which begin with its number.
func (w *workload) data(number uint64) []byte {
	data := make([]byte, w.ops[number].size)
	binary.LittleEndian.PutUint64(data, number)
	for i := 8; i < len(data); i++ {
		data[i] = byte('a' + i%23)
	}
	return data
}

// add makes a new entry and returns its number.
func (w *workload) add(o op) uint64 {
	number := uint64(len(w.ops))
	o.size, o.floor = 8+w.rng.IntN(w.s.shape.data), w.ackedTo
	w.ops = append(w.ops, o)
	w.ops[number].hash = hashBytes(w.data(number))
	return number
}

// submit proposes an entry at a node.
func (w *workload) submit(n *node, number uint64) {
	w.s.note(30, uint64(n.id), number)
	o := &w.ops[number]
	p := pipeline.Proposal{Data: w.data(number)}
	if c := o.session; c != nil {
		p.Kind = codec.EntrySession
		p.Data = session.AppendEntry(nil, &session.Entry{
			Op: session.OpCommand, Session: o.in, Serial: o.serial, Answered: c.answered, Data: p.Data,
		})
	}
	w.put(n, attempt{op: number}, &p, func(r pipeline.Result, err error) { w.answered(n, number, r, err) })
}

// put hands a proposal to a node's intake; done gets the answer, once.
func (w *workload) put(n *node, a attempt, p *pipeline.Proposal, done func(pipeline.Result, error)) {
	if !n.up || len(n.outstanding) > 64 {
		done(pipeline.Result{}, errRefused)
		return
	}
	n.outstanding = append(n.outstanding, a)
	err := n.intake.SubmitAsync(p, func(r pipeline.Result, err error) {
		i := slices.Index(n.outstanding, a)
		if i < 0 {
			w.s.violate("node %d answers entry %d twice", n.id, a.op)
			return
		}
		n.outstanding = slices.Delete(n.outstanding, i, i+1)
		done(r, err)
	})
	if err != nil {
		n.outstanding = n.outstanding[:len(n.outstanding)-1]
		done(pipeline.Result{}, errRefused)
		return
	}
	n.wake()
}

// answered takes the answer to an entry.
func (w *workload) answered(n *node, number uint64, r pipeline.Result, err error) {
	o := &w.ops[number]
	if o.session != nil {
		o.session.answeredTo(n, number, r, err)
		return
	}
	var lost *pipeline.UnknownError
	switch {
	case err == nil:
		w.s.check.answered(n, r.LogID)
		w.happened(n, number, r)
	case errors.As(err, &lost):
		w.doubtful(number)
	case errors.Is(err, errRefused):
		o.fate = refused
	default:
		w.s.violate("node %d answers entry %d with %v", n.id, number, err)
	}
}

// happened notes that an entry's client was told that it happened, and where.
func (w *workload) happened(n *node, number uint64, r pipeline.Result) {
	o := &w.ops[number]
	if o.fate != waiting {
		w.s.violate("entry %d is answered twice", number)
	}
	o.fate = acked
	w.acked++
	if o.index != r.LogID.Index || len(r.Data) != 8 || codec.Index(binary.LittleEndian.Uint64(r.Data)) != o.index {
		w.s.violate("node %d answers entry %d with %v and %x, it was applied at %d", n.id, number, r.LogID, r.Data, o.index)
	}
	w.ackedTo = max(w.ackedTo, o.index)
	w.readBehind(n)
}

// readBehind reads at nodes that take themselves for leaders although another one acknowledges entries: what they know may be
// old.
func (w *workload) readBehind(leader *node) {
	for _, o := range w.s.nodes {
		if o != leader && o.up && o.leads() && !w.s.healing {
			w.read(o, w.s.shape.leaseReads, func(bool) {})
		}
	}
}

// doubtful tells a client that nobody knows what becomes of its entry. It may propose it again, as another one: that both then
// happen is for sessions to prevent.
func (w *workload) doubtful(number uint64) {
	o := &w.ops[number]
	o.fate = unknown
	if o.tries == 0 || w.s.healing {
		return
	}
	next := op{tries: o.tries - 1, again: number + 1}
	w.s.after(exponential(w.rng, 300*time.Millisecond), func() {
		if !w.s.healing {
			w.retried++
			w.submit(w.target(), w.add(next))
		}
	})
}

// lost settles what waited at a node that died.
func (w *workload) lost(n *node) {
	waited := n.outstanding
	n.outstanding, n.proposed, n.batches = nil, nil, nil
	for _, a := range waited {
		err := &pipeline.UnknownError{Cause: errDown}
		if a.opener != nil {
			a.opener.opened(pipeline.Result{}, err)
		} else {
			w.answered(n, a.op, pipeline.Result{}, err)
		}
	}
}

// applied checks an entry that a state machine gets: somebody proposed exactly that, nobody was told that it did not
// happen, and it happens at one index only.
func (w *workload) applied(n *node, e *pipeline.Entry) {
	number := uint64(len(w.ops))
	if len(e.Data) >= 8 {
		number = binary.LittleEndian.Uint64(e.Data)
	}
	if number >= uint64(len(w.ops)) || w.ops[number].hash != hashBytes(e.Data) {
		w.s.violate("node %d applies at %v what nobody proposed: %d bytes, entry %d", n.id, e.ID, len(e.Data), number)
		return
	}
	o := &w.ops[number]
	switch {
	case o.fate == refused:
		w.s.violate("node %d applies entry %d at %v, which was refused", n.id, number, e.ID)
	case o.index != 0 && o.index != e.ID.Index:
		w.s.violate("node %d applies entry %d at %v, it was applied at %d before", n.id, number, e.ID, o.index)
	case e.ID.Index <= o.floor:
		w.s.violate("node %d applies entry %d at %v, index %d was acknowledged before it was proposed", n.id, number, e.ID, o.floor)
	}
	o.index = e.ID.Index
}

// twice returns how many entries happened and were proposed again, and happened again.
func (w *workload) twice() (n int) {
	for i := range w.ops {
		if o := &w.ops[i]; o.again > 0 && o.index > 0 && w.ops[o.again-1].index > 0 {
			n++
		}
	}
	return n
}

// pending reports whether any entry waits for an answer.
func (w *workload) pending() bool {
	return slices.ContainsFunc(w.s.nodes, func(n *node) bool { return len(n.outstanding) > 0 })
}
