//go:build race

package load

// raceEnabled: the race detector of Go 1.26 fails itself where a thousand timers of a synctest bubble end at once.
const raceEnabled = true
