//go:build !linux

package moving

// allocate returns memory of Go's heap, where this test knows no other.
func allocate(size int64) ([]byte, func() error, error) {
	return make([]byte, size), func() error { return nil }, nil
}
