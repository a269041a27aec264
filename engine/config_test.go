package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
	"github.com/millrace/millrace/netio"
	"github.com/millrace/millrace/wal/vfs"
)

// TestConfigRefusals puts each field out of its range, at each end that it has.
func TestConfigRefusals(t *testing.T) {
	type change = func(*Config)
	cases := []struct {
		field  string
		change change
		says   string
	}{
		{"NodeID", func(c *Config) { c.NodeID = 0 }, "NodeID is 0, want a number above 0"},
		{"ClusterID", func(c *Config) { c.ClusterID = "" }, "ClusterID is , want a name of 1 to 64 bytes"},
		{"ClusterID", func(c *Config) { c.ClusterID = strings.Repeat("x", 65) },
			"ClusterID is " + strings.Repeat("x", 65) + ", want a name of 1 to 64 bytes"},
		{"Dir", func(c *Config) { c.Dir = "" }, `Dir is "", want a directory, or a Log`},
		{"Dir", func(c *Config) { c.Log = MemoryLog() }, `Dir is data, want "" when a Log is given`},
		{"Listen", func(c *Config) { c.Listen = "" }, `Listen is "", want host:port, or a Transport`},
		{"Listen", func(c *Config) { c.Transport = netio.NewNetwork().Transport(1, "c", codec.Incarnation{1}) },
			`Listen is 127.0.0.1:0, want "" when a Transport is given`},
		{"Compression", func(c *Config) { c.Compression = 3 }, "Compression is Compression(3), want none, s2 or zstd"},
		{"ElectionTimeoutMin", func(c *Config) { c.ElectionTimeoutMin = -1 }, "ElectionTimeoutMin is -1ns, want a duration above 0"},
		{"ElectionTimeoutMax", func(c *Config) { c.ElectionTimeoutMax = time.Second },
			"ElectionTimeoutMax is 1s, want more than ElectionTimeoutMin, 1s"},
		{"ElectionTimeoutMax", func(c *Config) { c.ElectionTimeoutMax = -time.Second },
			"ElectionTimeoutMax is -1s, want more than ElectionTimeoutMin, 1s"},
		{"HeartbeatInterval", func(c *Config) { c.HeartbeatInterval = math.MaxInt64 },
			"HeartbeatInterval is 2562047h47m16.854775807s, want above 0 and at most half of ElectionTimeoutMin, 1s"},
		{"HeartbeatInterval", func(c *Config) { c.HeartbeatInterval = 501 * time.Millisecond },
			"HeartbeatInterval is 501ms, want above 0 and at most half of ElectionTimeoutMin, 1s"},
		{"LogLevels", func(c *Config) { c.LogLevels = map[Component]slog.Leveler{"disk": slog.LevelInfo} },
			"LogLevels is disk, want the name of a component: consensus, log, network, snapshots, state-machine or api"},
		{"LogLevels", func(c *Config) { c.LogLevels = map[Component]slog.Leveler{ComponentLog: nil} },
			"LogLevels is log with a nil level, want a level, or no entry"},
		{"HeartbeatInterval", func(c *Config) { c.HeartbeatInterval = -1 },
			"HeartbeatInterval is -1ns, want above 0 and at most half of ElectionTimeoutMin, 1s"},
		{"SnapshotDir", func(c *Config) { c.SnapshotFS = vfs.NewMem() }, `SnapshotDir is "", want a directory in SnapshotFS`},
		{"SnapshotCompression", func(c *Config) { c.SnapshotCompression = codec.CompressionS2 }, "SnapshotCompression is s2, want none or zstd"},
		{"SnapshotBytesPerSecond", func(c *Config) { c.SnapshotBytesPerSecond = 1023 },
			"SnapshotBytesPerSecond is 1023, want 1024 or more, or below 0 for no limit"},
		{"SnapshotWriteBytesPerSecond", func(c *Config) { c.SnapshotWriteBytesPerSecond = 1023 },
			"SnapshotWriteBytesPerSecond is 1023, want 1024 or more, or below 0 for no limit"},
		{"Snapshot.Interval", func(c *Config) { c.Snapshot.Interval = -1 }, "Snapshot.Interval is -1ns, want a duration above 0, or 0 for none"},
		{"ClockDriftMax", func(c *Config) { c.ClockDriftMax = 5 }, "ClockDriftMax is 5, want 0 without LeaseReads"},
		{"ClockDriftMax", func(c *Config) { c.LeaseReads, c.ClockDriftMax = true, 500_000 }, "ClockDriftMax is 500000, want 1 to 499999 millionths"},
		{"ForwardTimeout", func(c *Config) { c.ForwardTimeout = -time.Second }, "ForwardTimeout is -1s, want a duration above 0"},
		{"StageInterval", func(c *Config) { c.StageInterval = time.Second }, "StageInterval is 1s, want 0 without Stages"},
		{"StageInterval", func(c *Config) { c.Stages, c.StageInterval = func(StageTime) {}, -1 }, "StageInterval is -1ns, want a duration above 0"},
		{"CloseTimeout", func(c *Config) { c.CloseTimeout = -time.Second }, "CloseTimeout is -1s, want a duration above 0"},
	}
	for field, limits := range map[string][2]int{
		"ProposalBytesMax": {1, codec.FrameBodyMax / 2}, "FrameBytesMax": {1, codec.FrameBodyMax / 2},
		"WindowFramesMax": {1, 1 << 20}, "WindowBytesMax": {1, 1 << 30}, "IntakeBytesMax": {1, 1 << 40},
		"UnappliedBytesMax": {1, 1 << 40}, "ReceiveBytesMax": {64 << 10, 1 << 40}, "RecentBytesMax": {1, 1 << 40},
		"SegmentBytes": {4 << 10, 1 << 30}, "SnapshotsKept": {1, 1000}, "SnapshotChunkBytes": {1 << 10, 1 << 20},
		"SnapshotWindowBytes": {256 << 10, 1 << 30}, "SnapshotsSentMax": {1, codec.MembershipNodesMax},
		"ForwardBytesMax": {1, 1 << 40}, "SessionsMax": {1, 1 << 20}, "SessionBytesMax": {1, 1 << 30},
	} {
		for _, value := range []int{-1, limits[1] + 1} {
			cases = append(cases, struct {
				field  string
				change change
				says   string
			}{field, func(c *Config) { reflect.ValueOf(c).Elem().FieldByName(field).SetInt(int64(value)) },
				fmt.Sprintf("%s is %d, want %d to %d", field, value, limits[0], limits[1])})
		}
	}
	tested := map[string]bool{}
	for _, tt := range cases {
		cfg := Config{NodeID: 1, ClusterID: "c", Dir: "data", Listen: "127.0.0.1:0"}
		tt.change(&cfg)
		node, err := Open(cfg, newRegister())
		if err == nil {
			node.Close()
		}
		var refused *ConfigError
		if !errors.As(err, &refused) || refused.Field != tt.field || err.Error() != "config: "+tt.says {
			t.Errorf("%s: Open says %q, want %q", tt.field, fmt.Sprint(err), "config: "+tt.says)
		}
		field, _, _ := strings.Cut(tt.field, ".")
		tested[field] = true
	}
	// Every field has a range, but for those that take any value.
	anything := map[string]bool{"Insecure": true, "Log": true, "Transport": true, "Seed": true, "Logger": true,
		"DiskStallTimeout": true, "Switches": true, "NoLeaderRestore": true, "AllowLogReversion": true, "Witness": true,
		"Keep": true, "SnapshotFS": true, "LeaseReads": true, "Stages": true}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		if tested[f.Name] == anything[f.Name] {
			t.Errorf("field %s: tested %v, takes anything %v", f.Name, tested[f.Name], anything[f.Name])
		}
	}
}

