package simulation

import (
	"fmt"
	"slices"
	"strings"
)

// Shrink looks for a smaller run that still breaks a promise: fewer classes of faults, then fewer clients, then fewer
// events. It returns its options and result; those of the run itself if nothing smaller fails, or it does not fail.
func Shrink(opts Options) (Options, Result) {
	best, result := opts, Run(opts)
	if result.Err == nil {
		return best, result
	}
	try := func(o Options) bool {
		r := Run(o)
		if r.Err != nil {
			best, result = o, r
		}
		return r.Err != nil
	}
	for c := range ClassEnd {
		if result.Injected[c] > 0 && !best.off(c) {
			o := best
			o.Without = append(slices.Clone(best.Without), c)
			try(o)
		}
	}
	for clients := 1; clients < drawShape(opts.Seed).clients && (best.ClientsMax == 0 || clients < best.ClientsMax); clients++ {
		o := best
		o.ClientsMax = clients
		if try(o) {
			break
		}
	}
	low, high := 1, result.Events
	for low < high {
		o := best
		o.EventsMax = low + (high-low)/2
		if try(o) {
			high = o.EventsMax
		} else {
			low = o.EventsMax + 1
		}
	}
	return best, result
}

// Command returns the command that makes the same run again.
func (o *Options) Command() string {
	var b strings.Builder
	fmt.Fprintf(&b, "go test ./engine/consensus/simulation -run Seeds -seeds 1 -first %d -v", o.Seed)
	if len(o.Without) > 0 {
		var names []string
		for _, c := range o.Without {
			names = append(names, c.String())
		}
		fmt.Fprintf(&b, " -without %s", strings.Join(names, ","))
	}
	if o.ClientsMax > 0 {
		fmt.Fprintf(&b, " -clients %d", o.ClientsMax)
	}
	if o.EventsMax > 0 {
		fmt.Fprintf(&b, " -events %d", o.EventsMax)
	}
	return b.String()
}
