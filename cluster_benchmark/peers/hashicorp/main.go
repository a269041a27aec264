package main

import "github.com/millrace/millrace/cluster_benchmark/peer"

func main() {
	peer.Main(peer.Peer{Targets: []peer.Target{{
		Name:          "hashicorp",
		Library:       peer.Library("github.com/hashicorp/raft", "github.com/hashicorp/raft-wal"),
		Configuration: "BatchApplyCh, MaxAppendEntries 1024, BatchingFSM, NetworkTransport with 2 calls in flight or InmemTransport, raft-wal behind a LogCache of 16384 or InmemStore",
		WALBackend:    "raft-wal",
		Open:          open,
	}}})
}
