package consensus

// ring is a queue over a buffer that grows by doubling and is then reused, so that a steady flow allocates nothing.
type ring[T any] struct {
	buf  []T // Invariant: len is 0 or a power of two
	head int
	n    int
}

func (r *ring[T]) at(i int) *T { return &r.buf[(r.head+i)&(len(r.buf)-1)] }

func (r *ring[T]) front() *T { return r.at(0) }

func (r *ring[T]) back() *T { return r.at(r.n - 1) }

func (r *ring[T]) push(v T) {
	if r.n == len(r.buf) {
		grown := make([]T, max(8, 2*len(r.buf)))
		for i := range r.n {
			grown[i] = *r.at(i)
		}
		r.buf, r.head = grown, 0
	}
	r.n++
	*r.back() = v
}

func (r *ring[T]) popFront() {
	r.head = (r.head + 1) & (len(r.buf) - 1)
	r.n--
}

func (r *ring[T]) popBack() { r.n-- }

func (r *ring[T]) clear() { r.head, r.n = 0, 0 }
