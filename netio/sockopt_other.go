//go:build !linux

package netio

import (
	"net"
	"time"
)

// setUserTimeout does nothing: only Linux has TCP_USER_TIMEOUT. Elsewhere bytes to a dead peer stay unacknowledged
// until the system's own retransmission limit, with the lane's bound holding meanwhile.
func setUserTimeout(*net.TCPConn, time.Duration) error { return nil }
