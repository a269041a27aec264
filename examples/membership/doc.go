// Command membership takes a cluster through the changes of its life, in one process, each node with its own data
// directory and its own listener on loopback.
//
//	one voter --> three voters --> two and a witness --> another leader --> all closed and opened again
//	   AddVoter x 2       Remove, AddVoter     TransferLeadership        the leader resumes
//
// Everything is in main.go: the state machine first, then the steps, each a few lines that print who votes and who
// leads. The data goes to a temporary directory, which is removed at the end.
package main
