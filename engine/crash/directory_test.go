package crash

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/wal"
	"github.com/millrace/millrace/wal/vfs"
)

// solo is a cluster of one node.
type solo struct {
	*engine.Raft
	machine *machine
}

// openSolo opens a node that is a cluster of its own and waits until it leads.
func openSolo(ctx context.Context, cfg engine.Config) (*solo, error) {
	s := &solo{machine: newMachine()}
	n, err := engine.Open(cfg, s.machine)
	if err != nil {
		return nil, err
	}
	s.Raft = n
	members := codec.NewMembership(codec.SeveralLeadersPerTerm, codec.Node{ID: cfg.NodeID, Address: n.Addr()})
	if err = n.Initialize(ctx, members); err == nil || errors.Is(err, engine.ErrInitialized) {
		_, err = n.WaitLeader(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return s, nil
}

// put proposes serials first to last of client 1 and records what is acknowledged, up to the first error.
func (s *solo) put(ctx context.Context, b *book, first, last uint64) error {
	for serial := first; serial <= last; serial++ {
		id := identity{1, serial}
		result, err := s.Propose(ctx, appendPut(nil, id, rand.New(rand.NewPCG(2, serial))))
		if err != nil {
			return err
		}
		b.acked(id, result.LogID)
	}
	return nil
}

func soloConfig(dir string) engine.Config {
	cfg := nodeConfig(1, 1)
	cfg.Dir, cfg.Listen = dir, "127.0.0.1:0"
	return cfg
}

// filledDir returns a data directory with acknowledged puts, of a node that was closed.
func filledDir(t *testing.T, puts uint64) (string, *book) {
	t.Helper()
	dir, b := filepath.Join(t.TempDir(), "node"), newBook()
	s, err := openSolo(t.Context(), soloConfig(dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.put(t.Context(), b, 1, puts), s.Close()); err != nil {
		t.Fatal(err)
	}
	return dir, b
}

// stillGood opens a directory in the ordinary way and checks that nothing was lost and that it goes on.
func stillGood(t *testing.T, cfg engine.Config, b *book) {
	t.Helper()
	s, err := openSolo(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	last := identity{2, 1}
	result, err := s.Propose(t.Context(), appendPut(nil, last, rand.New(rand.NewPCG(3, 1))))
	if err == nil {
		b.acked(last, result.LogID)
		err = s.machine.holds(b.promises())
	}
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
}

// refuses checks that Open fails with an error of a kind that says all of what is expected.
func refuses(t *testing.T, cfg engine.Config, kind error, says ...string) {
	t.Helper()
	n, err := engine.Open(cfg, newMachine())
	if err == nil {
		n.Close()
		t.Fatal("opened")
	}
	if !errors.Is(err, kind) {
		t.Errorf("error %q, want one that wraps %q", err, kind)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("error %q does not say %q", err, s)
		}
	}
}

func TestDirectoryOfSomebodyElse(t *testing.T) {
	dir, b := filledDir(t, 10)
	cfg := soloConfig(dir)

	other := cfg
	other.NodeID = 7
	refuses(t, other, wal.ErrIdentity, "directory "+dir+" belongs to node 1, want node 7")

	other = cfg
	other.ClusterID = "orders"
	refuses(t, other, wal.ErrIdentity, "directory "+dir+` belongs to cluster "crash", want cluster "orders"`)

	name := filepath.Join(dir, "IDENTITY")
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	newer := append([]byte(nil), whole...)
	newer[4]++ // the version, behind the magic
	write(t, name, newer)
	refuses(t, cfg, codec.ErrVersion, name, "format version 2, this build writes 1")

	write(t, name, whole)
	stillGood(t, cfg, b)
}

func write(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestDirectoryThatIsNone(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	write(t, name, []byte("a file"))
	n, err := engine.Open(soloConfig(name), newMachine())
	if err == nil {
		n.Close()
		t.Fatal("opened")
	}
	if !strings.Contains(err.Error(), name+" is a file, want a directory") {
		t.Errorf("error %q does not name the file", err)
	}
}

// openChild opens a directory and, if it can, closes it at once.
func openChild(args []string) error {
	n, err := engine.Open(soloConfig(args[0]), newMachine())
	if err != nil {
		return err
	}
	return n.Close()
}

func TestDirectoryInUse(t *testing.T) {
	dir, b := filledDir(t, 10)
	cfg := soloConfig(dir)
	s, err := openSolo(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	refuses(t, cfg, vfs.ErrLocked, dir)

	out, err := exec.Command(os.Args[0], childFlag, "open", dir).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 {
		t.Errorf("another process that opens the directory ends with %v, want exit code 2; it says %s", err, out)
	}
	for _, says := range []string{dir, vfs.ErrLocked.Error()} {
		if !strings.Contains(string(out), says) {
			t.Errorf("the other process says %q, want %q in it", out, says)
		}
	}
	if err := errors.Join(s.put(t.Context(), b, 11, 20), s.Close()); err != nil {
		t.Errorf("the node that had the directory: %v", err)
	}
	if out, err := exec.Command(os.Args[0], childFlag, "open", dir).CombinedOutput(); err != nil {
		t.Errorf("another process, after the directory was closed: %v: %s", err, out)
	}
	stillGood(t, cfg, b)
}

// TestDirectoryDamaged changes one byte in the middle of the log, again and again at other places.
func TestDirectoryDamaged(t *testing.T) {
	dir, b := filledDir(t, 200)
	cfg := soloConfig(dir)
	name := filepath.Join(dir, "wal", fmt.Sprintf("%020d", 1))
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for part := 1; part < 20; part++ {
		damaged := append([]byte(nil), whole...)
		damaged[len(whole)*part/20] ^= 0x10
		write(t, name, damaged)
		refuses(t, cfg, codec.ErrCorrupt, name, "at offset ")
	}
	if kept, err := filepath.Glob(filepath.Join(dir, "wal", "*.broken")); err != nil || len(kept) > 0 {
		t.Errorf("refusing to open left %v behind (%v)", kept, err)
	}
	write(t, name, whole)
	stillGood(t, cfg, b)
}
