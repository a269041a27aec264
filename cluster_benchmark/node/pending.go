package node

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
)

// pending is a frame of puts that is not answered yet.
type pending struct {
	conn   *connection
	number uint64
	slots  []slot
	// missing counts unanswered puts. Whoever brings it to 0 answers the frame.
	missing atomic.Int32
	room    []byte // for the answer
}

// slot is one put. It is written before pending.missing is counted down.
type slot struct {
	id     codec.LogID
	err    error
	answer func(engine.Result, error)
}

var pendings = sync.Pool{New: func() any { return new(pending) }}

// newPending returns one for so many puts, with functions that take their answers: those are used again, so that a put costs
// no allocation here.
func newPending(c *connection, number uint64, puts int) *pending {
	p := pendings.Get().(*pending)
	if cap(p.slots) < puts {
		p.slots = make([]slot, puts+puts/4)
		for i := range p.slots {
			s := &p.slots[i]
			s.answer = func(r engine.Result, err error) {
				s.id, s.err = r.LogID, err
				p.count()
			}
		}
	}
	p.slots = p.slots[:puts]
	p.conn, p.number = c, number
	p.missing.Store(int32(puts))
	return p
}

// count takes note of an answer, and answers the frame with the last.
func (p *pending) count() {
	if p.missing.Add(-1) > 0 {
		return
	}
	c := p.conn
	p.room = p.appendAnswer(p.room[:0])
	c.send(kindAnswer, p.number, p.room)
	p.conn = nil
	pendings.Put(p)
	c.pending.Done()
}

// appendAnswer says what became of all: of those of which only some were applied, that it is unknown.
func (p *pending) appendAnswer(dst []byte) []byte {
	var refused, unknown error
	failed := 0
	for i := range p.slots {
		err := p.slots[i].err
		if err == nil {
			continue
		}
		failed++
		p.slots[i].err = nil
		var u *engine.UnknownError
		if errors.As(err, &u) {
			unknown = err
		} else {
			refused = err
		}
	}
	switch {
	case failed == 0:
		return appendDone(dst, p.slots)
	case unknown != nil:
		return appendFailed(dst, fateUnknown, unknown)
	case failed < len(p.slots):
		return appendFailed(dst, fateUnknown, refused)
	}
	return appendFailed(dst, fateRefused, refused)
}

// encodeStages returns histograms as text.
func encodeStages(stages map[string]*hdrhistogram.Histogram) (map[string]string, error) {
	all := map[string]string{}
	for name, h := range stages {
		text, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
		if err != nil {
			return nil, err
		}
		all[name] = string(text)
	}
	return all, nil
}

// decodeStages adds such histograms to those of other nodes.
func decodeStages(all map[string]*hdrhistogram.Histogram, stages map[string]string) error {
	for name, text := range stages {
		h, err := hdrhistogram.Decode([]byte(text))
		if err != nil {
			return err
		}
		if all[name] == nil {
			all[name] = h
		} else {
			all[name].Merge(h)
		}
	}
	return nil
}
