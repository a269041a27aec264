package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/pipeline/session"
)

// web is three nodes in this process, each behind a server of its own.
type web struct {
	*testing.T
	nodes   []*engine.Raft
	servers []*server
	clients []*httptest.Server
}

func startWeb(t *testing.T) *web {
	t.Helper()
	w := &web{T: t}
	var members []codec.Node
	for id := range codec.NodeID(3) {
		store := &store{values: map[string]string{}}
		node, err := engine.Open(engine.Config{
			NodeID: id + 1, ClusterID: "kv", Dir: filepath.Join(t.TempDir(), "node"), Listen: "127.0.0.1:0",
		}, store)
		if err != nil {
			t.Fatal(err)
		}
		s := &server{node, store}
		clients := httptest.NewServer(s.handler())
		t.Cleanup(func() {
			clients.Close()
			if err := node.Close(); err != nil {
				t.Error(err)
			}
		})
		w.nodes, w.servers, w.clients = append(w.nodes, node), append(w.servers, s), append(w.clients, clients)
		members = append(members, codec.Node{ID: id + 1, Address: node.Addr()})
	}
	if err := w.nodes[0].Initialize(t.Context(), codec.NewMembership(codec.SeveralLeadersPerTerm, members...)); err != nil {
		t.Fatal(err)
	}
	return w
}

// addresses returns where the nodes answer clients.
func (w *web) addresses() (list []string) {
	for _, c := range w.clients {
		list = append(list, c.Listener.Addr().String())
	}
	return list
}

// ask asks whichever node can answer, as the command line does.
func (w *web) ask(r request) string {
	w.Helper()
	body, err := client{w.addresses(), time.Minute}.ask(w.Context(), r)
	if err != nil {
		w.Fatalf("%s %s: %v", r.method, r.path, err)
	}
	return body
}

// want fails the test unless one node answers so.
func (w *web) want(node int, r request, code int, body string) {
	w.Helper()
	gotCode, got, err := r.send(w.Context(), w.addresses()[node])
	if err != nil || gotCode != code || got != body {
		w.Errorf("node %d: %s %s: %d %q, %v; want %d %q", node+1, r.method, r.path, gotCode, got, err, code, body)
	}
}

// leader returns the place of the node that leads.
func (w *web) leader() int {
	w.Helper()
	for i, n := range w.nodes {
		if m := n.Metrics(); m.Leader == n.NodeID() {
			return i
		}
	}
	w.Fatal("nobody leads")
	return 0
}

// Every node answers a read with what was written last, and no read is an entry in the log.
func TestAnyNodeReads(t *testing.T) {
	w := startWeb(t)
	for round := range 5 {
		value := fmt.Sprint("value ", round)
		w.ask(request{method: "PUT", path: keyPath("k"), body: value})
		leader := w.nodes[w.leader()]
		before := leader.Metrics().Commit
		for node := range w.nodes {
			w.want(node, request{method: "GET", path: keyPath("k")}, http.StatusOK, value)
			w.want(node, request{method: "GET", path: keyPath("none")}, http.StatusNotFound, "no such key\n")
		}
		if after := leader.Metrics().Commit; after != before {
			t.Errorf("the log ends at %d after reads, and at %d before", after, before)
		}
	}
}

// A read leaves the session alone whose header it has, and the serial to the write that is meant to have it.
func TestReadTakesNoSerial(t *testing.T) {
	w := startWeb(t)
	session := w.ask(request{method: "POST", path: "/sessions"}) + " 1"
	w.ask(request{method: "PUT", path: keyPath("k"), body: "old"})
	leader := w.leader()
	w.want(leader, request{method: "GET", path: keyPath("k"), session: session}, http.StatusOK, "old")
	w.want(leader, request{method: "PUT", path: keyPath("k"), body: "new", session: session}, http.StatusOK, "")
	w.want(leader, request{method: "GET", path: keyPath("k"), session: session}, http.StatusOK, "new")
}

