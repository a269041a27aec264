package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// request is what a command asks the nodes.
type request struct{ method, path, body, session string }

// requestOf returns the request of a command with its arguments.
func requestOf(name string, args []string) (request, error) {
	commands := map[string]struct {
		arguments int
		make      func() request
	}{
		"get": {1, func() request { return request{method: "GET", path: keyPath(args[0])} }},
		"put": {2, func() request { return request{method: "PUT", path: keyPath(args[0]), body: args[1]} }},
		"cas": {3, func() request {
			return request{method: "PUT", path: keyPath(args[0]) + "&old=" + url.QueryEscape(args[1]), body: args[2]}
		}},
		"del":    {1, func() request { return request{method: "DELETE", path: keyPath(args[0])} }},
		"add":    {2, func() request { return request{method: "PUT", path: "/nodes/" + args[0], body: args[1]} }},
		"remove": {1, func() request { return request{method: "DELETE", path: "/nodes/" + args[0]} }},
	}
	c, ok := commands[name]
	switch {
	case !ok:
		return request{}, fmt.Errorf("unknown command %q\n%s", name, usage)
	case len(args) != c.arguments:
		return request{}, fmt.Errorf("%s with %d arguments, want %d\n%s", name, len(args), c.arguments, usage)
	case name == "add", name == "remove":
		if _, err := parseID(args[0]); err != nil {
			return request{}, fmt.Errorf("%s: %w", name, err)
		}
	case args[0] == "":
		return request{}, fmt.Errorf("%s: the key is empty, want one of a character or more", name)
	}
	return c.make(), nil
}

// keyPath returns the path of a key's value, to which more of a query can be added.
func keyPath(key string) string { return "/kv?key=" + url.QueryEscape(key) }

// client asks nodes, one after the other, until one answers.
type client struct {
	nodes   []string
	timeout time.Duration // how long it goes on
}

// call runs a client's command and prints what it brings.
func call(ctx context.Context, name string, args []string) error {
	flags := flag.NewFlagSet("kv "+name, flag.ContinueOnError)
	list := flags.String("nodes", "127.0.0.1:8001,127.0.0.1:8002,127.0.0.1:8003", "HTTP `addresses` of nodes to ask")
	timeout := flags.Duration("timeout", 30*time.Second, "how long to go on asking until a node can answer")
	if err := flags.Parse(args); err != nil {
		return err
	}
	c := client{strings.Split(*list, ","), *timeout}
	if name == "status" {
		return c.printStatus(ctx)
	}
	r, err := requestOf(name, flags.Args())
	if err != nil {
		return err
	}
	answer := "ok"
	switch name {
	case "get":
		answer, err = c.ask(ctx, r)
	case "put", "cas", "del":
		err = c.once(ctx, r)
	default:
		_, err = c.ask(ctx, r)
	}
	if err == nil {
		fmt.Println(answer)
	}
	return err
}

// once asks for a write in a session of its own: it takes effect once, however often it is asked for. Whatever the answer is,
// the session has done its work then, and is ended.
func (c client) once(ctx context.Context, r request) error {
	id, err := c.ask(ctx, request{method: "POST", path: "/sessions"})
	if err != nil {
		return err
	}
	r.session = id + " 1"
	_, err = c.ask(ctx, r)
	if errors.Is(err, errNoAnswer) {
		return err // the write may be on its way yet; the session goes by eviction
	}
	if _, open := c.ask(ctx, request{method: "DELETE", path: "/sessions/" + id}); open != nil {
		fmt.Fprintf(os.Stderr, "kv: session %s is not ended, and goes by eviction: %v\n", id, open)
	}
	return err
}

// ask asks for something that may be asked for again, until a node answers: a leader may be lost, and the next one on its way.
func (c client) ask(ctx context.Context, r request) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	pause := time.NewTicker(100 * time.Millisecond)
	defer pause.Stop()
	last := errors.New("none was asked")
	for i := 0; ctx.Err() == nil; i++ {
		code, body, err := r.send(ctx, c.nodes[i%len(c.nodes)])
		switch {
		case err != nil && ctx.Err() == nil:
			last = err
		case code == http.StatusServiceUnavailable, code == http.StatusGatewayTimeout:
			last = errors.New(body)
		case code == http.StatusOK:
			return body, nil
		case code == http.StatusPreconditionFailed:
			return "", fmt.Errorf("not set: the value is %q", body)
		case code != 0:
			return "", errors.New(strings.TrimSpace(body))
		}
		if i%len(c.nodes) == len(c.nodes)-1 {
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
		}
	}
	return "", fmt.Errorf("%w within %v, the last one: %w", errNoAnswer, c.timeout, last)
}

// send asks one node.
func (r request) send(ctx context.Context, node string) (code int, body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout+time.Second) // a node that works answers within requestTimeout
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, r.method, "http://"+node+r.path, strings.NewReader(r.body))
	if err != nil {
		return 0, "", err
	}
	if r.session != "" {
		request.Header.Set("Session", r.session)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, "", err
	}
	return response.StatusCode, string(b), nil
}

// printStatus prints a line for each node.
func (c client) printStatus(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for _, node := range c.nodes {
		var s nodeStatus
		_, body, err := request{method: "GET", path: "/status"}.send(ctx, node)
		if err == nil {
			err = json.Unmarshal([]byte(body), &s)
		}
		if err != nil {
			fmt.Printf("%s: %v\n", node, err)
			continue
		}
		fmt.Printf("%s: node %d, %s, leader %d, term %d, applied %d of %d, log from %d, snapshot at %d, members %s\n",
			node, s.Node, s.Role, s.Leader, s.Term, s.Applied, s.Commit, s.First, s.Snapshot, s.Members)
	}
	return nil
}
