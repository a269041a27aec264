package target

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/engine"
)

// TestStagesOfAReading: each reading has what was told since the one before, of what was told at all.
func TestStagesOfAReading(t *testing.T) {
	var s Stages
	if got := s.Take(); len(got) != 0 {
		t.Errorf("nothing was told, and there is %v", got)
	}
	s.Observe(engine.StageTime{Stage: engine.StageIntake, Duration: time.Millisecond})
	s.Observe(engine.StageTime{Stage: engine.StageNetwork, Duration: 2 * time.Hour, Peer: 2})
	s.Observe(engine.StageTime{Stage: engine.StageNetwork, Duration: -1, Peer: 3})
	first := s.Take()
	s.Observe(engine.StageTime{Stage: engine.StageAnswer})
	second := s.Take()
	if len(first) != 2 || first["intake"].TotalCount() != 1 || first["network"].TotalCount() != 2 || first["network"].Max() < int64(stageMax) {
		t.Errorf("the first reading has %v", first)
	}
	if len(second) != 1 || second["answer"].TotalCount() != 1 {
		t.Errorf("the second reading has %v", second)
	}
}

// TestStageNamesAreTheEngines: what results know by name is what the engine tells of.
func TestStageNamesAreTheEngines(t *testing.T) {
	sum, parts := result.StageNames()
	known := append(sum, parts...)
	var told []string
	for s := engine.StageIntake; s < engine.StageEnd; s++ {
		told = append(told, s.String())
	}
	slices.Sort(known)
	slices.Sort(told)
	if !slices.Equal(known, told) {
		t.Errorf("results know %v, the engine tells of %v", known, told)
	}
}

// TestStagesOfClusters: with a log on disk there are all of them, in memory those that it has, and none when switched off.
func TestStagesOfClusters(t *testing.T) {
	for store, want := range map[string][]string{
		setting.StoreMemory: {"answer", "apply", "intake", "network", "quorum"},
		setting.StoreWAL:    {"answer", "apply", "intake", "network", "quorum", "wal_sync", "wal_write"},
	} {
		for _, off := range []bool{false, true} {
			s := setting.Scenario{Nodes: 3, Clients: 8, Payload: 32, Store: store, Net: setting.NetTCP, NoStages: off}
			target, _ := open(t, setting.Millrace, s)
			put(t, target, 8, 20, 32)
			if err := target.Settle(t.Context()); err != nil {
				t.Error(err)
			}
			if err := target.Close(); err != nil {
				t.Error(err)
			}
			if off {
				want = nil
			}
			if got := slices.Sorted(maps.Keys(target.(Staged).TakeStages())); !slices.Equal(got, want) {
				t.Errorf("store %s, off %v: stages %v, want %v", store, off, got, want)
			}
		}
	}
}
