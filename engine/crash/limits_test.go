package crash

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/netio"
)

func TestAddressInUse(t *testing.T) {
	dir, b := filledDir(t, 10)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := soloConfig(dir)
	cfg.Listen = l.Addr().String()
	refuses(t, cfg, syscall.EADDRINUSE, fmt.Sprintf("node 1 can't listen on %q", cfg.Listen))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	stillGood(t, cfg, b) // the failed Open gave the directory back
}

func TestAddressThatIsNone(t *testing.T) {
	dir, b := filledDir(t, 1)
	for listen, kind := range map[string]error{
		"127.0.0.1": netio.ErrConfig, "127.0.0.1:port": netio.ErrConfig, "0.0.0.0:0": netio.ErrInsecure, ":0": netio.ErrInsecure,
	} {
		cfg := soloConfig(dir)
		cfg.Listen = listen
		refuses(t, cfg, kind, fmt.Sprintf("%q", listen))
	}
	stillGood(t, soloConfig(dir), b)
}

// A proposal above the limit is refused before it is proposed; one of exactly the limit is not.
func TestProposalAboveTheLimit(t *testing.T) {
	cfg := soloConfig(t.TempDir())
	cfg.ProposalBytesMax, cfg.IntakeBytesMax = 1000, 1500
	node, err := engine.Open(cfg, takeAll{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := node.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := leadAlone(t, node); err != nil {
		t.Fatal(err)
	}
	fits, large := make([]byte, 1000), make([]byte, 1001)
	async := node.ProposeAsync(large, func(engine.Result, error) { t.Error("called, though ProposeAsync returned an error") })
	_, one := node.Propose(t.Context(), large)
	_, several := node.ProposeBatch(t.Context(), [][]byte{fits, large})
	for _, err := range []error{async, one, several} {
		if !errors.Is(err, engine.ErrTooLarge) || !strings.Contains(fmt.Sprint(err), "proposal of 1001 bytes, limit 1000") {
			t.Errorf("error %v, want one that wraps %q and names both sizes", err, engine.ErrTooLarge)
		}
	}
	_, err = node.ProposeBatch(t.Context(), [][]byte{fits, fits})
	if !errors.Is(err, engine.ErrTooLarge) || !strings.Contains(fmt.Sprint(err), "batch of 2000 bytes, limit 1500") {
		t.Errorf("a batch above the limit: %v", err)
	}
	if m := node.Metrics(); m.Entries != 0 {
		t.Errorf("%d entries were proposed, want none", m.Entries)
	}
	if _, err := node.Propose(t.Context(), fits); err != nil {
		t.Errorf("a proposal of the limit: %v", err)
	}
}
