package show

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Load is load being made, as [Progress] looks at it.
type Load interface {
	Elapsed() time.Duration
	Answered() uint64
}

// Progress is the live line. The zero value shows nothing.
type Progress struct {
	w       io.Writer
	columns func() int
	lines   bool
}

// NewProgress returns a line on a terminal. columns returns how wide it is at the moment.
func NewProgress(w io.Writer, columns func() int) *Progress { return &Progress{w: w, columns: columns} }

// LinePrefix begins what [NewLines] writes.
const LinePrefix = "> "

// NewLines returns a progress that writes a line for each state, for a reader that is a program. Each begins with
// [LinePrefix].
func NewLines(w io.Writer) *Progress {
	return &Progress{w: w, columns: func() int { return 0 }, lines: true}
}

// redraw is how often the line is drawn anew.
const redraw = 200 * time.Millisecond

// Say shows a text until the next one, as far as it fits: a line that the terminal breaks could not be taken away again.
func (p *Progress) Say(text string) {
	switch {
	case p.w == nil:
	case p.lines:
		if text != "" {
			fmt.Fprintf(p.w, "%s%s\n", LinePrefix, text)
		}
	default:
		runes := []rune(text)
		fmt.Fprintf(p.w, "\r\x1b[K%s", string(runes[:min(len(runes), p.room())]))
	}
}

// room is how many characters the line may have. The last column stays free, where some terminals already go on.
func (p *Progress) room() int { return max(0, p.columns()-1) }

// Clear takes the line away.
func (p *Progress) Clear() { p.Say("") }

// looksKept is how many looks the rate goes back: over a second it is steady, also when many puts are answered at once.
const looksKept = int(time.Second / redraw)

// look is what a load had done at a time.
type look struct {
	elapsed  time.Duration
	answered uint64
}

// Watch is the live line of one load.
type Watch struct {
	progress         *Progress
	label            string
	load             Load
	warmup, duration time.Duration
	looks            []look // the last ones, the oldest first; at least one
}

// Watch returns the live line of a load that is warmed up and measured for so long.
func (p *Progress) Watch(label string, l Load, warmup, duration time.Duration) *Watch {
	return &Watch{progress: p, label: label, load: l, warmup: warmup, duration: duration, looks: []look{{}}}
}

// Until draws the line until the channel is closed.
func (w *Watch) Until(over <-chan struct{}) {
	if w.progress.w == nil {
		<-over
		return
	}
	ticker := time.NewTicker(redraw)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			w.draw()
		case <-over:
			return
		}
	}
}

func (w *Watch) draw() {
	now := look{w.load.Elapsed(), w.load.Answered()}
	since := w.looks[0]
	if w.looks = append(w.looks, now); len(w.looks) > looksKept {
		w.looks = w.looks[1:]
	}
	rate := 0.0
	if now.elapsed > since.elapsed {
		rate = float64(now.answered-since.answered) / (now.elapsed - since.elapsed).Seconds()
	}
	w.progress.Say(progressLine(w.label, now.elapsed, w.warmup, w.duration, rate, w.progress.room()))
}

// Bounds of the bar, in characters. Below the smaller one it says nothing and is left out.
const (
	barMax = 24
	barMin = 4
)

// progressLine draws where a run stands, with a bar as long as there is room for.
func progressLine(label string, elapsed, warmup, duration time.Duration, rate float64, room int) string {
	phase, part, whole := "warm-up", elapsed, warmup
	if elapsed >= warmup {
		phase, part, whole = "measure", elapsed-warmup, duration
	}
	part = min(part, whole)
	before := label + "  " + phase
	after := fmt.Sprintf(" %4.1f of %.1f s  %s put/s", part.Seconds(), whole.Seconds(), count(rate))
	width := min(barMax, room-len(before)-len(" []")-len(after))
	if width < barMin {
		return before + after
	}
	filled := width
	if whole > 0 {
		filled = int(int64(width) * int64(part) / int64(whole))
	}
	return before + " [" + strings.Repeat("=", filled) + strings.Repeat(" ", width-filled) + "]" + after
}
