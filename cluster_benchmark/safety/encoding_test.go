package safety

import (
	"bytes"
	"errors"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
)

// encoded returns a machine that has something in every field.
func encoded(t *testing.T) (*Machine, []byte) {
	t.Helper()
	m := NewMachine(3, 16)
	book := NewBook(2, 16)
	data := make([]byte, 16)
	for index := codec.Index(1); index <= 9; index++ {
		if book.Issue(data); index%4 == 0 {
			continue // a gap
		}
		entry := pipeline.Entry{ID: codec.LogID{Leader: codec.LeaderID{Term: 1, Node: 1}, Index: index}, Data: data}
		if err := m.Apply([]pipeline.Entry{entry}, make([]pipeline.Result, 1)); err != nil {
			t.Fatal(err)
		}
	}
	m.violate("entry 4 applied again")
	return m, m.Append(nil)
}

// TestMachineTravels: a machine that was encoded and read is taken by Check as the one it was.
func TestMachineTravels(t *testing.T) {
	m, data := encoded(t)
	read, err := ReadMachine(data)
	if err != nil {
		t.Fatal(err)
	}
	if got := read.Append(nil); !bytes.Equal(got, data) || read.Last() != 9 || read.violation != m.violation || !read.clients[2].Has(4) || read.clients[2].Has(3) {
		t.Errorf("read %+v, want %+v", read, m)
	}
	for _, payload := range []int{0, 16} { // without identities, and without any put
		empty := NewMachine(2, payload)
		if read, err := ReadMachine(empty.Append(nil)); err != nil || read.identified != empty.identified || len(read.clients) != len(empty.clients) {
			t.Errorf("payload %d: %+v, %v", payload, read, err)
		}
	}
}

// TestMachineFromBadBytes: bytes that are cut, altered in their lengths, or of another version are refused.
func TestMachineFromBadBytes(t *testing.T) {
	_, data := encoded(t)
	for n := range data {
		if _, err := ReadMachine(data[:n]); !errors.Is(err, codec.ErrCorrupt) {
			t.Fatalf("cut at %d of %d: %v, want corrupt", n, len(data), err)
		}
	}
	if _, err := ReadMachine(append(bytes.Clone(data), 0)); !errors.Is(err, codec.ErrCorrupt) {
		t.Errorf("a byte too many: %v", err)
	}
	other := bytes.Clone(data)
	other[0] = 2
	if _, err := ReadMachine(other); !errors.Is(err, codec.ErrVersion) {
		t.Errorf("another version: %v", err)
	}
	huge := append(data[:encodedFixed:encodedFixed], 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f)
	if _, err := ReadMachine(huge); !errors.Is(err, codec.ErrCorrupt) {
		t.Errorf("more clients than bytes: %v", err)
	}
	overflow := append(data[:encodedFixed:encodedFixed], 0, 1, 1)
	for range 2 {
		overflow = append(overflow, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01)
	}
	if _, err := ReadMachine(overflow); !errors.Is(err, codec.ErrCorrupt) {
		t.Errorf("serials that run over: %v", err)
	}
}

// TestCheckWithoutAReplica: a replica that could not be looked at is said, and the others are checked all the same.
func TestCheckWithoutAReplica(t *testing.T) {
	book := NewBook(0, 16)
	data := make([]byte, 16)
	id := codec.LogID{Leader: codec.LeaderID{Term: 1, Node: 1}, Index: 5}
	book.Acknowledge(book.Issue(data), id)
	whole, empty := NewMachine(1, 16), NewMachine(1, 16)
	if err := whole.Apply([]pipeline.Entry{{ID: id, Data: data}}, make([]pipeline.Result, 1)); err != nil {
		t.Fatal(err)
	}
	v := Check([]*Book{&book}, []*Machine{whole, nil, whole}, nil)
	if v.OK || len(v.Reasons) > 0 || len(v.Unproven) != 1 || v.Unproven[0] != "node 2 could not be looked at" || len(v.Applied) != 3 || v.Hashes[1] != "" {
		t.Errorf("%+v", v)
	}
	if v := Check([]*Book{&book}, []*Machine{nil, empty, nil}, nil); len(v.Reasons) == 0 {
		t.Errorf("the only replica has lost a put: %+v", v)
	}
	if v := Check([]*Book{&book}, []*Machine{nil, nil}, nil); v.OK || len(v.Unproven) != 2 {
		t.Errorf("nobody: %+v", v)
	}
}
