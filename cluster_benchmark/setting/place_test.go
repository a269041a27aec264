package setting

import (
	"errors"
	"strings"
	"testing"
)

// TestWhereNodesRun: what can't be done there is refused, naming the setting that is in the way.
func TestWhereNodesRun(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*Plan)
		want string // the setting that is refused, "" for none
	}{
		{"processes", func(p *Plan) { p.Processes = true }, ""},
		{"connect", func(p *Plan) { p.Connect = []string{"a:1"} }, ""},
		{"both", func(p *Plan) { p.Processes, p.Connect = true, []string{"a:1"} }, "processes"},
		{"no sockets", func(p *Plan) { p.Processes, p.Net = true, NetInproc }, "net"},
		{"reads", func(p *Plan) { p.Processes, p.ReadRatio = true, []float64{0.5} }, "read-ratio"},
		{"reads elsewhere", func(p *Plan) { p.Connect, p.ReadRatio = []string{"a:1"}, []float64{0.5} }, "read-ratio"},
	} {
		p := Defaults()
		c.edit(&p)
		all, err := p.Scenarios()
		var value *ValueError
		switch {
		case c.want == "" && (err != nil || all[0].Processes != p.Processes || all[0].Connect != (len(p.Connect) > 0)):
			t.Errorf("%s: %+v, %v", c.name, all, err)
		case c.want != "" && (!errors.As(err, &value) || value.Setting != c.want):
			t.Errorf("%s: %v, want that %s is refused", c.name, err, c.want)
		}
		if c.want == "" && all[0].Check() == nil {
			t.Errorf("%s: taken in a request, whose nodes run in one process", c.name)
		}
	}
	rule := ConnectRule()
	p := Defaults()
	if err := rule.SetText(&p, "a:1,b:1"); err != nil || strings.Join(p.Connect, " ") != "a:1 b:1" || rule.Text(&p) != "a:1,b:1" {
		t.Errorf("%v, %v", p.Connect, err)
	}
	for _, bad := range []string{"", "a", "a:", ":1", "a:1,,b:1", "a:1,a:1"} {
		if rule.SetText(&p, bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
