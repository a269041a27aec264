package verdict

import (
	"slices"

	"github.com/millrace/millrace/cluster_benchmark/result"
)

// Source is results under a name: those of a file or, where one file is compared within, those of a target.
type Source struct {
	Name    string
	Results []result.Result // at least one
}

// Targets makes a source of each target in the results of a file, in the order in which they appear.
func Targets(results []result.Result) []Source {
	var sources []Source
	for _, r := range results {
		i := slices.IndexFunc(sources, func(s Source) bool { return s.Name == r.Target })
		if i < 0 {
			i = len(sources)
			sources = append(sources, Source{Name: r.Target})
		}
		sources[i].Results = append(sources[i].Results, r)
	}
	return sources
}

// Case is a scenario that all sources have, with the rounds of each.
type Case struct {
	Groups []result.Group // by source
}

// Part is a scenario that only some sources have.
type Part struct {
	Key result.Key
	In  []int // sources
}

// Same takes keys as they are: results are compared with those of the same target.
func Same(k result.Key) result.Key { return k }

// AnyTarget takes what was measured out of a key and leaves how: targets are compared with each other.
func AnyTarget(k result.Key) result.Key {
	k.Target, k.WALBackend = "", ""
	return k
}

// Share returns the scenarios that all sources have and those that only some have, each in the order in which they
// first appear. Scenarios are the same when identity, [Same] or [AnyTarget], makes the same of their keys.
func Share(sources []Source, identity func(result.Key) result.Key) (all []Case, some []Part) {
	var keys []result.Key // as they are, where one first appears
	groups := make([][]result.Group, len(sources))
	find := func(source int, key result.Key) int {
		return slices.IndexFunc(groups[source], func(g result.Group) bool { return identity(g.Key) == identity(key) })
	}
	for i := range sources {
		groups[i] = result.Groups(sources[i].Results)
		for _, g := range groups[i] {
			if !slices.ContainsFunc(keys, func(k result.Key) bool { return identity(k) == identity(g.Key) }) {
				keys = append(keys, g.Key)
			}
		}
	}
	for _, key := range keys {
		var c Case
		var in []int
		for i := range sources {
			if j := find(i, key); j >= 0 {
				c.Groups = append(c.Groups, groups[i][j])
				in = append(in, i)
			}
		}
		if len(in) == len(sources) {
			all = append(all, c)
		} else {
			some = append(some, Part{key, in})
		}
	}
	return all, some
}
