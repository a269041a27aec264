package target

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/millrace/millrace/engine"
)

// Staged is a [Target] that tells where the time of its puts goes.
type Staged interface {
	Target
	// TakeStages returns how long puts took in each stage since the last call, in nanoseconds by the stage's name. A stage
	// that nothing was told of is left out, and there are none where that was switched off.
	TakeStages() map[string]*hdrhistogram.Histogram
}

// stageMax bounds what a histogram can hold; a longer time is recorded as this.
const stageMax = time.Hour

// Stages holds the histograms of an engine's stages, for all nodes of a cluster: the one that leads fills them.
type Stages struct {
	// mu guards the histograms. No owner would do: the engine tells from several goroutines, some thousand times a second,
	// and none may wait for another for longer than it takes to record a value.
	mu         sync.Mutex
	histograms [engine.StageEnd]*hdrhistogram.Histogram // nil where nothing was told
}

// Observe records a time. It is what [engine.Config].Stages takes.
func (s *Stages) Observe(st engine.StageTime) {
	value := min(max(int64(st.Duration), 0), int64(stageMax))
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &s.histograms[st.Stage]
	if *h == nil {
		*h = hdrhistogram.New(1, int64(stageMax), 3)
	}
	if err := (*h).RecordValue(value); err != nil {
		panic("BUG: a time within the bound does not fit its histogram: " + err.Error())
	}
}

// Take returns what was recorded since the last call, by the stage's name.
func (s *Stages) Take() map[string]*hdrhistogram.Histogram {
	s.mu.Lock()
	taken := s.histograms
	s.histograms = [engine.StageEnd]*hdrhistogram.Histogram{}
	s.mu.Unlock()
	all := map[string]*hdrhistogram.Histogram{}
	for stage, h := range taken {
		if h != nil {
			all[engine.Stage(stage).String()] = h
		}
	}
	return all
}
