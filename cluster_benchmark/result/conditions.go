package result

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Condition is something that a result was measured with, for files that hold text alone. The names are those of the
// line.
type Condition struct{ Name, Value string }

// Conditions returns what was measured, with what, where and when, without what is empty or not known.
func (r *Result) Conditions() []Condition {
	list := append([]Condition{{"profile", r.Profile}}, r.Key.conditions()...)
	list = append(list,
		Condition{"round", strconv.Itoa(r.Round)},
		Condition{"warmup_s", number(r.Warmup)}, Condition{"duration_s", number(r.Duration)})
	list = append(append(list, r.buildConditions()...), r.machineConditions()...)
	return append(list, Condition{"started", r.Started.UTC().Format(time.RFC3339)})
}

// conditions returns the settings of a scenario: numbers of things always, anything else unless it is empty, 0 or false.
func (k Key) conditions() []Condition {
	var list []Condition
	v := reflect.ValueOf(k)
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		f := v.Field(i)
		if !f.IsZero() || f.Kind() == reflect.Int {
			list = append(list, Condition{name, strings.ReplaceAll(fmt.Sprint(f.Interface()), " ", "_")})
		}
	}
	return list
}

func (r *Result) buildConditions() []Condition {
	modified := ""
	if r.Dirty {
		modified = ", modified"
	}
	return known(
		Condition{"version", r.Version}, Condition{"commit", r.Commit + modified}, Condition{"go", r.Go},
		Condition{"gogc", strconv.Itoa(r.GOGC)}, Condition{"gomaxprocs", strconv.Itoa(r.GOMAXPROCS)},
		Condition{"library", r.Library}, Condition{"configuration", r.Configuration})
}

func (r *Result) machineConditions() []Condition {
	m := &r.Machine
	return known(
		Condition{"os", m.OS}, Condition{"arch", m.Arch}, Condition{"cpu", m.CPU}, Condition{"cores", strconv.Itoa(m.Cores)},
		Condition{"memory_bytes", strconv.FormatUint(m.Memory, 10)}, Condition{"kernel", m.Kernel}, Condition{"filesystem", m.Filesystem})
}

// known leaves out what is empty, and what would break a line.
func known(list ...Condition) []Condition {
	var left []Condition
	for _, c := range list {
		if c.Value = strings.Join(strings.Fields(c.Value), " "); c.Value != "" {
			left = append(left, c)
		}
	}
	return left
}

func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