func TestStateMachineIsRequiredUnlessWitness(t *testing.T) {
	cfg := Config{NodeID: 1, ClusterID: "c", Dir: t.TempDir(), Listen: "127.0.0.1:0"}
	_, err := Open(cfg, nil)
	if want := "config: StateMachine is nil, want a state machine, or Witness set"; err == nil || err.Error() != want {
		t.Errorf("Open says %v, want %q", err, want)
	}
	cfg.Witness = true
	_, err = Open(cfg, newRegister())
	if want := "config: StateMachine is *engine.register, want nil for a witness, which has no state"; err == nil || err.Error() != want {
		t.Errorf("Open says %v, want %q", err, want)
	}
}

func TestConsensusConfig(t *testing.T) {
	cfg, err := Config{NodeID: 7, ClusterID: "c", Dir: "data", Listen: "127.0.0.1:0", Seed: 3}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	want := consensus.Config{
		Node: 7, Group: theGroup, ElectionTimeoutMin: time.Second, ElectionTimeoutMax: 2 * time.Second, HeartbeatInterval: 50 * time.Millisecond,
		WindowBytesMax: 16 << 20, WindowFramesMax: 1024, DiskStallTimeout: 5 * time.Second, RestoreLeader: true, Seed: 3,
	}
	got := cfg.consensus()
	if again := cfg.consensus(); got.Life == again.Life {
		t.Errorf("two lives are both named %d", got.Life)
	}
	if got.Life = 0; got != want {
		t.Errorf("by default %+v, want %+v", got, want)
	}
	cfg.DiskStallTimeout, cfg.NoLeaderRestore, cfg.AllowLogReversion = -1, true, true
	cfg.Switches = Switches{NoElections: true, NoHeartbeats: true, NoPreVote: true}
	want.DiskStallTimeout, want.RestoreLeader, want.AllowLogReversion, want.Switches = 0, false, true, cfg.Switches
	cfg.LeaseReads, cfg.ClockDriftMax, want.LeaseReads, want.ClockDriftMax = true, 7, true, 7
	got = cfg.consensus()
	if got.Life = 0; got != want {
		t.Errorf("with everything changed %+v, want %+v", got, want)
	}
}

