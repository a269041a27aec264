package safety

import "github.com/millrace/millrace/codec"

// Book is what one client knows of its puts. A put whose fate is not yet reported counts as acknowledged, so that a
// book is complete only when every put was reported.
//
// Owner: the client's goroutine until it ended, then whoever calls [Check].
type Book struct {
	client     uint64
	identified bool
	issued     uint64
	sum        uint64  // of the acknowledged puts' mixes
	unknown    Serials // may have happened
	refused    Serials // certainly did not happen
}

// NewBook returns the book of the client with this number, counted from 0, for payloads of the given size in bytes.
func NewBook(client int, payload int) Book {
	return Book{client: uint64(client), identified: payload >= IdentityBytes}
}

// Issue gives the next put its serial and writes its identity into the payload, where there is room.
func (b *Book) Issue(payload []byte) uint64 {
	serial := b.issued
	b.issued++
	if b.identified {
		PutIdentity(payload, b.client, serial)
	}
	return serial
}

// Acknowledge notes that a put was answered with this log id.
func (b *Book) Acknowledge(serial uint64, id codec.LogID) {
	if b.identified {
		b.sum += mixPut(id, b.client, serial)
	} else {
		b.sum += mixLogID(id)
	}
}

// Unknown notes that nobody can say whether a put happened.
func (b *Book) Unknown(serial uint64) { b.unknown.Add(serial) }

// Refuse notes that a put certainly did not happen.
func (b *Book) Refuse(serial uint64) { b.refused.Add(serial) }

// Acknowledged returns the number of puts that were answered without an error.
func (b *Book) Acknowledged() uint64 { return b.issued - b.unknown.Len() - b.refused.Len() }
