package report

import (
	"fmt"

	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/show"
)

// happened is something that was done to a cluster, a row.
type happened struct {
	Name, Settings        string // of the run
	Round                 int
	At, What              string
	Before, During, After string
	Recovery              string
}

// happened fills in what was done in each round of a run.
func (p *page) happened(r *run, g *result.Group) {
	for i := range g.Rounds {
		for j := range g.Rounds[i].Events {
			e := &g.Rounds[i].Events[j]
			h := happened{
				Name: r.Name, Settings: r.Settings, Round: g.Rounds[i].Round, At: fmt.Sprintf("%.1f s", e.At), What: show.Event(e),
				Before: stretch(e.Before), During: stretch(e.During), After: stretch(e.After), Recovery: "–",
			}
			if e.Recovery > 0 {
				h.Recovery = show.Microseconds(1e3 * e.Recovery)
			}
			p.Events = append(p.Events, h)
		}
	}
}

func stretch(s *result.Stretch) string {
	if s == nil {
		return "–"
	}
	return show.Count(s.PutPerS)
}

// spans returns from when to when events lasted, in seconds of the measured time.
func spans(events []result.Event) [][2]float64 {
	all := [][2]float64{}
	for i := range events {
		all = append(all, [2]float64{round(events[i].At, 3), round(events[i].End(), 3)})
	}
	return all
}
