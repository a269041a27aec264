package main

import "github.com/millrace/millrace/cluster_benchmark/peer"

func main() {
	peer.Main(peer.Peer{Targets: []peer.Target{{
		Name:          "etcd",
		Library:       peer.Library("go.etcd.io/raft/v3", "go.etcd.io/etcd/server/v3"),
		Configuration: "RawNode per goroutine, yield before draining, one MsgProp per drain, appends before own sync, one WAL Save per Ready, 512 appends of 1 MiB in flight, PreVote, CheckQuorum",
		WALBackend:    "etcd-wal",
		Open:          open,
	}}})
}
