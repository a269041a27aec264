package codec

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// The files under testdata fix the bytes of each format. Run with -update only for a new format version, or for a new
// sample; a difference otherwise means that stored logs and running peers could no longer be read.
var update = flag.Bool("update", false, "rewrite the golden files of this package")

// golden compares samples with testdata/<format>.golden: a "# name" line, then the bytes in hexadecimal, 32 a line.
func golden(t *testing.T, format string, got []named[[]byte]) map[string][]byte {
	t.Helper()
	path := filepath.Join("testdata", format+".golden")
	if *update {
		var sb strings.Builder
		for _, g := range got {
			fmt.Fprintf(&sb, "# %s\n", g.name)
			for b := g.value; len(b) > 0; b = b[min(32, len(b)):] {
				fmt.Fprintf(&sb, "%x\n", b[:min(32, len(b))])
			}
		}
		if err := os.WriteFile(path, []byte(sb.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]byte{}
	name := ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "# "); ok {
			name = rest
			continue
		}
		b, err := hex.DecodeString(line)
		if err != nil {
			t.Fatalf("%s: %q: %v", path, line, err)
		}
		want[name] = append(want[name], b...)
	}
	if len(want) != len(got) {
		t.Errorf("%s holds %d samples, the test has %d; after adding one run with -update", path, len(want), len(got))
	}
	return want
}

func checkGolden(t *testing.T, name string, want, got []byte) {
	t.Helper()
	if string(want) != string(got) {
		t.Errorf("%s: encoding changed\n got %x\nwant %x", name, got, want)
	}
}

func TestFrameGolden(t *testing.T) {
	var got []named[[]byte]
	for _, s := range sampleFrames() {
		got = append(got, named[[]byte]{s.name, s.value.seal(t).Bytes()})
	}
	want := golden(t, "frame", got)
	for i, s := range sampleFrames() {
		// Another version of a compressor may write other bytes; what it once wrote must stay readable.
		if s.value.compression == CompressionNone {
			checkGolden(t, s.name, want[s.name], got[i].value)
		}
		f, n, err := ReadFrame(want[s.name])
		if err != nil || n != len(want[s.name]) {
			t.Fatalf("%s: ReadFrame: %d bytes, %v; want %d bytes", s.name, n, err, len(want[s.name]))
		}
		if f.Compression() != s.value.compression {
			t.Errorf("%s: compression %v, want %v", s.name, f.Compression(), s.value.compression)
		}
		checkFrameHolds(t, f, s.value.meta, s.value.entries)
	}
}

func TestMessageGolden(t *testing.T) {
	samples := sampleMessages(t)
	var got []named[[]byte]
	for _, s := range samples {
		got = append(got, named[[]byte]{s.name, wire(&s.value)})
	}
	want := golden(t, "message", got)
	for i, s := range samples {
		checkGolden(t, s.name, want[s.name], got[i].value)
		p, n, err := ReadMessage(want[s.name], 1<<20)
		if err != nil || n != len(want[s.name]) || p.Message != s.value.Message || !bytes.Equal(p.Body(), s.value.Body()) {
			t.Errorf("%s: read %+v, %d bytes, %v; want %+v", s.name, p.Message, n, err, s.value.Message)
		}
	}
}

func TestMembershipGolden(t *testing.T) {
	var got []named[[]byte]
	for _, s := range sampleMemberships() {
		got = append(got, named[[]byte]{s.name, AppendMembership(nil, &s.value)})
	}
	want := golden(t, "membership", got)
	for i, s := range sampleMemberships() {
		checkGolden(t, s.name, want[s.name], got[i].value)
		m, n, err := ReadMembership(want[s.name])
		if err != nil || n != len(want[s.name]) || !reflect.DeepEqual(m, s.value) {
			t.Errorf("%s: read %+v, %d bytes, %v; want %+v", s.name, m, n, err, s.value)
		}
	}
}

func TestHandshakeGolden(t *testing.T) {
	var got []named[[]byte]
	for _, s := range sampleHandshakes() {
		got = append(got, named[[]byte]{s.name, AppendHandshake(nil, &s.value)})
	}
	want := golden(t, "handshake", got)
	for i, s := range sampleHandshakes() {
		checkGolden(t, s.name, want[s.name], got[i].value)
		h, n, err := ReadHandshake(want[s.name])
		if err != nil || n != len(want[s.name]) || h != s.value {
			t.Errorf("%s: read %+v, %d bytes, %v; want %+v", s.name, h, n, err, s.value)
		}
	}
}

// TestFlippedBits flips every bit of every checked sample: a decoder must refuse each one.
func TestFlippedBits(t *testing.T) {
	type decoder func([]byte) error
	frame := func(b []byte) error { _, _, err := ReadFrame(b); return err }
	message := func(b []byte) error { _, _, err := ReadMessage(b, 1<<20); return err }
	handshake := func(b []byte) error { _, _, err := ReadHandshake(b); return err }
	flip := func(name string, sample []byte, decode decoder) {
		if err := decode(sample); err != nil {
			t.Errorf("%s: intact sample refused: %v", name, err)
		}
		for bit := range len(sample) * 8 {
			damaged := append([]byte(nil), sample...)
			damaged[bit/8] ^= 1 << (bit % 8)
			if decode(damaged) == nil {
				t.Errorf("%s: flipped bit %d of byte %d went unseen", name, bit%8, bit/8)
			}
		}
	}
	for _, s := range sampleFrames() {
		flip("frame "+s.name, s.value.seal(t).Bytes(), frame)
	}
	for _, s := range sampleMessages(t) {
		flip("message "+s.name, wire(&s.value), message)
	}
	flip("data", sampleData("payload").Bytes(), func(b []byte) error { _, err := ReadData(b); return err })
	for _, s := range sampleHandshakes() {
		flip("handshake "+s.name, AppendHandshake(nil, &s.value), handshake)
	}
}
