//go:build race

package pipeline

// raceEnabled: under the race detector sync.Pool drops values at random.
const raceEnabled = true
