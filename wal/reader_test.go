package wal

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/millrace/millrace/codec"
)

// W15, T8: four groups catch up from the files at once while they also write; no byte is wrong or changes afterwards.
func TestFourCatchUpReaders(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		l := p.mustOpen(t)
		var wg sync.WaitGroup
		for id := range codec.GroupID(4) {
			d, _ := drive(t, l, id)
			wg.Go(func() {
				for range 30 {
					d.append(2, 200)
				}
				if err := d.flushed.wait(d.seq); err != nil {
					t.Error(err)
					return
				}
				var kept []codec.Frame
				for round := range 5 {
					type answer struct {
						f   codec.Frame
						err error
					}
					answers := make(chan answer, 60)
					asked := 0
					for i := codec.Index(1); i <= 60; i += 2 {
						d.g.ReadFrame(i, func(f codec.Frame, err error) { answers <- answer{f, err} })
						asked++
					}
					d.append(1, 50+round)
					for range asked {
						a := <-answers
						if a.err != nil {
							t.Error(a.err)
							return
						}
						kept = append(kept, a.f)
					}
				}
				for _, f := range kept {
					entries, err := f.AppendEntries(nil)
					if err != nil {
						t.Error(err)
						return
					}
					for _, e := range entries {
						if want := d.entries[e.ID.Index-1]; !bytes.Equal(e.Data, want.Data) || e.ID != want.ID {
							t.Errorf("group %d index %d: %q", id, e.ID.Index, e.Data)
							return
						}
					}
				}
			})
		}
		wg.Wait()
		if s := l.Stats(); s.ColdReads < 100 {
			t.Errorf("%d cold reads, want 100", s.ColdReads)
		}
		mustClose(t, l)
	})
}

// manualLog is a log on memory that a test runs by hand, with one group of one frame of ten entries, no longer in
// memory.
func manualLog(t *testing.T) (*world, *promises) {
	t.Helper()
	w := newWorld()
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	p := w.groups[0]
	p.append(10, 50)
	w.log.Pump()
	for range 3 {
		p.append(1, 2000)
		w.log.Pump()
	}
	if _, ok := p.group.Frame(1); ok {
		t.Fatal("first frame is in memory")
	}
	return w, p
}

// A read that a truncation overtakes is an error, never the bytes of before.
func TestReadOvertakenByATruncationIsStale(t *testing.T) {
	w, p := manualLog(t)
	var got error
	calls := 0
	p.group.ReadFrame(3, func(_ codec.Frame, err error) { got = err; calls++ })
	p.submit(codec.LogWrite{HasTruncate: true, Truncate: 5})
	w.log.Pump()
	if calls != 1 || !errors.Is(got, ErrStale) {
		t.Fatalf("%d calls, %v, want ErrStale", calls, got)
	}
	p.group.ReadFrame(3, func(f codec.Frame, err error) {
		calls++
		if err != nil || f.Meta().Last() != 5 {
			t.Errorf("asked again: %+v, %v", f.Meta(), err)
		}
	})
	w.log.Pump()
	if calls != 2 {
		t.Fatal("no answer")
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
}

// What rots in a file while the log is open is noticed by the read that meets it, and by that one alone.
func TestReadOfRottenRecord(t *testing.T) {
	w, p := manualLog(t)
	name := segmentName(segmentFolderOf(&w.cfg), 1)
	b := make([]byte, 1)
	f, err := w.mem.OpenFile(name, 2, 0)
	if err != nil {
		t.Fatal(err)
	}
	read := func(i codec.Index) (err error) {
		p.group.ReadFrame(i, func(_ codec.Frame, e error) { err = e })
		w.log.Pump()
		return err
	}
	if err := read(1); err != nil {
		t.Fatal(err)
	}
	at := p.group.index.refs[0]
	offset := int64(w.log.reader.open[0].offsets[at.at.seq-1]) + 100
	flip := func() {
		f.ReadAt(b, offset)
		b[0] ^= 4
		f.WriteAt(b, offset)
	}
	flip()
	if err := read(1); !errors.Is(err, codec.ErrCorrupt) || !strings.Contains(err.Error(), name) {
		t.Fatalf("rotten record: %v", err)
	}
	flip()
	if err := read(1); err != nil {
		t.Fatalf("healed: %v", err)
	}
	f.Truncate(60)
	if err := read(1); !errors.Is(err, codec.ErrCorrupt) || !strings.Contains(err.Error(), name) {
		t.Fatalf("cut file: %v", err)
	}
	w.mem.Kill()
}

// The reader finds records across chunk borders and in many segments, forwards and backwards.
func TestReadEverywhere(t *testing.T) {
	w := newWorld()
	w.cfg.SegmentBytes, w.cfg.RecentBytesMax = 200<<10, 1
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	p := w.groups[0]
	for i := range 400 {
		p.append(1, (i*i*7919)%9000)
		if i%7 == 0 {
			w.log.Pump()
		}
	}
	w.log.Pump()
	if s := w.log.Stats(); s.Segments <= openSegmentsMax {
		t.Fatalf("%d segments, want more than are kept open", s.Segments)
	}
	for step := range codec.Index(800) {
		i := 1 + step*137%400
		p.group.ReadFrame(i, func(f codec.Frame, err error) {
			if err != nil || f.Meta().First != i {
				t.Errorf("index %d: %+v, %v", i, f.Meta(), err)
			}
		})
		w.log.Pump()
	}
	if len(w.log.reader.open) > openSegmentsMax {
		t.Fatalf("%d segments open", len(w.log.reader.open))
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	called := false
	p.group.ReadFrame(1, func(_ codec.Frame, err error) {
		if called = true; !errors.Is(err, ErrClosed) {
			t.Errorf("read after close: %v", err)
		}
	})
	if !called {
		t.Error("no answer after close")
	}
}

// Reads that wait when the log closes are answered.
func TestCloseAnswersReads(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		l := p.mustOpen(t)
		d, _ := drive(t, l, 1)
		for range 20 {
			d.append(1, 1000)
		}
		d.must(d.seq)
		d.append(1, 1) // evicts
		answers := make(chan error, 50)
		for range 50 {
			d.g.ReadFrame(1, func(_ codec.Frame, err error) { answers <- err })
		}
		mustClose(t, l)
		for range 50 {
			if err := <-answers; err != nil && !errors.Is(err, ErrClosed) {
				t.Fatal(err)
			}
		}
	})
}

