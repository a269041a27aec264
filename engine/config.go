package engine

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
	"github.com/millrace/millrace/wal"
	"github.com/millrace/millrace/wal/snapshot"
	"github.com/millrace/millrace/wal/vfs"
)

// Config says how a node runs. It is copied and validated by [Open]. A field left zero gets its default.
type Config struct {
	// NodeID is this node's id in its cluster, above 0. It must never be used by another data directory. Required.
	NodeID codec.NodeID
	// ClusterID names the cluster, 1 to 64 bytes. Nodes of different clusters refuse each other. Required.
	ClusterID string

	// Dir is the data directory, made if it does not exist. Required unless Log is given.
	Dir string
	// Listen is the host:port to listen on for peers; port 0 takes a free one (see [Raft.Addr]). Required unless
	// Transport is given. A host that is not loopback needs Insecure.
	Listen string
	// Insecure allows to listen beyond loopback although peers are not authenticated: anyone who reaches the port can
	// destroy the cluster. Default false.
	Insecure bool

	// Log replaces the write-ahead log in Dir. The node closes it. Package engine/storagetest says whether it may.
	Log Log
	// Transport replaces TCP. The node starts and closes it. It must be known to peers by the Log's incarnation, which it is
	// told at its start ([codec.Link]).
	Transport Transport

	// ElectionTimeoutMin and ElectionTimeoutMax bound the random time without a leader after which a node campaigns.
	// The minimum is also the time for which followers of a live leader refuse other candidates. Defaults 1 s and 2 s:
	// above the pauses of a loaded disk or a shared machine. A new cluster elects within the minimum.
	ElectionTimeoutMin, ElectionTimeoutMax time.Duration
	// HeartbeatInterval is how often a leader makes itself heard, at most half of ElectionTimeoutMin. Default 50 ms.
	HeartbeatInterval time.Duration
	// DiskStallTimeout is how long a leader's own disk may flush nothing of what waits for it before the leader steps
	// down, so that a node whose disk works can lead. Default 5 s: a healthy disk under load pauses for a second or two,
	// the others commit without it meanwhile, and what waits for the disk fills the memory. Below 0: for ever.
	DiskStallTimeout time.Duration
	// Switches are the parts of the protocol that are off at start, by default none. [Raft.SetSwitches] changes them.
	Switches Switches
	// NoLeaderRestore makes a leader that was closed cleanly ask for votes again when it is opened. Default false: it
	// resumes its leadership in the same term, since the sealed log proves that all it ever sent is on its disk.
	NoLeaderRestore bool
	// AllowLogReversion lets a leader fill up a peer again whose log lost entries that the peer had acknowledged, as
	// [Trigger.AllowReversion] does once for one peer. Those entries may have been committed by that peer's copies: it
	// is for data that may be lost. Default false: such a peer gets nothing more, and is shown as Lost in the metrics.
	AllowLogReversion bool
	// Witness says that this node is to be a witness: it keeps the headers of frames instead of entries, votes and
	// counts for commits, never leads, and has no state machine. It must agree with the node's entry in the membership
	// (see [WitnessError]). Default false.
	Witness bool

	// LeaseReads lets the leader answer [Raft.LeaseRead] by its lease, which rests on clocks: on their going equally
	// fast, but for ClockDriftMax, and on their going on while a machine sleeps. Linux's does not: no node may be
	// suspended, or moved to another machine, and go on. All members must have it or none, with ElectionTimeoutMin the
	// same everywhere, and then none forgets its leader ([Raft.ForgetLeader]). Default false.
	LeaseReads bool
	// ClockDriftMax is by how many parts per million the clocks of two members may differ in rate, 1 to 499,999, with
	// LeaseReads alone. The lease is shorter by so much. Default 1000: quartz is right to 100, and clocks are corrected
	// by up to 500.
	ClockDriftMax int

	// Compression of the frames that this node proposes. Default none.
	Compression codec.Compression
	// ProposalBytesMax bounds one proposal. Default 16 MiB. It and FrameBytesMax must be the same on all nodes: a node
	// takes no messages that are larger than its own limits allow.
	ProposalBytesMax int
	// IntakeBytesMax bounds the proposals that wait for the loop. Default 64 MiB.
	IntakeBytesMax int
	// FrameBytesMax is the size at which a batch of proposals becomes a frame although more is waiting. Default 1 MiB.
	FrameBytesMax int
	// UnappliedBytesMax bounds a leader's frames that are proposed and not yet applied, with 128 bytes for each entry's
	// caller, and its frames that its own disk has not flushed; beyond it no more proposals are taken. On every node it
	// bounds what is handed to the state machine and not yet applied. Default 256 MiB.
	UnappliedBytesMax int
	// ForwardBytesMax bounds the proposals that wait for another node's answer, with 128 bytes for each, and those of other
	// nodes that wait for this one's; beyond it more are refused with a [BusyError]. Default 16 MiB.
	ForwardBytesMax int
	// ForwardTimeout is how long a forwarded proposal waits for its answer at most, so that a lost one does not hold up a
	// caller whose context has no deadline. Default 10 s.
	ForwardTimeout time.Duration
	// SessionsMax is how many client sessions the group keeps; one more evicts the one that was not heard of for longest. It
	// goes into the log with each session that is opened on this node, so that all nodes go by the same. Default 4096.
	SessionsMax int
	// SessionBytesMax bounds the answers kept for one session until its client has acknowledged them; beyond it those of the
	// oldest serials are forgotten, and a retry of their commands is answered with an [AppliedError]. It goes into the log
	// like SessionsMax. Default 64 KiB.
	SessionBytesMax int
	// ReceiveBytesMax bounds the packets that wait for the loop; what exceeds it is dropped, and sent again by the
	// peer, but for forwarded proposals: they end after ForwardTimeout. Default 256 MiB.
	ReceiveBytesMax int
	// WindowBytesMax and WindowFramesMax bound what is sent to one peer and not acknowledged. Defaults 16 MiB and 1024.
	WindowBytesMax, WindowFramesMax int
	// RecentBytesMax bounds the frames kept in memory, so that a healthy follower costs no disk reads. Default 64 MiB.
	// Frames that are not yet flushed are always kept.
	RecentBytesMax int
	// SegmentBytes is the size of the log's segment files, 4 KiB to 1 GiB. Default 4 MiB; see wal.Config.
	SegmentBytes int

	// Snapshot says when a node takes a snapshot of a state machine that is a [Snapshotter]. Default: by bytes.
	Snapshot SnapshotPolicy
	// Keep says how much of the log stays behind the newest snapshot.
	Keep LogKeep
	// SnapshotDir is where snapshots are kept, made if it does not exist; each group has a directory in it. Default: the
	// directory "snapshot" in Dir. With a Log of the program's own the default is memory, which suits a log that forgets at
	// Close: one that lasts needs a SnapshotDir that lasts as long, or the node finds its log purged and no snapshot.
	SnapshotDir string
	// SnapshotFS is the file system that SnapshotDir is in. Default: the machine's.
	SnapshotFS vfs.FS
	// SnapshotsKept is how many snapshots are kept: an older one serves where the newest has rotted and the log still reaches
	// back to it. It does for sure where Keep leaves as much log as lies between two snapshots. Default 2.
	SnapshotsKept int
	// SnapshotCompression of the files, and so of what is sent of them: none or zstd. Default none.
	SnapshotCompression codec.Compression
	// SnapshotChunkBytes is how much of a state is under one checksum, and how much of a file is sent in one message, 1
	// KiB to 1 MiB. Default 256 KiB.
	SnapshotChunkBytes int
	// SnapshotWindowBytes bounds what is sent of a snapshot to one peer and not yet written there. Default 4 MiB: what 40 ms
	// take at 100 MB/s.
	SnapshotWindowBytes int
	// SnapshotBytesPerSecond bounds the bytes that a node sends of snapshots, to all peers together. Default 32 MiB: two
	// gigabytes take a minute, and the disks of both ends have time for their logs. Below 0: no limit.
	SnapshotBytesPerSecond int
	// SnapshotWriteBytesPerSecond bounds how fast a node writes a snapshot that it takes, so that its log on the same
	// disk does not wait for it. Default 128 MiB. Below 0: no limit.
	SnapshotWriteBytesPerSecond int
	// SnapshotsSentMax is to how many peers a node sends snapshots at once; others wait for their turn. Default 2.
	SnapshotsSentMax int

	// Stages, when not nil, gets how long some puts took in each stage of their way through this node while it led, forwarded
	// ones too: to be put into histograms. See [Stage] for where each begins and ends. It is called from several goroutines at
	// once, the loop among them, and must not block; callers that return late may call it after Close. Default: nothing is
	// measured.
	Stages func(StageTime)
	// StageInterval is about how much time lies between two puts that Stages is told of, on average over a second and within a
	// factor of two, where there are more puts than that; above 0, with Stages alone. Which ones is left to chance, and each
	// is as likely as any other, so that the times are those of all puts. Default 500 us: two thousand times a second a few
	// microseconds, less than 1 % of one core.
	StageInterval time.Duration

	// CloseTimeout bounds how long [Raft.Close] waits for accepted proposals to be answered. Default 2 s.
	CloseTimeout time.Duration
	// Seed starts the random election timeouts. Default: from the system's random source.
	Seed uint64
	// Logger gets what an operator should know; never a proposal's bytes. Each line says by the attribute "component" which
	// part of the node it comes from. Default: discard.
	Logger *slog.Logger
	// LogLevels are the least levels of single components, beside that of Logger's handler, which every line has to pass
	// too. A [slog.LevelVar] can be changed while the node runs. Default: none.
	LogLevels map[Component]slog.Leveler
}

