package netio

import (
	"testing"

	"go.uber.org/goleak"
)

// gnet's package keeps a pool of goroutines that is never used here; its two caretakers start when it is imported.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreTopFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"))
}
