package result

import (
	"io"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// hgrmTicks is how many lines a .hgrm file has between two halvings of the distance to 100 %: what the Java tools take.
const hgrmTicks = 5

// WriteHGRM writes the percentile distribution of a histogram of nanoseconds as text, in microseconds.
func WriteHGRM(w io.Writer, h *hdrhistogram.Histogram) error {
	_, err := h.PercentilesPrint(w, hgrmTicks, 1e3)
	return err
}
