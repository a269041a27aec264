// Command kv is a replicated key-value store: as many processes as the cluster has nodes, each with its own data directory,
// its own listener for the other nodes, and an HTTP API for clients.
//
//	kv put, get, cas, del, status, add, remove          (client.go)
//	      | HTTP, any node
//	      v
//	server: PUT, GET, DELETE /kv?key=KEY, ...           (server.go)
//	      | Submit, EnsureLinearizable       ^ get
//	      v                                  |
//	engine.Raft -- Apply, Snapshot --> store, a map     (store.go)
//	      | TCP
//	      v
//	the other nodes
//
// store.go is the state machine and the first thing to read: what a command does to the map, and how the map becomes a
// snapshot and comes back from one. server.go turns requests into proposals and reads, and errors into statuses. main.go
// has the commands and their flags. README.md shows a cluster by hand, from three terminals.
package main
