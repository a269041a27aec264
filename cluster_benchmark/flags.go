package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/millrace/millrace/cluster_benchmark/setting"
)

// settingFlag is a setting as a flag. It keeps its text until the profile is known.
type settingFlag struct {
	rule setting.Rule
	text string
	set  bool
}

// String returns what was given. The default is the profile's.
func (f *settingFlag) String() string { return f.text }

// Set checks and keeps a value.
func (f *settingFlag) Set(text string) error {
	var scratch setting.Plan
	if err := f.rule.SetText(&scratch, text); err != nil {
		return err
	}
	f.text, f.set = text, true
	return nil
}

// Type names the value in the help.
func (f *settingFlag) Type() string {
	if f.rule.List {
		return "LIST"
	}
	return "VALUE"
}

// pathFlag is a file or directory as a flag.
type pathFlag struct {
	path *string
	kind string
	want string
}

// String returns the path.
func (f *pathFlag) String() string {
	if f.path == nil { // pflag asks a zero value for its default
		return ""
	}
	return *f.path
}

// Set keeps a path. The empty one is a mistake, mostly of a script whose variable is not set, and not the same as none.
func (f *pathFlag) Set(path string) error {
	if path == "" {
		return errNoPath
	}
	*f.path = path
	return nil
}

// Type names the value in the help.
func (f *pathFlag) Type() string { return f.kind }

// addSettings adds every setting to a command but those without, and some more, and returns them.
func addSettings(flags *pflag.FlagSet, without []string, more ...setting.Rule) []*settingFlag {
	var list []*settingFlag
	for _, rule := range append(setting.Rules(), more...) {
		if rule.ProfileOnly || slices.Contains(without, rule.Name) {
			continue
		}
		f := &settingFlag{rule: rule}
		flags.Var(f, rule.Name, fmt.Sprintf("%s: %s", rule.About, rule.Wants))
		if rule.Switch {
			flags.Lookup(rule.Name).NoOptDefVal = "true"
		}
		list = append(list, f)
	}
	return list
}

// override puts what flags said into a plan, and what nodes say that it is to connect to.
func override(ctx context.Context, p *setting.Plan, list []*settingFlag) error {
	for _, f := range list {
		if !f.set {
			continue
		}
		if err := f.rule.SetText(p, f.text); err != nil {
			return asUsage(err)
		}
	}
	if len(p.Connect) > 0 {
		given := func(name string) bool {
			return slices.ContainsFunc(list, func(f *settingFlag) bool { return f.set && f.rule.Name == name })
		}
		// What no nodes can serve needs none to be asked.
		early := *p
		early.Nodes, early.Net, early.Processes = []int{len(p.Connect)}, setting.NetTCP, false
		if _, err := early.Scenarios(); err != nil {
			return asUsage(err)
		}
		if err := connect(ctx, p, given); err != nil {
			return err
		}
	}
	_, err := p.Scenarios()
	return asUsage(err)
}

// asUsage makes a usage error of one that names a setting.
func asUsage(err error) error {
	var value *setting.ValueError
	if errors.As(err, &value) {
		return usagef("--%s %s: want %s", value.Setting, quoted(value.Value), value.Want)
	}
	return err
}

// quoted shows a value on a command line, in quotes where it would not be seen otherwise.
func quoted(value string) string {
	if value == "" || strings.ContainsAny(value, " \t\n") {
		return fmt.Sprintf("%q", value)
	}
	return value
}

// flagError makes one line of what is wrong with a flag.
func flagError(c *cobra.Command, err error) error {
	var unknownFlag *pflag.NotExistError
	var noValue *pflag.ValueRequiredError
	var badValue *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknownFlag):
		name := unknownFlag.GetSpecifiedName()
		dashes := "--"
		if len(unknownFlag.GetSpecifiedShortnames()) > 0 {
			dashes = "-"
		}
		return usagef("%s%s: unknown flag of %q, want one of %s", dashes, name, c.Name(), flagNames(c))
	case errors.As(err, &noValue):
		f := noValue.GetFlag()
		return usagef("--%s: no value, want %s", f.Name, wants(f))
	case errors.As(err, &badValue):
		f := badValue.GetFlag()
		return usagef("--%s %s: want %s", f.Name, quoted(badValue.GetValue()), wants(f))
	}
	return usagef("%s: %s", c.Name(), strings.Join(strings.Fields(err.Error()), " "))
}

// wants says what a flag takes.
func wants(f *pflag.Flag) string {
	switch v := f.Value.(type) {
	case *settingFlag:
		return v.rule.Wants
	case *pathFlag:
		return v.want
	case *percentFlag:
		return wantsPercent
	case baselineFlag:
		return wantsBaseline
	}
	if f.Value.Type() == "bool" {
		return "true or false"
	}
	return f.Usage
}

func flagNames(c *cobra.Command) string {
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
	return strings.Join(names, ", ")
}