// A node that can't tell whether it is up to date answers 503 to a read, for nothing has happened: another node may know.
func TestReadWithoutQuorum(t *testing.T) {
	w := startWeb(t)
	w.ask(request{method: "PUT", path: keyPath("k"), body: "v"})
	alone := w.leader()
	for i, n := range w.nodes {
		if i != alone {
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, "GET", keyPath("k"), nil)
	answer := httptest.NewRecorder()
	w.servers[alone].handler().ServeHTTP(answer, r)
	body, _ := io.ReadAll(answer.Body)
	if answer.Code != http.StatusServiceUnavailable || !strings.HasPrefix(string(body), errNotRead.Error()) {
		t.Errorf("a read without a quorum: %d %q, want 503 and that nothing was read", answer.Code, body)
	}
}

// Every key is a name of its own, also one that a path would be cleaned of or a query would be cut at.
func TestKeysAreKept(t *testing.T) {
	w := startWeb(t)
	keys := []string{
		".", "..", "...", "/", "//", "a/../b", "a//b", "./a", "a/", "a", "b", "%2E", "%", "+", " ", "a b", "a+b", "a&old=b", "a;b",
		"a=b", "#", "?", "\x00", "\n", "ü", "key", "status", "/kv", "*",
	}
	for i, k := range keys {
		r, err := requestOf("put", []string{k, fmt.Sprint("value ", i)})
		if err != nil {
			t.Fatal(err)
		}
		w.ask(r)
	}
	leader := w.leader()
	for i, k := range keys {
		r, err := requestOf("get", []string{k})
		if err != nil {
			t.Fatal(err)
		}
		w.want(leader, r, http.StatusOK, fmt.Sprint("value ", i))
		if value, found := w.servers[leader].store.get(k); !found || value != fmt.Sprint("value ", i) {
			t.Errorf("key %q has %q (%v), want value %d", k, value, found, i)
		}
	}
	for i, k := range keys {
		r, err := requestOf("cas", []string{k, fmt.Sprint("value ", i), k})
		if err != nil {
			t.Fatal(err)
		}
		w.want(leader, r, http.StatusOK, "")
		w.want(leader, r, http.StatusPreconditionFailed, k)
	}
}

// A query that is not understood changes nothing and is answered with what was wanted.
func TestBadQueries(t *testing.T) {
	w := startWeb(t)
	w.ask(request{method: "PUT", path: keyPath("k"), body: "v"})
	leader := w.leader()
	const bad = "bad request: "
	for path, want := range map[string]string{
		"/kv":             "the key is empty, want /kv?key=KEY",
		"/kv?":            "the key is empty, want /kv?key=KEY",
		"/kv?key=":        "the key is empty, want /kv?key=KEY",
		"/kv?key=k&key=l": `query has key=["k" "l"], want one each of [key old]`,
		"/kv?key=k&odl=w": `query has odl=["w"], want one each of [key old]`,
		"/kv?key=%zz":     `query "key=%zz": invalid URL escape "%zz"`,
		"/kv?key=%ff":     "key or value is no UTF-8",
	} {
		w.want(leader, request{method: "PUT", path: path, body: "x"}, http.StatusBadRequest, bad+want+"\n")
	}
	w.want(leader, request{method: "DELETE", path: "/kv?key=k&old=w"}, http.StatusBadRequest, bad+"query has old=[\"w\"], want one each of [key]\n")
	w.want(leader, request{method: "GET", path: "/kv"}, http.StatusBadRequest, bad+"the key is empty, want /kv?key=KEY\n")
	w.want(leader, request{method: "GET", path: keyPath("k")}, http.StatusOK, "v")
}

// Each write of the command line, whatever its answer, is a session of three entries, of which the last one ends it.
func TestWriteEndsItsSession(t *testing.T) {
	w := startWeb(t)
	c := client{w.addresses(), time.Minute}
	for _, args := range [][]string{{"put", "k", "v"}, {"cas", "k", "v", "w"}, {"cas", "k", "v", "x"}, {"cas", "none", "v", "x"}, {"del", "k"}} {
		r, err := requestOf(args[0], args[1:])
		if err != nil {
			t.Fatal(err)
		}
		wrong := args[0] == "cas" && args[3] == "x"
		if err := c.once(t.Context(), r); (err != nil) != wrong {
			t.Errorf("%v: %v, want an error: %v", args, err, wrong)
		}
	}
	var ops []session.Op
	for e, err := range w.nodes[w.leader()].ReadLog(t.Context(), 1, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind != codec.EntrySession {
			continue
		}
		op, err := session.ReadEntry(e.Data)
		if err != nil {
			t.Fatal(err)
		}
		ops = append(ops, op.Op)
	}
	if want := slices.Repeat([]session.Op{session.OpRegister, session.OpCommand, session.OpClose}, 5); !slices.Equal(ops, want) {
		t.Errorf("entries of sessions %v, want %v", ops, want)
	}
}
