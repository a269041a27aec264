package moving

import "syscall"

// allocate returns memory outside of Go's heap, and what frees it.
func allocate(size int64) ([]byte, func() error, error) {
	b, err := syscall.Mmap(-1, 0, int(size), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err == nil {
		_ = syscall.Madvise(b, syscall.MADV_HUGEPAGE) // where there are none, small ones do
	}
	return b, func() error { return syscall.Munmap(b) }, err
}
