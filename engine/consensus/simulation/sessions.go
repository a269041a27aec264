package simulation

import (
	"errors"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/pipeline/session"
)

// client proposes entries. One that wants each of them to happen once does so in a session.
//
// Owner: the run.
type client struct {
	w       *workload
	tries   int
	once    bool
	opening bool
	id      session.ID // of its session, 0 while it has none
	serials uint64     // given out in it
	// answered is up to which serial it wants no answers any more; open are the numbers of its commands above, by serial.
	answered uint64
	open     []sessionCommand
}

type sessionCommand struct {
	number uint64
	done   bool
}

// sessionTries is how often a command is proposed again.
const sessionTries = 6

// next proposes a few commands in the client's session, or opens one.
func (c *client) next() {
	switch {
	case c.opening:
	case c.id == 0:
		c.openSession()
	default:
		n := c.w.target()
		for range 1 + c.w.rng.IntN(c.w.s.shape.batch) {
			if len(c.open) < 8 {
				c.serials++
				number := c.w.add(op{tries: sessionTries, session: c, in: c.id, serial: c.serials})
				c.open = append(c.open, sessionCommand{number: number})
				c.w.submit(n, number)
			}
		}
	}
}

func (c *client) openSession() {
	w := c.w
	c.opening = true
	p := pipeline.Proposal{Kind: codec.EntrySession, Data: session.AppendEntry(nil, &session.Entry{
		Op: session.OpRegister, Capacity: w.s.shape.sessionsMax, BytesMax: w.s.shape.sessionBytes,
	})}
	n := w.target()
	w.s.note(34, uint64(n.id))
	w.put(n, attempt{opener: c}, &p, c.opened)
}

// opened takes the answer to the opening of a session. One that may have been opened is left to be evicted.
func (c *client) opened(r pipeline.Result, err error) {
	c.opening = false
	if err == nil {
		c.id, c.serials, c.answered, c.open = session.ID(r.LogID.Index), 0, 0, nil
		c.w.sessions++
	}
}

// answeredTo takes the answer to a command.
func (c *client) answeredTo(n *node, number uint64, r pipeline.Result, err error) {
	w, o := c.w, &c.w.ops[number]
	var lost *pipeline.UnknownError
	var expired *session.ExpiredError
	var applied *session.AppliedError
	switch {
	case err == nil:
		w.happened(n, number, r)
		c.done(number)
	case errors.As(err, &applied):
		if applied.LogID.Index != o.index {
			w.s.violate("node %d says that command %d was applied as %v, it was at %d", n.id, number, applied.LogID, o.index)
		}
		o.fate = acked
		w.acked++
		w.ackedTo = max(w.ackedTo, o.index)
		c.done(number)
	case errors.As(err, &expired):
		w.expired++
		o.fate = unknown
		if !o.doubt {
			o.fate = refused
		}
		if uint64(c.id) == uint64(expired.Session) {
			c.id = 0
		}
	case errors.As(err, &lost):
		o.doubt = true
		c.again(number)
	case errors.Is(err, errRefused):
		c.again(number)
	default:
		w.s.violate("node %d answers command %d with %v", n.id, number, err)
	}
}

// again proposes a command again, under its serial, some time later; or gives it up.
func (c *client) again(number uint64) {
	w, o := c.w, &c.w.ops[number]
	if o.tries == 0 || w.s.healing || c.id != o.in {
		o.fate = refused
		if o.doubt {
			o.fate = unknown
		}
		c.done(number)
		return
	}
	o.tries--
	w.s.after(exponential(w.rng, 300*time.Millisecond), func() {
		if w.s.healing || c.id != w.ops[number].in {
			w.ops[number].tries = 0
			c.again(number)
			return
		}
		w.repeats++
		w.submit(w.target(), number)
	})
}

// done notes that a client wants no answer to a command any more.
func (c *client) done(number uint64) {
	for i := range c.open {
		if c.open[i].number == number {
			c.open[i].done = true
		}
	}
	for len(c.open) > 0 && c.open[0].done {
		c.open = c.open[1:]
		c.answered++
	}
}
