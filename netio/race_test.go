//go:build race

package netio

// raceEnabled: sync.Pool forgets at random under the race detector, so that allocations can't be counted.
const raceEnabled = true
