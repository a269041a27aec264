package crash

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ext4Shutdown is EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32), and noLogFlush its mode that ends the file system where it
// stands: nothing more reaches the disk, not even the journal's open transaction.
const (
	ext4Shutdown = 0x8004587d
	noLogFlush   = 2
)

// The canary is a file that is written right before the power goes and never synced. Its name may survive, because a
// node's own sync writes the journal for all; its bytes, which have no place on the disk yet, must not.
// Each cut has a canary of its own: ext4 writes out a file that replaces another one.
var canary = bytes.Repeat([]byte("never synced "), 10_000)

// image is an ext4 file system in a file, mounted, whose power can be cut.
//
// Owner: the test's goroutine.
type image struct {
	file, dir string
	mounted   bool
	cuts      int
}

// tools returns why this machine can't cut the power of a file system, or "".
func tools() string {
	if os.Geteuid() != 0 {
		return "needs root, to mount"
	}
	for _, tool := range []string{"mkfs.ext4", "mount", "umount", "losetup"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "needs the program " + tool
		}
	}
	if out, err := exec.Command("losetup", "-f").CombinedOutput(); err != nil {
		return fmt.Sprintf("needs a free loop device (%s)", strings.TrimSpace(string(out)))
	}
	return ""
}

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// newImage makes and mounts a file system that is unmounted when the test ends, however it ends.
func newImage(t *testing.T, folder, name string, bytes int64) *image {
	t.Helper()
	m := &image{file: filepath.Join(folder, name+".img"), dir: filepath.Join(folder, name)}
	f, err := os.Create(m.file)
	if err == nil {
		err = errors.Join(f.Truncate(bytes), f.Close(), os.Mkdir(m.dir, 0o700))
	}
	if err == nil {
		err = command("mkfs.ext4", "-q", "-F", m.file)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.unmount(); err != nil {
			t.Error(err)
		}
	})
	if err := m.mount(); err != nil {
		t.Skip("no loop-mounted ext4 on this machine:", err)
	}
	return m
}

// mount mounts the file system through a loop device that goes with the mount. The journal commits by itself once in
// five minutes, so that what nobody syncs is not on the disk by luck.
func (m *image) mount() error {
	err := command("mount", "-t", "ext4", "-o", "loop,commit=300", m.file, m.dir)
	m.mounted = err == nil
	return err
}

func (m *image) unmount() error {
	if !m.mounted {
		return nil
	}
	err := command("umount", m.dir)
	if err != nil { // something still has a file open: it loses the mount when that ends
		err = errors.Join(err, command("umount", "-l", m.dir))
	}
	m.mounted = false
	return err
}

func (m *image) canary() string { return filepath.Join(m.dir, fmt.Sprint("canary", m.cuts)) }

// cut cuts the power. What it can't imitate: a disk without power confirms nothing, while an fsync that this meets on its way
// now and then returns success, and what it synced is gone. (A loop of write and fsync with nothing else on the file system
// lost its last fsync in 45 of 400 cuts: jbd2 takes a transaction that is neither running nor being committed, since the journal
// was aborted, for one that is on the disk.) So nothing that is confirmed while a cut is under way can be held against anybody.
func (m *image) cut() error {
	m.cuts++
	if err := os.WriteFile(m.canary(), canary, 0o600); err != nil {
		return err
	}
	d, err := os.Open(m.dir)
	if err != nil {
		return err
	}
	err = unix.IoctlSetPointerInt(int(d.Fd()), ext4Shutdown, noLogFlush)
	if err != nil {
		err = fmt.Errorf("EXT4_IOC_SHUTDOWN of %s: %w", m.dir, err)
	}
	return errors.Join(err, d.Close())
}

// powerOn mounts the file system again, as it was on the disk, and makes sure that the cut took what was not synced.
func (m *image) powerOn() error {
	if err := m.unmount(); err != nil {
		return err
	}
	if err := m.mount(); err != nil {
		return err
	}
	b, err := os.ReadFile(m.canary())
	if err == nil && bytes.Equal(b, canary) {
		return fmt.Errorf("%s still has all %d bytes of a file that was not synced: the power cut took nothing", m.dir, len(b))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// TestExt4PowerCut cuts the power of all nodes at once, each on an ext4 of its own, while another process runs them
// under load.
func TestExt4PowerCut(t *testing.T) {
	if why := tools(); why != "" {
		t.Skip("power cut on ext4:", why)
	}
	t.Parallel()
	seed := newSeed(t)
	r := rand.New(rand.NewPCG(seed, 0))
	addresses := freeAddresses(t, r)
	folder := t.TempDir()
	var images []*image
	var dirs []string
	for i := range 3 {
		m := newImage(t, folder, fmt.Sprint("disk", i+1), 64<<20)
		images, dirs = append(images, m), append(dirs, filepath.Join(m.dir, "node"))
	}
	b := newBook()
	want := uint64(rounds(6, 2))
	inFlight := 0
	for number := range want {
		p := start(t, newLife(dirs, addresses, number, r), b)
		p.works(t)
		p.lives(t, time.Duration(r.Int64N(int64(300*time.Millisecond))))
		b.distrust() // what is acknowledged from now on may rest on a sync that the cut itself made succeed; see image.cut
		for _, i := range r.Perm(3) {
			if err := images[i].cut(); err != nil {
				p.kill()
				t.Fatal(err)
			}
		}
		_, open := b.counts()
		inFlight += open
		p.kill()
		b.forgetOpen()
		for _, m := range images {
			if err := m.powerOn(); err != nil {
				t.Fatal(err)
			}
		}
		logs, err := readDirs(dirs)
		if err == nil {
			err = b.promises().check(logs)
		}
		if err != nil {
			t.Fatalf("seed %d, power cut %d: %v\n%s", seed, number+1, err, tail(p.stderr.Bytes()))
		}
	}
	lastLife(t, newLife(dirs, addresses, want, r), b)
	acked, _ := b.counts()
	t.Logf("%d power cuts of three disks with %d puts in flight; %d puts acknowledged", want, inFlight, acked)
	if inFlight == 0 {
		t.Error("no cut fell into the load")
	}
}

// TestExt4NoticesAMissingSync proves the test above: with the file sync of the group commit taken out of the code, it
// fails, because an acknowledged put is lost.
func TestExt4NoticesAMissingSync(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program once more, which takes too long for -short")
	}
	if why := tools(); why != "" {
		t.Skip("power cut on ext4:", why)
	}
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("building without a sync: needs the program go")
	}
	const file, sync = "../../wal/tidwall.go", "return a.log.Sync()"
	code, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(code), sync); n != 1 {
		t.Fatalf("%s has %q %d times, want once: this test must be told where the sync is", file, sync, n)
	}
	dir := t.TempDir()
	changed, overlay, binary := filepath.Join(dir, "tidwall.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "crash.test")
	absolute, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{absolute: changed}})
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(
		os.WriteFile(changed, []byte(strings.Replace(string(code), sync, "return nil", 1)), 0o600),
		os.WriteFile(overlay, replace, 0o600),
		command(goTool, "test", "-c", "-overlay", overlay, "-o", binary, "."))
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(binary, "-test.run=^TestExt4PowerCut$", "-test.v", "-test.timeout=60s", "-crash.rounds=3").CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !strings.Contains(string(out), errLost.Error()) {
		t.Fatalf("without the sync of the group commit the test says (%v), want a failure with %q:\n%s", err, errLost, out)
	}
}
