package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// request is what a command asks the nodes.
type request struct{ method, path, body string }

// requestOf returns the request of a command with its arguments.
func requestOf(name string, args []string) (request, error) {
	commands := map[string]struct {
		arguments int
		make      func() request
	}{
		"get":    {1, func() request { return request{"GET", key(args[0]), ""} }},
		"put":    {2, func() request { return request{"PUT", key(args[0]), args[1]} }},
		"cas":    {3, func() request { return request{"PUT", key(args[0]) + "?old=" + url.QueryEscape(args[1]), args[2]} }},
		"del":    {1, func() request { return request{"DELETE", key(args[0]), ""} }},
		"add":    {2, func() request { return request{"PUT", "/nodes/" + url.PathEscape(args[0]), args[1]} }},
		"remove": {1, func() request { return request{"DELETE", "/nodes/" + url.PathEscape(args[0]), ""} }},
	}
	c, ok := commands[name]
	switch {
	case !ok:
		return request{}, fmt.Errorf("unknown command %q\n%s", name, usage)
	case len(args) != c.arguments:
		return request{}, fmt.Errorf("%s with %d arguments, want %d\n%s", name, len(args), c.arguments, usage)
	}
	return c.make(), nil
}

func key(name string) string { return "/kv/" + url.PathEscape(name) }

// call runs a client's command and prints what it brings.
func call(ctx context.Context, name string, args []string) error {
	flags := flag.NewFlagSet("kv "+name, flag.ContinueOnError)
	list := flags.String("nodes", "127.0.0.1:8001,127.0.0.1:8002,127.0.0.1:8003", "HTTP `addresses` of nodes to ask")
	timeout := flags.Duration("timeout", 10*time.Second, "how long to look for a node that can answer")
	if err := flags.Parse(args); err != nil {
		return err
	}
	nodes := strings.Split(*list, ",")
	if name == "status" {
		return printStatus(ctx, nodes)
	}
	r, err := requestOf(name, flags.Args())
	if err != nil {
		return err
	}
	body, err := ask(ctx, nodes, *timeout, r)
	if err == nil && name == "get" {
		fmt.Println(body)
	} else if err == nil {
		fmt.Println("ok")
	}
	return err
}

// ask asks one node after the other until one answers. A node that can't be reached, or says that nothing has happened there,
// is no reason to give up before the time is over: a new leader may be on its way.
func ask(ctx context.Context, nodes []string, timeout time.Duration, r request) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	pause := time.NewTicker(100 * time.Millisecond)
	defer pause.Stop()
	last := errors.New("none was asked")
	for i := 0; ctx.Err() == nil; i++ {
		code, body, err := r.send(ctx, nodes[i%len(nodes)])
		var op *net.OpError
		switch {
		case err == nil && code == http.StatusOK:
			return body, nil
		case err == nil && code == http.StatusServiceUnavailable:
			last = errors.New(body)
		case err == nil && code == http.StatusPreconditionFailed:
			return "", fmt.Errorf("not set: the value is %q", body)
		case err == nil:
			return "", errors.New(body)
		case errors.As(err, &op) && op.Op == "dial":
			last = err
		default:
			return "", fmt.Errorf("%w; it may have happened or may not", err)
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
	}
	return "", fmt.Errorf("no node has answered within %v, the last one: %w", timeout, last)
}

// send asks one node.
func (r request) send(ctx context.Context, node string) (code int, body string, err error) {
	request, err := http.NewRequestWithContext(ctx, r.method, "http://"+node+r.path, strings.NewReader(r.body))
	if err != nil {
		return 0, "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	return response.StatusCode, strings.TrimSuffix(string(b), "\n"), err
}

// printStatus prints a line for each node.
func printStatus(ctx context.Context, nodes []string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for _, node := range nodes {
		var s nodeStatus
		_, body, err := request{"GET", "/status", ""}.send(ctx, node)
		if err == nil {
			err = json.Unmarshal([]byte(body), &s)
		}
		if err != nil {
			fmt.Printf("%s: %v\n", node, err)
			continue
		}
		fmt.Printf("%s: node %d, %s, leader %d, term %d, applied %d of %d, members %s\n",
			node, s.Node, s.Role, s.Leader, s.Term, s.Applied, s.Commit, s.Members)
	}
	return nil
}
