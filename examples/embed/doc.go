// Command embed runs a cluster of three nodes in one process, each with its own data directory and its own listener on
// loopback, and puts one line through it.
//
//	main: Open x 3 -> Initialize -> WaitLeader -> Propose ----+
//	                                                          v
//	               node 1 <---- TCP, loopback ----> node 2, node 3
//	               dir/1                            dir/2   dir/3
//
// It is the program that the README of the repository shows, kept to forty lines; a test runs it and compares the two.
// Everything is in main.go: the state machine first, then the nodes. The data goes to a temporary directory, which is
// removed at the end.
package main
