package safety

import (
	"fmt"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
)

// Machine is the benchmark's state machine: it keeps no payload, only what [Check] needs. Answers are empty.
//
// Owner: the node's answer goroutine until the node is closed, then whoever calls [Check]. Only Last may be called from
// elsewhere.
type Machine struct {
	identified bool
	clients    []Serials // applied puts of each client, when identified
	applied    uint64
	sum        uint64
	hash       uint64
	violation  string // the first one; what is applied after it still counts
	last       codec.Index
	published  atomic.Uint64 // last, for others
}

// NewMachine returns a state machine for puts of that many clients with payloads of the given size in bytes.
func NewMachine(clients, payload int) *Machine {
	m := &Machine{identified: payload >= IdentityBytes}
	if m.identified {
		m.clients = make([]Serials, clients)
	}
	return m
}

// Apply takes note of a batch. It never fails: what is wrong is a matter of [Check], at the end.
func (m *Machine) Apply(entries []pipeline.Entry, _ []pipeline.Result) error {
	for i := range entries {
		m.apply(&entries[i])
	}
	m.published.Store(uint64(m.last))
	return nil
}

func (m *Machine) apply(e *pipeline.Entry) {
	if e.ID.Index <= m.last {
		m.violate(fmt.Sprintf("entry %v applied after index %d", e.ID, m.last))
	}
	m.last = max(m.last, e.ID.Index)
	m.applied++
	if !m.identified {
		m.sum += mixLogID(e.ID)
	} else {
		m.identify(e)
	}
	content := flat(e.ID)
	if len(e.Data) > 0 {
		content ^= xxhash.Sum64(e.Data)
	}
	m.hash = chain(m.hash, content)
}

func (m *Machine) identify(e *pipeline.Entry) {
	if len(e.Data) < IdentityBytes {
		m.violate(fmt.Sprintf("entry %v has %d bytes, want at least the %d of its identity", e.ID, len(e.Data), IdentityBytes))
		return
	}
	client, serial := identity(e.Data)
	m.sum += mixPut(e.ID, client, serial)
	if client >= uint64(len(m.clients)) {
		m.violate(fmt.Sprintf("entry %v is of client %d, want below %d", e.ID, client, len(m.clients)))
		return
	}
	if !m.clients[client].Add(serial) {
		m.violate(fmt.Sprintf("put %d of client %d applied again, at %v", serial, client, e.ID))
	}
}

func (m *Machine) violate(what string) {
	if m.violation == "" {
		m.violation = what
	}
}

// Last returns the index of the last applied entry. Any goroutine may call it.
func (m *Machine) Last() codec.Index { return codec.Index(m.published.Load()) }
