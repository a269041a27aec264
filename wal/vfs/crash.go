package vfs

import (
	"math/rand/v2"
	"slices"
)

// Crash says how a power cut treats what was not synced. The probabilities are per block and per name.
type Crash struct {
	Seed uint64
	// KeepBlock is the probability that a block written since the last sync is on the disk.
	KeepBlock float64
	// TornBlock is the probability that, of a block that is, only a first part is.
	TornBlock float64
	// KeepName is the probability that a name made, changed or removed since the last directory sync is so on the disk.
	KeepName float64
	// Garbage is the probability that a lost block beyond the old end of its file holds other data instead of zeros.
	Garbage float64
}

// LoseAll is a power cut that takes all that was not synced.
func LoseAll() Crash { return Crash{} }

// KeepAll is a power cut that takes nothing: what remains after the process alone was killed.
func KeepAll() Crash { return Crash{KeepBlock: 1, KeepName: 1} }

// RandomCrash draws the probabilities from a seed, the extremes included.
func RandomCrash(seed uint64) Crash {
	r := rand.New(rand.NewPCG(seed, 1))
	c := Crash{Seed: seed, TornBlock: r.Float64() * 0.5, Garbage: r.Float64() * 0.5}
	draw := func() float64 {
		switch p := r.Float64(); {
		case p < 0.25:
			return 0
		case p < 0.5:
			return 1
		}
		return r.Float64()
	}
	c.KeepBlock, c.KeepName = draw(), draw()
	return c
}

// Crash returns the file system as a power cut at this moment may leave it. m itself goes on unharmed. The same state
// and the same c give the same result.
func (m *Mem) Crash(c Crash) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.volatile {
		return NewVolatile()
	}
	s := crasher{c: c, r: rand.New(rand.NewPCG(c.Seed, 2)), done: map[*memNode]*memNode{}}
	return &Mem{root: s.node(m.root), locks: map[string]bool{}}
}

type crasher struct {
	c    Crash
	r    *rand.Rand
	done map[*memNode]*memNode // a file under two names, one of them lost in part, is still one file
}

func (s *crasher) node(n *memNode) *memNode {
	if out, ok := s.done[n]; ok {
		return out
	}
	var out *memNode
	if n.dir {
		out = newMemDir()
		s.done[n] = out
		s.names(n, out)
	} else {
		out = s.file(n)
		s.done[n] = out
	}
	return out
}

// names decides, name by name in sorted order, between what readers saw and what was synced.
func (s *crasher) names(n, out *memNode) {
	all := make([]string, 0, len(n.names)+len(n.diskName))
	for name := range n.names {
		all = append(all, name)
	}
	for name := range n.diskName {
		if _, ok := n.names[name]; !ok {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	for _, name := range all {
		child := n.diskName[name]
		if n.names[name] != child && s.r.Float64() < s.c.KeepName {
			child = n.names[name]
		}
		if child != nil {
			survivor := s.node(child)
			out.names[name], out.diskName[name] = survivor, survivor
		}
	}
}

// file decides block by block. The size is that of the disk, or the one readers saw, or lies at a block between.
func (s *crasher) file(n *memNode) *memNode {
	data := slices.Clone(n.disk)
	if len(n.data) != len(n.disk) && len(n.dirty) > 0 {
		data = resize(data, s.size(len(n.disk), len(n.data)))
	}
	blocks := make([]int64, 0, len(n.dirty))
	for b := range n.dirty {
		blocks = append(blocks, b)
	}
	slices.Sort(blocks)
	for _, b := range blocks {
		from, to := int(b*BlockBytes), int((b+1)*BlockBytes)
		s.block(n, data, from, min(to, len(data)))
	}
	return &memNode{data: data, disk: slices.Clone(data), dirty: map[int64]struct{}{}}
}

func (s *crasher) size(disk, seen int) int {
	if s.r.Float64() < s.c.KeepBlock {
		return seen
	}
	low, high := min(disk, seen), max(disk, seen)
	if between := (low/BlockBytes + 1) * BlockBytes; between < high && s.c.KeepBlock > 0 && s.r.IntN(2) == 0 {
		return between + s.r.IntN((high-between)/BlockBytes+1)*BlockBytes
	}
	return disk
}

func (s *crasher) block(n *memNode, data []byte, from, to int) {
	keep, torn, garbage := s.r.Float64() < s.c.KeepBlock, s.r.Float64() < s.c.TornBlock, s.r.Float64() < s.c.Garbage
	cut := s.r.IntN(BlockBytes)
	if from >= to {
		return
	}
	if keep {
		if torn {
			to = min(to, from+cut)
		}
		if end := min(to, len(n.data)); end > from {
			copy(data[from:end], n.data[from:end])
		}
		return
	}
	if garbage && from >= len(n.disk) {
		for i := from; i < to; i++ {
			data[i] = byte(s.r.Uint32())
		}
	}
}
