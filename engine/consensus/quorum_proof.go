package consensus

import "github.com/millrace/millrace/codec"

// ProveQuorums is replaced by the real one in the next change.
func ProveQuorums(*codec.Membership) error { return nil }
