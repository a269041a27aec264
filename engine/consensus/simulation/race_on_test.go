//go:build race

package simulation

// raceEnabled says that the race detector slows everything down. One goroutine has no races: fewer seeds will do.
const raceEnabled = true
