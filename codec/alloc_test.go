package codec

import (
	"bytes"
	"testing"
)

// TestNoAllocation: what runs once per frame and peer allocates nothing beyond the caller's buffers.
func TestNoAllocation(t *testing.T) {
	payload := bytes.Repeat([]byte("x"), 128)
	meta := FrameMeta{Group: 1, Leader: LeaderID{1, 1}, First: 2, Count: 64, Kind: EntryNormal}
	buf := make([]byte, FrameHeaderSize, 64<<10)
	seal := func() Frame {
		b := buf
		for range meta.Count {
			b = AppendEntry(b, payload)
		}
		f, err := SealFrame(b, meta, CompressionNone)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	frame := bytes.Clone(seal().Bytes())
	f := Frame{frame}
	m := Message{Kind: MessageAppend, Group: 1, Log: LogID{LeaderID{1, 1}, 1}}
	message := append(AppendMessage(nil, &m, len(frame)), frame...)
	header := make([]byte, 0, MessageHeaderSize)
	_, snapshot := sampleSnapshot()
	data := append(make([]byte, DataHeaderSize), payload...)
	entries := make([]Entry, 0, meta.Count)
	handshake := make([]byte, 0, HandshakeSizeMax)
	for name, step := range map[string]func(){
		"AppendEntry and SealFrame": func() { seal() },
		"ReadFrame": func() {
			if _, _, err := ReadFrame(frame); err != nil {
				t.Fatal(err)
			}
		},
		"Frame.Meta": func() {
			if f.Meta().Last() != 65 {
				t.Fatal(f.Meta())
			}
		},
		"Frame.AppendEntries": func() {
			if _, err := f.AppendEntries(entries); err != nil {
				t.Fatal(err)
			}
		},
		"AppendMessage": func() { AppendMessage(header, &m, len(frame)) },
		"ReadMessage": func() {
			if _, _, err := ReadMessage(message, 1<<20); err != nil {
				t.Fatal(err)
			}
		},
		"ReadMessage of half a message": func() {
			if _, _, err := ReadMessage(message[:100], 1<<20); err != ErrShort {
				t.Fatal(err)
			}
		},
		"SealData": func() { SealData(data) },
		"ReadMessage with data": func() {
			if p, _, err := ReadMessage(snapshot, 1<<20); err != nil || len(p.Data.Payload()) == 0 {
				t.Fatal(err)
			}
		},
		"ReadMessage of half the data": func() {
			if _, _, err := ReadMessage(snapshot[:len(snapshot)-1], 1<<20); err != ErrShort {
				t.Fatal(err)
			}
		},
		"AppendHandshake": func() { AppendHandshake(handshake, &sampleHello) },
	} {
		if n := testing.AllocsPerRun(100, step); n != 0 {
			t.Errorf("%s allocates %v times, want 0", name, n)
		}
	}
}

var sampleHello = Handshake{Role: RolePeer, Lane: LaneAppend, From: 1, To: 2, ClusterID: "demo"}

// TestAppendEntriesGrowsOnce: a destination without room is grown for the whole frame at once. The race detector's
// build allocates twice to grow a slice.
func TestAppendEntriesGrowsOnce(t *testing.T) {
	f := frameSpec{FrameMeta{First: 1, Count: 1000, Kind: EntryNormal}, compressibleEntries(1000), CompressionNone}.seal(t)
	if n := testing.AllocsPerRun(20, func() {
		if _, err := f.AppendEntries(nil); err != nil {
			t.Fatal(err)
		}
	}); n > 2 {
		t.Errorf("AppendEntries(nil) of 1000 entries allocates %v times, want 1 (2 under the race detector)", n)
	}
}
