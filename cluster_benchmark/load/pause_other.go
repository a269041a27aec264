//go:build !linux

package load

func newPauser() pauser { return sleeper{} }