func (c Config) withDefaults() (Config, error) {
	for _, d := range []struct {
		value     *time.Duration
		byDefault time.Duration
	}{
		{&c.ElectionTimeoutMin, time.Second},
		{&c.ElectionTimeoutMax, max(2*time.Second, 2*c.ElectionTimeoutMin)},
		{&c.HeartbeatInterval, 50 * time.Millisecond},
		{&c.DiskStallTimeout, 5 * time.Second},
		{&c.CloseTimeout, 2 * time.Second},
		{&c.ForwardTimeout, 10 * time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.byDefault
		}
	}
	for _, d := range []struct {
		value     *int
		byDefault int
	}{
		{&c.ProposalBytesMax, 16 << 20},
		{&c.IntakeBytesMax, 64 << 20},
		{&c.FrameBytesMax, 1 << 20},
		{&c.UnappliedBytesMax, 256 << 20},
		{&c.ForwardBytesMax, 16 << 20},
		{&c.SessionsMax, 4096},
		{&c.SessionBytesMax, 64 << 10},
		{&c.ReceiveBytesMax, 256 << 20},
		{&c.WindowBytesMax, 16 << 20},
		{&c.WindowFramesMax, 1024},
		{&c.RecentBytesMax, 64 << 20},
		{&c.SegmentBytes, wal.SegmentBytesDefault},
		{&c.SnapshotsKept, snapshot.KeepDefault},
		{&c.SnapshotChunkBytes, snapshot.ChunkBytesDefault},
		{&c.SnapshotWindowBytes, max(4<<20, c.SnapshotChunkBytes)},
		{&c.SnapshotBytesPerSecond, 32 << 20},
		{&c.SnapshotWriteBytesPerSecond, 128 << 20},
		{&c.SnapshotsSentMax, 2},
	} {
		if *d.value == 0 {
			*d.value = d.byDefault
		}
	}
	c.Snapshot, c.Keep = c.Snapshot.withDefaults(), c.Keep.withDefaults()
	if c.Stages != nil && c.StageInterval == 0 {
		c.StageInterval = stageIntervalDefault
	}
	if c.LeaseReads && c.ClockDriftMax == 0 {
		c.ClockDriftMax = 1000
	}
	if c.Seed == 0 {
		c.Seed = randomUint64()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.LogLevels = maps.Clone(c.LogLevels)
	return c, c.validate()
}

func randomUint64() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

// consensus returns what the Consensus Module needs of a complete configuration.
func (c *Config) consensus() consensus.Config {
	return consensus.Config{
		Node: c.NodeID, Group: theGroup,
		ElectionTimeoutMin: c.ElectionTimeoutMin, ElectionTimeoutMax: c.ElectionTimeoutMax,
		HeartbeatInterval: c.HeartbeatInterval, DiskStallTimeout: max(c.DiskStallTimeout, 0),
		WindowBytesMax: c.WindowBytesMax, WindowFramesMax: c.WindowFramesMax,
		RestoreLeader: !c.NoLeaderRestore, AllowLogReversion: c.AllowLogReversion, Switches: c.Switches,
		LeaseReads: c.LeaseReads, ClockDriftMax: c.ClockDriftMax, Seed: c.Seed, Life: randomUint64(),
	}
}

func (c *Config) validate() error {
	switch {
	case c.NodeID == 0:
		return &ConfigError{"NodeID", c.NodeID, "a number above 0"}
	case c.ClusterID == "" || len(c.ClusterID) > codec.ClusterIDBytesMax:
		return &ConfigError{"ClusterID", c.ClusterID, "a name of 1 to 64 bytes"}
	case c.Dir == "" && c.Log == nil:
		return &ConfigError{"Dir", `""`, "a directory, or a Log"}
	case c.Dir != "" && c.Log != nil:
		return &ConfigError{"Dir", c.Dir, `"" when a Log is given`}
	case c.Listen == "" && c.Transport == nil:
		return &ConfigError{"Listen", `""`, "host:port, or a Transport"}
	case c.Listen != "" && c.Transport != nil:
		return &ConfigError{"Listen", c.Listen, `"" when a Transport is given`}
	case c.Compression > codec.CompressionZstd:
		return &ConfigError{"Compression", c.Compression, "none, s2 or zstd"}
	case c.ElectionTimeoutMin < 0:
		return &ConfigError{"ElectionTimeoutMin", c.ElectionTimeoutMin, "a duration above 0"}
	case c.ElectionTimeoutMax <= c.ElectionTimeoutMin:
		return &ConfigError{"ElectionTimeoutMax", c.ElectionTimeoutMax, "more than ElectionTimeoutMin, " + c.ElectionTimeoutMin.String()}
	case c.HeartbeatInterval < 0 || c.HeartbeatInterval > c.ElectionTimeoutMin/2:
		return &ConfigError{"HeartbeatInterval", c.HeartbeatInterval, "above 0 and at most half of ElectionTimeoutMin, " + c.ElectionTimeoutMin.String()}
	case !c.LeaseReads && c.ClockDriftMax != 0:
		return &ConfigError{"ClockDriftMax", c.ClockDriftMax, "0 without LeaseReads"}
	case c.LeaseReads && (c.ClockDriftMax < 1 || c.ClockDriftMax > 499_999):
		return &ConfigError{"ClockDriftMax", c.ClockDriftMax, "1 to 499999 millionths"}
	case c.ForwardTimeout < 0:
		return &ConfigError{"ForwardTimeout", c.ForwardTimeout, "a duration above 0"}
	case c.CloseTimeout < 0:
		return &ConfigError{"CloseTimeout", c.CloseTimeout, "a duration above 0"}
	case c.SnapshotCompression != codec.CompressionNone && c.SnapshotCompression != codec.CompressionZstd:
		return &ConfigError{"SnapshotCompression", c.SnapshotCompression, "none or zstd"}
	case c.SnapshotFS != nil && c.SnapshotDir == "":
		return &ConfigError{"SnapshotDir", `""`, "a directory in SnapshotFS"}
	case c.Snapshot.Interval < 0:
		return &ConfigError{"Snapshot.Interval", c.Snapshot.Interval, "a duration above 0, or 0 for none"}
	case c.SnapshotWriteBytesPerSecond >= 0 && c.SnapshotWriteBytesPerSecond < 1<<10:
		return &ConfigError{"SnapshotWriteBytesPerSecond", c.SnapshotWriteBytesPerSecond, "1024 or more, or below 0 for no limit"}
	case c.SnapshotBytesPerSecond >= 0 && c.SnapshotBytesPerSecond < 1<<10:
		return &ConfigError{"SnapshotBytesPerSecond", c.SnapshotBytesPerSecond, "1024 or more, or below 0 for no limit"}
	}
	if err := cmp.Or(checkLogLevels(c.LogLevels), c.checkStages()); err != nil {
		return err
	}
	return c.validateSizes()
}

// validateSizes returns the first number that is out of its range.
func (c *Config) validateSizes() error {
	for _, f := range []struct {
		name     string
		value    int
		min, max int
	}{
		{"ProposalBytesMax", c.ProposalBytesMax, 1, codec.FrameBodyMax / 2},
		{"IntakeBytesMax", c.IntakeBytesMax, 1, 1 << 40},
		{"FrameBytesMax", c.FrameBytesMax, 1, codec.FrameBodyMax / 2},
		{"UnappliedBytesMax", c.UnappliedBytesMax, 1, 1 << 40},
		{"ForwardBytesMax", c.ForwardBytesMax, 1, 1 << 40},
		{"SessionsMax", c.SessionsMax, 1, 1 << 20},
		{"SessionBytesMax", c.SessionBytesMax, 1, 1 << 30},
		{"ReceiveBytesMax", c.ReceiveBytesMax, 64 << 10, 1 << 40},
		{"WindowBytesMax", c.WindowBytesMax, 1, 1 << 30},
		{"WindowFramesMax", c.WindowFramesMax, 1, 1 << 20},
		{"RecentBytesMax", c.RecentBytesMax, 1, 1 << 40},
		{"SegmentBytes", c.SegmentBytes, wal.SegmentBytesMin, wal.SegmentBytesMax},
		{"SnapshotsKept", c.SnapshotsKept, 1, snapshot.KeepMax},
		{"SnapshotChunkBytes", c.SnapshotChunkBytes, snapshot.ChunkBytesMin, codec.SnapshotChunkBytesMax},
		{"SnapshotWindowBytes", c.SnapshotWindowBytes, c.SnapshotChunkBytes, 1 << 30},
		{"SnapshotsSentMax", c.SnapshotsSentMax, 1, codec.MembershipNodesMax},
	} {
		if f.value < f.min || f.value > f.max {
			return &ConfigError{f.name, f.value, fmt.Sprintf("%d to %d", f.min, f.max)}
		}
	}
	return nil
}
