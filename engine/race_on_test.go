//go:build race

package engine

// raceEnabled: under the race detector sync.Pool drops values at random.
const raceEnabled = true