// Frames stay in memory until they are durable, however many bytes they are; then the oldest leave first.
func TestRecentFramesAreBounded(t *testing.T) {
	w := newWorld()
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	p := w.groups[0]
	for range 50 {
		p.append(1, 500)
	}
	for i := codec.Index(1); i <= 50; i++ {
		if _, ok := p.group.Frame(i); !ok {
			t.Fatalf("index %d is not durable and not in memory", i)
		}
	}
	w.log.Pump()
	p.append(1, 500)
	if got := w.log.Stats().RecentBytes; got > int64(w.cfg.RecentBytesMax)+600 || got == 0 {
		t.Fatalf("%d bytes in memory, bound %d", got, w.cfg.RecentBytesMax)
	}
	if _, ok := p.group.Frame(51); !ok {
		t.Fatal("newest frame is not in memory")
	}
	if _, ok := p.group.Frame(1); ok {
		t.Fatal("oldest frame is in memory")
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
}

func TestConfigIsValidated(t *testing.T) {
	good := testConfig(t.TempDir())
	for want, change := range map[string]func(*Config){
		"Dir is empty":               func(c *Config) { c.Dir = "" },
		`ClusterID ""`:               func(c *Config) { c.ClusterID = "" },
		"has 65 bytes":               func(c *Config) { c.ClusterID = strings.Repeat("x", 65) },
		"Node is 0":                  func(c *Config) { c.Node = 0 },
		"SegmentBytes is 1,":         func(c *Config) { c.SegmentBytes = 1 },
		"SegmentBytes is 2147483648": func(c *Config) { c.SegmentBytes = 2 << 30 },
		"RecentBytesMax is -1":       func(c *Config) { c.RecentBytesMax = -1 },
		"ReclaimPercent is 9, want":  func(c *Config) { c.ReclaimPercent = 9 },
		"ReclaimPercent is 91, want": func(c *Config) { c.ReclaimPercent = 91 },
	} {
		cfg := good
		change(&cfg)
		if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// A directory of another node, cluster or version is refused, the error names both, and nothing is written.
func TestForeignDirectoryIsRefused(t *testing.T) {
	eachPlace(t, func(t *testing.T, p place) {
		session(t, p, 2, 10)
		before := p.image(t)
		for want, change := range map[string]func(*Config){
			`cluster "contract", want cluster "other"`: func(c *Config) { c.ClusterID = "other" },
			"node 7, want node 8":                      func(c *Config) { c.Node = 8 },
		} {
			cfg := p.cfg
			change(&cfg)
			_, err := open(cfg, Simulation{FS: p.fs}, nil)
			if !errors.Is(err, ErrIdentity) || !strings.Contains(fmt.Sprint(err), want) {
				t.Errorf("%v, want %s", err, want)
			}
		}
		name := p.cfg.Dir + "/" + identityName
		id := p.read(t, name)
		id[4] = 9
		p.write(t, name, id)
		if _, err := p.open(); !errors.Is(err, ErrIdentity) || !errors.Is(err, codec.ErrVersion) || !strings.Contains(err.Error(), "version 9, this build writes 1") {
			t.Errorf("other version: %v", err)
		}
		for i := range id {
			b := bytes.Clone(before[name])
			b[i] ^= 0x10
			p.write(t, name, b)
			if l, err := p.open(); err == nil {
				l.Close()
				t.Errorf("identity with byte %d changed: opened", i)
			}
		}
		p.write(t, name, before[name])
		if err := before.equal(p.image(t)); err != nil {
			t.Error(err)
		}
	})
}
