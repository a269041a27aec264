package wal

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/wal/vfs"
)

// The other process: "try DIR" opens the log and exits 0, or 3 if it is locked, telling the error; "write DIR N SIZE"
// opens it (with a further argument: with segments that never fill), writes N frames, each after the one before is durable, and
// tells "acked N" or the error that poisoned it; "reclaim DIR N SIZE" does the same and purges all but the newest, beside a
// second group that holds on to what it has.
func helperMain(args []string) int {
	cfg := testConfig(args[1])
	if len(args) > 4 {
		cfg.SegmentBytes = SegmentBytesDefault
	}
	l, err := Open(cfg)
	if err != nil {
		fmt.Println("open:", err)
		if errors.Is(err, vfs.ErrLocked) {
			return 3
		}
		return 1
	}
	if args[0] != "try" {
		if err := helperWrite(l, args[2], args[3], args[0] == "reclaim"); err != nil {
			fmt.Println("error:", err)
		}
	}
	if err := l.Close(); err != nil {
		fmt.Println("close:", err)
		return 1
	}
	return 0
}

func helperWrite(l *Log, count, size string, reclaim bool) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	bytes, err := strconv.Atoi(size)
	if err != nil {
		return err
	}
	a := newAwaiter()
	g, state, err := l.Group(1, a.flushed)
	if err != nil {
		return err
	}
	p := promises{id: 1, term: 1, states: []groupState{{}}, at: map[uint64]int{}, group: g}
	p.states[0].base, p.states[0].entries = state.Base, make([]codec.Entry, len(state.Frames)) // one entry a frame
	if reclaim {
		held, state, err := l.Group(2, func(uint64, error) {})
		if err != nil {
			return err
		}
		q := promises{id: 2, term: 1, states: []groupState{{}}, at: map[uint64]int{}, group: held}
		for range 3 - len(state.Frames) {
			q.append(2, 300)
		}
	}
	for i := range n {
		p.append(1, bytes)
		if reclaim && i%8 == 7 {
			p.purge(4)
		}
		if err := a.wait(p.seq); err != nil {
			return err
		}
		fmt.Println("acked", p.last())
		p.states = p.states[len(p.states)-1:]
		p.at[p.seq] = 0
	}
	return nil
}

func helper(args ...string) *exec.Cmd {
	return exec.Command(os.Args[0], append([]string{helperFlag}, args...)...)
}

// acked returns how many entries a helper was told are durable.
func acked(out []byte) (n int) {
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "acked "); ok {
			n, _ = strconv.Atoi(rest)
		}
	}
	return n
}

// W15, T12: a directory has one owner, within a process and between processes.
func TestSecondProcessIsRefused(t *testing.T) {
	p := places(t)[0]
	l := p.mustOpen(t)
	if _, err := p.open(); !errors.Is(err, vfs.ErrLocked) || !strings.Contains(err.Error(), p.cfg.Dir) {
		t.Fatalf("opened twice in one process: %v", err)
	}
	before := p.image(t)
	out, err := helper("try", p.cfg.Dir).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(string(out), p.cfg.Dir) {
		t.Fatalf("second process: %v, %s", err, out)
	}
	if err := before.equal(p.image(t)); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	if out, err := helper("try", p.cfg.Dir).CombinedOutput(); err != nil {
		t.Fatalf("after close: %v, %s", err, out)
	}
}

