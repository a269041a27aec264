package setting

// Peer is another library, measured by a program of its own. One program may measure several.
type Peer struct {
	Program string // its file's name
	Choice
}

// Peers lists the other libraries, in the order in which they are shown.
func Peers() []Peer {
	return []Peer{
		{"etcd", Choice{"etcd", "etcd's raft 3.6.0 with etcd's write-ahead log"}},
		{"etcd-new", Choice{"etcd-new", "the newest release of etcd's raft with the newest etcd's write-ahead log"}},
		{"hashicorp", Choice{"hashicorp", "hashicorp/raft, durable with raft-wal"}},
		{"dragonboat", Choice{"dragonboat-tan", "dragonboat v4 with its log engine tan"}},
		{"dragonboat", Choice{"dragonboat-pebble", "dragonboat v4 with its log in pebble"}},
		{"openraft", Choice{"openraft", "openraft, in Rust; the workload is that of its own benchmark"}},
	}
}

// PeerRule is the setting that chooses among the other libraries. It is none of a profile's.
func PeerRule() Rule {
	var all []Choice
	for _, p := range Peers() {
		all = append(all, p.Choice)
	}
	return choices("peer", "other libraries to measure, by default all", all, func(p *Plan) *[]string { return &p.Peers })
}
