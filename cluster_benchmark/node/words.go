package node

import (
	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/codec"
)

// What a client can ask.
const (
	askAbout    = "about"    // -> About
	askFound    = "found"    // Members -> nothing; of a node that was started without
	askClaim    = "claim"    // Run -> nothing; the node then serves this run alone, as long as the connection lasts
	askBegin    = "begin"    // Run, Clients, Payload -> nothing; of the leader
	askStanding = "standing" // -> Standing
	askCounters = "counters" // -> Counters
	askState    = "state"    // Run -> the state machine, see [safety.Machine.Append]
)

// question is the body of a kindAsk.
type question struct {
	Ask     string                  `json:"ask"`
	Run     string                  `json:"run,omitempty"` // drawn by the client, the same on all of its connections
	Clients int                     `json:"clients,omitempty"`
	Payload int                     `json:"payload_bytes,omitempty"`
	Members map[codec.NodeID]string `json:"members,omitempty"` // where each listens for its peers
}

// A kindReply's body begins with one of these; what was asked for, or why there is none, follows.
const (
	replyGiven   = 0
	replyRefused = 1
)

// About is what a node says of itself.
type About struct {
	Node       codec.NodeID   `json:"node"`
	Cluster    string         `json:"cluster"`
	Members    int            `json:"members"` // how many it was configured with, 0 for a node that waits to be told
	Peers      string         `json:"peers"`   // where it listens for its peers
	Store      string         `json:"store"`
	WALBackend string         `json:"wal_backend,omitempty"`
	Build      result.Build   `json:"build"`
	Machine    result.Machine `json:"machine"`
	GOMAXPROCS int            `json:"gomaxprocs"`
}

// standing is where a node stands.
type standing struct {
	Leader  codec.NodeID `json:"leader"` // 0 for none known
	Leads   bool         `json:"leads"`  // is it the leader, and established
	Last    codec.Index  `json:"last"`
	Applied codec.Index  `json:"applied"`
	Failure string       `json:"failure,omitempty"` // what stopped it
}

// counted is what a node has done, and used, since its start.
type counted struct {
	Frames   uint64            `json:"frames"`
	Entries  uint64            `json:"entries"`
	WALBytes uint64            `json:"wal_bytes"`
	WALSyncs uint64            `json:"wal_syncs"`
	CPU      float64           `json:"cpu_s"`
	Alloc    uint64            `json:"alloc_bytes"`
	PeakRSS  uint64            `json:"max_rss_bytes"`    // since the run began
	Stages   map[string]string `json:"stages,omitempty"` // histograms since they were asked for before, as in a result
}
