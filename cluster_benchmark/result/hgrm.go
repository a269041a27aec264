package result

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// hgrmTicks is how many lines a .hgrm file has between two halvings of the distance to 100 %: what the Java tools take.
const hgrmTicks = 5

// WriteHGRM writes the percentile distribution of a result's latency as text, in microseconds, and below it, as comments,
// what it is of.
func WriteHGRM(w io.Writer, r *Result) error {
	if _, err := r.Histogram.PercentilesPrint(w, hgrmTicks, 1e3); err != nil {
		return err
	}
	for _, c := range r.Conditions() {
		if _, err := fmt.Fprintf(w, "# %s: %s\n", c.Name, c.Value); err != nil {
			return err
		}
	}
	return nil
}

// WriteHLog writes the latency of each interval of a result's series as an HdrHistogram log, in nanoseconds, under
// comments that say what it is of. A result whose intervals have no histogram makes a log of one interval.
func WriteHLog(w io.Writer, r *Result) error {
	log := hdrhistogram.NewHistogramLogWriter(w)
	begin := r.Started.Add(asDuration(r.Warmup))
	base := begin.Truncate(time.Second).UnixMilli() // the log names whole seconds
	log.SetBaseTime(base)
	errs := []error{log.OutputLogFormatVersion()}
	for _, c := range r.Conditions() {
		errs = append(errs, log.OutputComment(fmt.Sprintf(" %s: %s", c.Name, c.Value)))
	}
	errs = append(errs, log.OutputBaseTime(base), log.OutputStartTime(base), log.OutputLegend())
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, i := range r.logged() {
		i.histogram.SetStartTimeMs(begin.Add(i.from).UnixMilli())
		i.histogram.SetEndTimeMs(begin.Add(i.to).UnixMilli())
		if err := log.OutputIntervalHistogram(i.histogram); err != nil {
			return err
		}
	}
	return nil
}

// loggedInterval is a line of a log.
type loggedInterval struct {
	from, to  time.Duration
	histogram *hdrhistogram.Histogram
}

// logged returns the intervals of a series with their histograms, empty ones without an answer; the whole as one where no
// interval has any.
func (r *Result) logged() []loggedInterval {
	var list []loggedInterval
	any, from := false, time.Duration(0)
	for i := range r.Series {
		p := &r.Series[i]
		h, err := decodeHistogram(p.Histogram)
		if h == nil || err != nil {
			h = hdrhistogram.New(1, int64(time.Hour), 3)
		} else {
			any = true
		}
		list = append(list, loggedInterval{from, asDuration(p.End), h})
		from = asDuration(p.End)
	}
	if !any {
		return []loggedInterval{{0, asDuration(r.Duration), r.Histogram}}
	}
	return list
}

func asDuration(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
