package session

import (
	"fmt"
	"testing"

	"github.com/millrace/millrace/codec"
)

// BenchmarkCommand begins and finishes one command, of many sessions in turn; each acknowledges the answer before.
func BenchmarkCommand(b *testing.B) {
	for _, sessions := range []int{1, 4096} {
		b.Run(fmt.Sprintf("sessions=%d", sessions), func(b *testing.B) {
			t := NewTable()
			at := codec.LogID{Leader: codec.LeaderID{Term: 1, Node: 1}}
			for range sessions {
				at.Index++
				t.Begin(at, &Entry{Op: OpRegister, Capacity: uint64(sessions), BytesMax: 1 << 10})
			}
			answer := make([]byte, 16)
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				at.Index++
				id, serial := ID(n%sessions+1), uint64(n/sessions+1)
				t.Begin(at, &Entry{Op: OpCommand, Session: id, Serial: serial, Answered: serial - 1})
				t.Finish(id, serial, answer)
			}
			if t.Len() != sessions {
				b.Fatalf("%d sessions, want %d", t.Len(), sessions)
			}
		})
	}
}