// A process is killed between two acknowledgements, again and again; each life finds what the lives before were told.
func TestKilledProcessLosesNothing(t *testing.T) {
	p := places(t)[0]
	told := 0
	for round := range 8 {
		cmd := helper("write", p.cfg.Dir, "100000", "100")
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(pipe)
		for range 5 + 17*round {
			line, err := r.ReadString('\n')
			if err != nil || !strings.HasPrefix(line, "acked ") {
				t.Fatalf("helper says %q (%v)", line, err)
			}
			told = acked([]byte(line))
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		rest, _ := io.ReadAll(r)
		_ = cmd.Wait() // killed
		if whole := rest[:bytes.LastIndexByte(rest, '\n')+1]; acked(whole) > told {
			told = acked(whole)
		}
		l := p.mustOpen(t)
		state, entries := entriesOf(t, l, 1)
		if len(entries) < told || state.CleanClose {
			t.Fatalf("%d entries (clean %v), %d were acknowledged", len(entries), state.CleanClose, told)
		}
		for i, e := range entries {
			if want := payload(1, codec.LeaderID{Term: 1, Node: 3}, codec.Index(i)+1, 100); !bytes.Equal(e.Data, want) {
				t.Fatalf("entry %d holds %q", i+1, e.Data)
			}
		}
		mustClose(t, l)
	}
}

// The same while old segments go: what was purged is gone, what another group holds on to is there.
func TestKilledProcessLosesNothingWhileReclaiming(t *testing.T) {
	p := places(t)[0]
	told, reclaimed := 0, false
	for round := range 8 {
		cmd := helper("reclaim", p.cfg.Dir, "100000", "500")
		pipe, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(pipe)
		for range 40 + 17*round {
			line, err := r.ReadString('\n')
			if err != nil || !strings.HasPrefix(line, "acked ") {
				t.Fatalf("helper says %q (%v)", line, err)
			}
			told = acked([]byte(line))
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		rest, _ := io.ReadAll(r)
		_ = cmd.Wait() // killed
		if whole := rest[:bytes.LastIndexByte(rest, '\n')+1]; acked(whole) > told {
			told = acked(whole)
		}
		reclaimed = reclaimed || p.segments(t)[0] != segmentName(p.folder(), 1)
		l := p.mustOpen(t)
		state, entries := entriesOf(t, l, 1)
		if last := state.Base.ID.Index + codec.Index(len(entries)); int(last) < told || len(entries) > 24 {
			t.Fatalf("entries %d to %d, %d were acknowledged", state.Base.ID.Index+1, last, told)
		}
		_, held := entriesOf(t, l, 2)
		if len(held) != 6 {
			t.Fatalf("%d entries of the group that holds on, want 6", len(held))
		}
		for _, e := range append(entries, held...) {
			id, size := codec.GroupID(1), 500
			if len(e.Data) == 300 {
				id, size = 2, 300
			}
			if want := payload(id, codec.LeaderID{Term: 1, Node: 3}, e.ID.Index, size); !bytes.Equal(e.Data, want) {
				t.Fatalf("entry %v holds %q", e.ID, e.Data)
			}
		}
		mustClose(t, l)
	}
	if !reclaimed {
		t.Fatal("no file went")
	}
}

func needStrace(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("SKIPPED: strace is not installed, the system calls of tidwall/wal can't be watched")
	}
	if out, err := exec.Command("strace", "-f", "-o", "/dev/null", "true").CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: strace does not work here: %v %s", err, out)
	}
}

// The form that writes through tidwall/wal does each sync: before each acknowledgement the newest segment is synced, and
// after each new segment the folder too; and no more than that.
func TestStraceSyncsBeforeEachAck(t *testing.T) {
	needStrace(t)
	p := places(t)[0]
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := helper("write", p.cfg.Dir, "30", "400")
	cmd.Args = append([]string{"strace", "-f", "-y", "-s", "64", "-o", trace, "-e", "trace=openat,write,fsync,fdatasync,rename,renameat"}, cmd.Args...)
	cmd.Path, _ = exec.LookPath("strace")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	syncOf := regexp.MustCompile(`(?:fsync|fdatasync)\(\d+<([^>]*)>`)
	ackOf := regexp.MustCompile(`write\(1<.*"acked (\d+)`)
	created := regexp.MustCompile(`openat\(.*"([^"]*/wal/\d{20})", O_RDWR\|O_CREAT\|O_TRUNC`)
	segmentSyncs, folderSyncs, acks, rolls := 0, 0, 0, 0
	sinceAck, folderDue := 0, false
	for _, line := range strings.Split(string(b), "\n") {
		if m := syncOf.FindStringSubmatch(line); m != nil {
			switch {
			case m[1] == p.folder():
				folderSyncs++
				folderDue = false
			case filepath.Dir(m[1]) == p.folder():
				segmentSyncs++
				sinceAck++
			}
		}
		if created.MatchString(line) {
			rolls++
			folderDue = true
		}
		if ackOf.MatchString(line) {
			acks++
			if sinceAck == 0 || folderDue {
				t.Fatalf("%q: %d syncs of a segment since the one before, folder still to be synced: %v", line, sinceAck, folderDue)
			}
			sinceAck = 0
		}
	}
	if acks != 30 || rolls < 3 {
		t.Fatalf("%d acks and %d rolls seen, want 30 and 3", acks, rolls)
	}
	// One a batch (the opening, 30 writes, the seal), one a roll, and the one of tidwall's Close.
	if want := 1 + 30 + 1 + rolls + 1; segmentSyncs != want {
		t.Errorf("%d syncs of segments, want %d", segmentSyncs, want)
	}
	if want := 1 + rolls; folderSyncs != want {
		t.Errorf("%d syncs of the folder, want %d", folderSyncs, want)
	}
}

