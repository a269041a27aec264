package consensus

import (
	"fmt"
	"testing"

	"github.com/millrace/millrace/codec"
)

func BenchmarkReached(b *testing.B) {
	for _, n := range []int{3, 5, 9} {
		b.Run(fmt.Sprintf("majority-%d", n), func(b *testing.B) {
			m := testMembership(several, n)
			e := newElectorate(1, m, codec.LogID{})
			values, scratch := make([]codec.Index, n), make([]codec.Index, n)
			for i := 0; b.Loop(); i++ {
				values[i%n] += 7
				reached(&e, values, scratch)
			}
		})
	}
}

func BenchmarkElected(b *testing.B) {
	for _, n := range []int{3, 5, 9} {
		b.Run(fmt.Sprintf("majority-%d", n), func(b *testing.B) {
			m := testMembership(several, n)
			e := newElectorate(1, m, codec.LogID{})
			granted := make([]bool, n)
			for i := 0; b.Loop(); i++ {
				granted[i%n] = !granted[i%n]
				e.elected(granted)
			}
		})
	}
}
