package simulation

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine/consensus"
	"github.com/millrace/millrace/wal"
)

// The streams of random numbers of one seed. Each class of faults has two of its own (see [faults]), so that a class
// that is left out changes nothing that the others draw.
const (
	streamShape uint64 = 1 + iota
	streamNetwork
	streamDisk
	streamWorkload
	streamNodes
	streamAdmin
	streamClasses      = 1000
	streamClassesDrawn = 2000
)

func stream(seed, id uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, id)) }

// logUniform returns a number between low and high whose logarithm is uniform.
func logUniform(r *rand.Rand, low, high float64) float64 {
	return low * math.Pow(high/low, r.Float64())
}

func logDuration(r *rand.Rand, low, high time.Duration) time.Duration {
	return time.Duration(logUniform(r, float64(low), float64(high)))
}

// exponential returns a duration of the given mean, at most twenty times it.
func exponential(r *rand.Rand, mean time.Duration) time.Duration {
	return min(time.Duration(r.ExpFloat64()*float64(mean)), 20*mean)
}

// shape is what one seed says of its cluster. The limits are tiny, so that a short run meets them all.
type shape struct {
	mode          codec.VoteMode
	membership    codec.Membership // the first one
	initializeAll bool             // give every voter the membership, not the first alone
	timeout       time.Duration
	heartbeat     time.Duration
	diskStall     time.Duration
	preVotes      int  // of four nodes, those that ask before they campaign
	restores      bool // leaders take up their office again after a clean close
	reverts       bool // leaders fill up again who denies what it held, without being told to
	windowBytes   int
	windowFrames  int
	segmentBytes  int
	reclaim       int // percent of a file that must not count before what does is written again
	recentBytes   int
	compression   codec.Compression
	delay         time.Duration // mean of a message without faults
	flush         time.Duration // mean of a group commit
	clients       int
	gap           time.Duration // mean between two proposals of a client
	batch         int           // most entries of one proposal
	data          int           // most bytes of one entry
	quietAtEnd    bool          // clients stop before the faults do
	events        int           // length of the run with faults

	applyLag                  time.Duration // mean of a turn of the applier; 0: at once
	leaseReads                bool
	sessionsMax, sessionBytes uint64      // sessions in the table, and bytes of answers kept for each
	pieceBytes                int         // most of a snapshot in one message
	snapshotEvery             codec.Index // entries between two snapshots
}

func drawShape(seed uint64) shape {
	r := stream(seed, streamShape)
	mode := codec.VoteMode(1 + r.IntN(2))
	voters := []int{1, 2, 2, 3, 3, 3, 3, 3, 4, 5, 5, 5, 6, 7}[r.IntN(14)]
	learners := []int{0, 0, 1, 1, 2}[r.IntN(5)]
	timeout := logDuration(r, 80*time.Millisecond, 400*time.Millisecond)
	stall := time.Duration(0)
	if r.IntN(2) == 0 {
		stall = logDuration(r, timeout/2, 6*timeout)
	}
	h := shape{
		mode:          mode,
		membership:    firstMembership(r, mode, voters, learners),
		initializeAll: r.IntN(2) == 0,
		timeout:       timeout,
		heartbeat:     timeout / time.Duration(2+r.IntN(6)),
		diskStall:     stall,
		preVotes:      []int{0, 2, 3, 4, 4}[r.IntN(5)],
		restores:      r.IntN(2) == 0,
		reverts:       r.IntN(2) == 0,
		windowBytes:   int(logUniform(r, 100, 64<<10)),
		windowFrames:  int(logUniform(r, 1, 65)),
		segmentBytes:  int(logUniform(r, 4<<10, 64<<10)),
		recentBytes:   int(logUniform(r, 64, 64<<10)),
		compression:   []codec.Compression{codec.CompressionNone, codec.CompressionNone, codec.CompressionNone, codec.CompressionS2, codec.CompressionZstd}[r.IntN(5)],
		delay:         logDuration(r, 50*time.Microsecond, 4*time.Millisecond),
		flush:         logDuration(r, 100*time.Microsecond, 10*time.Millisecond),
		clients:       1 + r.IntN(8),
		gap:           logDuration(r, 20*time.Millisecond, 400*time.Millisecond),
		batch:         1 + r.IntN(6),
		data:          int(logUniform(r, 16, 400)),
		quietAtEnd:    r.IntN(4) == 0,
		events:        int(logUniform(r, 3500, 19000)),
		applyLag:      []time.Duration{0, 0, logDuration(r, 100*time.Microsecond, 20*time.Millisecond)}[r.IntN(3)],
		leaseReads:    r.IntN(2) == 0,
		sessionsMax:   []uint64{1, 1, 2, 4}[r.IntN(4)],
		sessionBytes:  []uint64{0, 8, 64, 1 << 20}[r.IntN(4)],
		pieceBytes:    int(logUniform(r, 200, 8000)),
		snapshotEvery: codec.Index(logUniform(r, 5, 250)),
		reclaim:       []int{1, 1, 1, wal.ReclaimPercentMin, wal.ReclaimPercentDefault, wal.ReclaimPercentMax}[r.IntN(6)],
	}
	if r.IntN(3) > 0 {
		h.segmentBytes = int(logUniform(r, 100, wal.SegmentBytesMin)) // files come and go all the time
	}
	return h
}

// drawKeep says how many entries one node keeps in its log behind its newest snapshot.
func drawKeep(r *rand.Rand) codec.Index { return []codec.Index{0, 0, 0, 1, 3, 10, 80}[r.IntN(7)] }

// drawSwitches says how one node runs.
func (h *shape) drawSwitches(r *rand.Rand) (restoreLeader bool, s consensus.Switches) {
	return h.restores && r.IntN(4) > 0, consensus.Switches{NoPreVote: r.IntN(4) >= h.preVotes}
}

// frameBytes is the size at which a batch of proposals becomes a frame.
func (h *shape) frameBytes() int { return h.batch * (h.data + 64) }