// T5, T6 on the form that writes through tidwall/wal: a sync or a write fails once, the ones after would succeed. The
// process is told, acknowledges nothing more, and a restart holds all that was acknowledged and nothing wrong.
func TestStraceOneFaultPoisons(t *testing.T) {
	needStrace(t)
	for _, fault := range []struct {
		call string
		err  error
		when int // counted by strace for each thread: with 400 writes one of them gets there
	}{{"fsync", syscall.EIO, 4}, {"fsync", syscall.EIO, 9}, {"write", syscall.ENOSPC, 3}, {"write", syscall.ENOSPC, 6}} {
		name := map[error]string{syscall.EIO: "EIO", syscall.ENOSPC: "ENOSPC"}[fault.err]
		t.Run(fmt.Sprintf("%s-%s-%d", fault.call, name, fault.when), func(t *testing.T) {
			p := places(t)[0]
			if out, err := helper("write", p.cfg.Dir, "1", "10").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			cmd := helper("write", p.cfg.Dir, "400", "1", "one segment")
			cmd.Args = append([]string{"strace", "-f", "-o", "/dev/null", "-P", segmentName(p.folder(), 1), "-e", "trace=" + fault.call,
				"-e", fmt.Sprintf("inject=%s:error=%s:when=%d", fault.call, name, fault.when)}, cmd.Args...)
			cmd.Path, _ = exec.LookPath("strace")
			out, err := cmd.CombinedOutput()
			if err == nil || !strings.Contains(string(out), fault.err.Error()) || !strings.Contains(string(out), ErrPoisoned.Error()) {
				t.Fatalf("fault was not told: %v, %s", err, out)
			}
			told := max(1, acked(out))
			if told > 400 {
				t.Fatalf("%d acknowledged", told)
			}
			l := p.mustOpen(t)
			defer mustClose(t, l)
			state, entries := entriesOf(t, l, 1)
			if len(entries) < told || len(entries) > told+2 || state.CleanClose {
				t.Fatalf("%d entries (clean %v), %d were acknowledged", len(entries), state.CleanClose, told)
			}
		})
	}
}

// What is written again is synced before the mark, the mark and its name before the first file goes, the files go oldest
// first, and then the folder is synced.
func TestStraceReclaimsInOrder(t *testing.T) {
	needStrace(t)
	p := places(t)[0]
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := helper("reclaim", p.cfg.Dir, "100", "700")
	cmd.Args = append([]string{"strace", "-f", "-y", "-s", "64", "-o", trace, "-e", "trace=openat,fsync,fdatasync,rename,renameat,unlink,unlinkat"}, cmd.Args...)
	cmd.Path, _ = exec.LookPath("strace")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	mark := filepath.Join(p.cfg.Dir, frontName)
	synced := func(line, name string) bool {
		return strings.Contains(line, "sync(") && strings.Contains(line, "<"+name+">")
	}
	unlinked := regexp.MustCompile(`unlink(?:at)?\(.*"([^"]*/wal/\d{20})"`)
	const (
		idle = iota
		written
		renamed
		durable
		unlinking
	)
	state, files, last, folderDue := idle, 0, "", false
	for _, line := range strings.Split(string(b), "\n") {
		was := state
		switch m := unlinked.FindStringSubmatch(line); {
		case synced(line, mark+tempSuffix):
			if state = written; folderDue {
				t.Fatalf("%q: the folder is not synced after the files went", line)
			}
		case strings.Contains(line, "rename") && strings.Contains(line, `"`+mark+`"`):
			if state = renamed; was != written {
				t.Fatalf("%q: the mark's bytes are not synced", line)
			}
		case synced(line, p.cfg.Dir) && state == renamed:
			state = durable
		case m != nil:
			files++
			if state, folderDue = unlinking, true; was != durable && was != unlinking || m[1] <= last {
				t.Fatalf("%q: behind %s, in state %d", line, last, was)
			}
			last = m[1]
		case synced(line, p.folder()):
			folderDue = false
		}
	}
	if files < 5 || folderDue {
		t.Fatalf("%d files went, folder still to be synced: %v", files, folderDue)
	}
}
