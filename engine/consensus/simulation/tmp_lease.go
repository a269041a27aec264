package simulation

import "github.com/millrace/millrace/engine/consensus"

func (n *node) leaseUntil() consensus.Instant { return 0 }
