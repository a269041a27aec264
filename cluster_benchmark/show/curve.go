package show

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/millrace/millrace/cluster_benchmark/result"
)

// A drawing of curves: all of it, axes included, fits a terminal of 80 columns.
const (
	plotColumns = 68
	plotRows    = 12
	ninesMax    = 6.0 // percentiles go to 99.9999 %
)

// together is drawn where several curves lie on each other.
const together = '*'

// curve is latency by percentile, all rounds of a group together.
type curve struct {
	mark      rune
	histogram *hdrhistogram.Histogram
	nines     float64 // how far it goes: with 1000 puts to 3, which is 99.9 %
}

// curves draws latency by percentile of groups that are marked by their letters: percentiles on a logarithmic axis of
// nines, where each step is a tenth of the puts of the one before. Groups without a histogram are named.
//
// No library for charts on terminals has such an axis, or marks that need no colour.
func curves(w io.Writer, groups []result.Group) {
	var list []curve
	for i := range groups {
		h := result.Merged(groups[i].Rounds)
		if h == nil || h.TotalCount() == 0 {
			fmt.Fprintf(w, "%c has no histogram to draw.\n", Letter(i))
			continue
		}
		list = append(list, curve{Letter(i), h, min(ninesMax, math.Log10(float64(h.TotalCount())))})
	}
	if len(list) == 0 {
		return
	}
	p := newPlot(list)
	for _, c := range list {
		p.draw(c)
	}
	p.print(w)
}

// plot is a grid of characters. Row 0 is at the top.
type plot struct {
	cells     [plotRows][plotColumns]rune
	low, high float64 // of the axis of latency, logarithms of nanoseconds
	nines     float64 // of the axis of percentiles
}

func newPlot(list []curve) *plot {
	p := &plot{low: math.Inf(1), high: math.Inf(-1), nines: 1}
	for _, c := range list {
		p.nines = max(p.nines, c.nines)
		p.low = min(p.low, math.Log10(float64(max(c.histogram.Min(), 1))))
		p.high = max(p.high, math.Log10(float64(max(c.at(c.nines), 1))))
	}
	p.low, p.high = roundDown(p.low), roundUp(p.high)
	if p.low == p.high {
		p.high = roundUp(p.high + 0.01)
	}
	for r := range p.cells {
		for c := range p.cells[r] {
			p.cells[r][c] = ' '
		}
	}
	return p
}

// at returns the latency in nanoseconds that all but one of 10 to the power of nines puts keep to.
func (c *curve) at(nines float64) int64 {
	return c.histogram.ValueAtPercentile(100 * (1 - math.Pow(10, -nines)))
}

// steps are where an axis of latency has its marks in each decade, and begins and ends.
var steps = []float64{0, math.Log10(2), math.Log10(5), 1}

// tolerance is how far a latency may lie beyond a mark and still be taken to it, which is what a histogram rounds by.
const tolerance = 0.001

func roundDown(v float64) float64 {
	v += tolerance
	down := math.Floor(v)
	for _, s := range steps {
		if up := math.Floor(v) + s; up <= v {
			down = up
		}
	}
	return down
}

func roundUp(v float64) float64 {
	v -= tolerance
	for _, s := range steps {
		if up := math.Floor(v) + s; up >= v {
			return up
		}
	}
	return v
}

// row returns where a latency lies, from its logarithm.
func (p *plot) row(v float64) int {
	part := (v - p.low) / (p.high - p.low)
	return plotRows - 1 - int(math.Round(min(max(part, 0), 1)*(plotRows-1)))
}

// column returns where a percentile lies.
func (p *plot) column(nines float64) int { return int(math.Round(nines / p.nines * (plotColumns - 1))) }

// draw puts a curve into the grid, with each jump filled so that it can be followed.
func (p *plot) draw(c curve) {
	before := -1
	for column := range plotColumns {
		nines := float64(column) / (plotColumns - 1) * p.nines
		if nines > c.nines+1e-9 {
			return
		}
		row := p.row(math.Log10(float64(max(c.at(nines), 1))))
		top, bottom := row, row
		if before > row+1 {
			bottom = before - 1
		}
		for r := top; r <= bottom; r++ {
			cell := &p.cells[r][column]
			if *cell == ' ' {
				*cell = c.mark
			} else {
				*cell = together
			}
		}
		before = row
	}
}

func (p *plot) print(w io.Writer) {
	labels := map[int]string{}
	for decade := math.Floor(p.low); decade <= p.high; decade++ {
		for _, s := range steps[:3] {
			if v := decade + s; v >= p.low-1e-9 && v <= p.high+1e-9 && labels[p.row(v)] == "" {
				labels[p.row(v)] = tickLatency(math.Pow(10, v) / 1e3)
			}
		}
	}
	fmt.Fprintf(w, "\n  latency by percentile, all rounds together%s\n", p.legend())
	for r := range p.cells {
		axis := "│"
		if labels[r] != "" {
			axis = "┤"
		}
		fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("%8s %s%s", labels[r], axis, string(p.cells[r][:])), " "))
	}
	line, text := []rune(strings.Repeat("─", plotColumns)), []rune(strings.Repeat(" ", plotColumns+2))
	free := 0 // up to where text is written
	for tick := 0.0; tick <= p.nines+1e-9; tick++ {
		column := p.column(tick)
		line[column] = '┬'
		label := percentileText(tick)
		begin := min(max(column-len(label)/2, 0), len(text)-len(label))
		if begin >= free {
			copy(text[begin:], []rune(label))
			free = begin + len(label) + 1
		}
	}
	fmt.Fprintf(w, "%8s └%s\n%8s  %s\n", "", string(line), "", strings.TrimRight(string(text), " "))
}

// legend explains the mark of several curves, where it was drawn.
func (p *plot) legend() string {
	for r := range p.cells {
		if strings.ContainsRune(string(p.cells[r][:]), together) {
			return ", * where they lie on each other"
		}
	}
	return ""
}

// tickLatency returns microseconds that are a 1, 2 or 5 of a decade with the fitting unit.
func tickLatency(us float64) string {
	unit := "µs"
	switch {
	case us >= 0.999e6:
		us, unit = us/1e6, "s"
	case us >= 0.999e3:
		us, unit = us/1e3, "ms"
	case us < 0.999:
		us, unit = us*1e3, "ns"
	}
	return strconv.FormatFloat(math.Round(us), 'f', 0, 64) + " " + unit
}

// percentileText returns whole nines as a percentage: 0 %, 90 %, 99 %, 99.9 %.
func percentileText(nines float64) string {
	return strconv.FormatFloat(100*(1-math.Pow(10, -nines)), 'f', max(0, int(nines)-2), 64) + "%"
}