func TestDefaultsAreInRange(t *testing.T) {
	for _, timeout := range []time.Duration{0, 100 * time.Millisecond, 5 * time.Second} {
		cfg, err := Config{NodeID: 1, ClusterID: "c", Dir: "data", Listen: "127.0.0.1:0", ElectionTimeoutMin: timeout}.withDefaults()
		if err != nil {
			t.Errorf("ElectionTimeoutMin %v: %v", timeout, err)
		}
		if cfg.Seed == 0 || cfg.Logger == nil {
			t.Errorf("seed %d, logger %v", cfg.Seed, cfg.Logger)
		}
	}
}

func TestErrorTexts(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&NotLeaderError{Node: 2}, "node 2 is not the leader and knows none"},
		{&NotLeaderError{Node: 2, Leader: codec.Node{ID: 3, Address: "10.0.0.3:7000"}},
			`node 2 is not the leader; node 3 at "10.0.0.3:7000" is`},
		{&IncarnationError{Node: 4, Seen: codec.Incarnation{0: 0xab}, Got: codec.Incarnation{15: 0xcd}},
			"node 4 comes with incarnation 000000000000000000000000000000cd, seen before with ab000000000000000000000000000000: its data directory is another one"},
		{&StagedError{LogID: codec.LogID{Leader: codec.LeaderID{Term: 2, Node: 1}, Index: 9}, Learners: []codec.NodeID{4, 5}, Cause: context.Canceled},
			"nodes [4 5] are learners by the entry T2-N1-9 and no voters yet: context canceled"},
		{&TransferError{Target: 3, Leader: 2}, "leadership was not transferred to node 3: node 2 leads"},
		{&TransferError{Cause: context.DeadlineExceeded}, "leadership was not transferred to another node: no leader is known: context deadline exceeded"},
		{&WitnessError{Node: 3, Opened: true, LogID: codec.LogID{Index: 1}},
			"node 3 is an ordinary member by the membership of T0-N0-1, but was opened as a witness (Config.Witness is true)"},
	} {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("%T says %q, want %q", tt.err, got, tt.want)
		}
	}
}
