package setting

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// ParseProfile reads a profile: a YAML mapping from settings to a value or, for those that sweep, a list of values.
// Settings that it does not name keep their default. file is the name that errors carry, profile the plan's name. Every
// error is a [ProfileError].
func ParseProfile(file, profile string, data []byte) (Plan, error) {
	p := Defaults()
	p.Profile = profile
	// Some editors begin a file with a byte order mark, which the parser would take for a part of the first key.
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	tree, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return Plan{}, syntaxError(file, err)
	}
	var bodies []ast.Node
	for _, d := range tree.Docs {
		if d.Body != nil {
			bodies = append(bodies, d.Body)
		}
	}
	if len(bodies) != 1 {
		return Plan{}, &ProfileError{File: file, Problem: fmt.Sprintf("%d YAML documents, want 1", len(bodies))}
	}
	mapping, ok := bodies[0].(ast.MapNode)
	if !ok {
		return Plan{}, &ProfileError{File: file, Line: line(bodies[0]), Problem: "want a mapping of settings: " + keys()}
	}
	if err := readMapping(file, mapping, &p); err != nil {
		return Plan{}, err
	}
	if _, err := p.Scenarios(); err != nil {
		return Plan{}, &ProfileError{File: file, Problem: err.Error()}
	}
	return p, nil
}

func readMapping(file string, mapping ast.MapNode, p *Plan) error {
	rules := Rules()
	seen := map[string]int{}
	for i := mapping.MapRange(); i.Next(); {
		key, at := i.Key().GetToken().Value, line(i.Key())
		k := slices.IndexFunc(rules, func(r Rule) bool { return r.Key() == key })
		if k < 0 {
			return &ProfileError{File: file, Line: at, Problem: fmt.Sprintf("unknown key %q, known: %s", key, keys())}
		}
		if first, ok := seen[key]; ok {
			return &ProfileError{File: file, Line: at, Problem: fmt.Sprintf("key %q again, first in line %d", key, first)}
		}
		seen[key] = at
		values, ok := scalars(i.Value())
		rule := &rules[k]
		if !ok || rule.Set(p, values...) != nil {
			return &ProfileError{File: file, Line: at,
				Problem: fmt.Sprintf("%s: %s, want %s", key, oneLine(i.Value()), rule.Wants)}
		}
	}
	return nil
}

// keys lists the known keys.
func keys() string {
	var list []string
	for _, r := range Rules() {
		list = append(list, r.Key())
	}
	return strings.Join(list, ", ")
}

func line(n ast.Node) int { return n.GetToken().Position.Line }

// scalars returns the text of a scalar or of a list of scalars, and false for anything else.
func scalars(n ast.Node) ([]string, bool) {
	sequence, ok := n.(*ast.SequenceNode)
	if !ok {
		s, ok := scalar(n)
		return []string{s}, ok
	}
	var list []string
	for _, v := range sequence.Values {
		s, ok := scalar(v)
		if !ok {
			return nil, false
		}
		list = append(list, s)
	}
	return list, true
}

func scalar(n ast.Node) (string, bool) {
	switch v := n.(type) {
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	case *ast.StringNode:
		return v.Value, true
	case *ast.LiteralNode:
		return v.Value.Value, true
	}
	return "", false
}

// oneLine shows a value as it was written.
func oneLine(n ast.Node) string {
	if _, ok := n.(*ast.NullNode); ok {
		return "no value"
	}
	return strings.Join(strings.Fields(n.String()), " ")
}

// syntaxError makes one line of the parser's message, which otherwise shows the source around it.
func syntaxError(file string, err error) error {
	var y yaml.Error
	if errors.As(err, &y) {
		at := 0
		if t := y.GetToken(); t != nil {
			at = t.Position.Line
		}
		return &ProfileError{File: file, Line: at, Problem: "not YAML: " + y.GetMessage()}
	}
	return &ProfileError{File: file, Problem: "not YAML: " + strings.Join(strings.Fields(err.Error()), " ")}
}
