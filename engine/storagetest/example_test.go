package storagetest_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"testing"

	"github.com/millrace/millrace/engine/storagetest"
	"github.com/millrace/millrace/pipeline"
)

// sum is a state machine: it adds up what it is given, a byte each, and answers with the sum so far. A program says
// engine.StateMachine, engine.Entry and so on; they are the same types.
type sum uint64

func (s *sum) Apply(entries []pipeline.Entry, results []pipeline.Result) error {
	for i, e := range entries {
		*s += sum(e.Data[0])
		results[i].Data = fmt.Append(nil, *s)
	}
	return nil
}

func (s *sum) Snapshot() (pipeline.SnapshotSource, error) { return captured(*s), nil }

func (s *sum) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err == nil && len(b) != 8 {
		err = fmt.Errorf("a state of %d bytes, want 8", len(b))
	}
	if err != nil {
		return err
	}
	*s = sum(binary.LittleEndian.Uint64(b))
	return nil
}

type captured uint64

func (c captured) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(binary.LittleEndian.AppendUint64(nil, uint64(c)))
	return int64(n), err
}

func (c captured) Close() error { return nil }

// TestSum is all that a test of a state machine's own needs.
func TestSum(t *testing.T) {
	storagetest.StateMachine(t, storagetest.MachineConfig{
		New: func(testing.TB) storagetest.MachinePlace {
			return storagetest.MachinePlace{Open: func() (pipeline.StateMachine, error) { return new(sum), nil }}
		},
		Command: func(i int) []byte { return []byte{byte(i%9 + 1)} },
		State:   func(m pipeline.StateMachine) (string, error) { return fmt.Sprint(*m.(*sum)), nil },
	})
}

func Example() {
	fmt.Println("go test -run TestSum")
	// Output: go test -run TestSum
}
