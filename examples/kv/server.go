package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/engine"
)

const (
	requestTimeout = 5 * time.Second
	valueBytesMax  = 1 << 20
)

// server answers clients from a node and its store.
type server struct {
	node  *engine.Raft
	store *store
}

// handler returns the API:
//
//	GET    /kv?key=KEY          its value, or 404; any member answers
//	PUT    /kv?key=KEY          sets it to the body
//	PUT    /kv?key=KEY&old=OLD  the same if its value is OLD; else 412 and its value, or 404
//	DELETE /kv?key=KEY
//	POST   /sessions            opens a session and returns its ID
//	DELETE /sessions/ID         ends it
//	GET    /status              the node as JSON
//	PUT    /nodes/ID            adds the node that listens at the address in the body
//	DELETE /nodes/ID            removes the node
//
// A key is any UTF-8 but the empty one. It stands in the query, since a path is cleaned on its way: there "." is no name.
//
// 503 says that nothing has happened here: ask the node that it names, or any other. 504 says that what was asked for may
// have happened or may not; a read never gets it. A write with the header "Session: ID SERIAL", serials from 1 on, takes
// effect once at most: ask for it again, anywhere, until there is an answer, and then use the next serial.
func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, serve := range map[string]func(http.ResponseWriter, *http.Request) error{
		"GET /kv":               s.get,
		"PUT /kv":               s.put,
		"DELETE /kv":            s.delete,
		"POST /sessions":        s.openSession,
		"DELETE /sessions/{id}": s.closeSession,
		"GET /status":           s.status,
		"PUT /nodes/{id}":       s.addNode,
		"DELETE /nodes/{id}":    s.removeNode,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
			defer cancel()
			if err := serve(w, r.WithContext(ctx)); err != nil {
				http.Error(w, err.Error(), statusOf(err))
			}
		})
	}
	return mux
}

// statusOf says what an error means to a client.
func statusOf(err error) int {
	switch {
	case errors.Is(err, errNoSuchKey):
		return http.StatusNotFound
	case errors.Is(err, errBadRequest), errors.Is(err, engine.ErrMembership), errors.Is(err, engine.ErrNotMember):
		return http.StatusBadRequest
	case errors.Is(err, engine.ErrChangeInProgress):
		return http.StatusConflict
	case errors.As(err, new(*engine.SessionExpiredError)):
		return http.StatusGone
	case errors.Is(err, errNotRead):
		return http.StatusServiceUnavailable
	case errors.As(err, new(*engine.UnknownError)), errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout
	case errors.As(err, new(*engine.NotLeaderError)), errors.Is(err, engine.ErrBusy), errors.Is(err, engine.ErrStopped):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// propose puts a command into the log and returns what applying it here has answered.
func (s *server) propose(r *http.Request, c command) (a answer, err error) {
	if !utf8.ValidString(c.Key + c.Value + c.Old) {
		return a, fmt.Errorf("%w: key or value is no UTF-8", errBadRequest)
	}
	data, err := json.Marshal(c)
	if err != nil {
		return a, err
	}
	proposal := engine.Proposal{Data: data}
	if header := r.Header.Get("Session"); header != "" {
		var id engine.SessionID
		if _, err := fmt.Sscan(header, &id, &proposal.Serial); err != nil {
			return a, fmt.Errorf("%w: header Session is %q, want ID SERIAL", errBadRequest, header)
		}
		if proposal.Session, err = s.session(id, proposal.Serial); err != nil {
			return a, err
		}
	}
	result, err := s.node.Submit(r.Context(), proposal)
	if err != nil {
		return a, err
	}
	return a, json.Unmarshal(result.Data, &a)
}

// session returns a client's session as it stands when the command of that serial is the only one without an answer.
func (s *server) session(id engine.SessionID, serial uint64) (*engine.Session, error) {
	session, err := engine.ResumeSession(s.node, engine.SessionState{ID: id, Next: serial + 1, Open: []uint64{serial}})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBadRequest, err)
	}
	return session, nil
}

func (s *server) openSession(w http.ResponseWriter, r *http.Request) error {
	session, err := s.node.OpenSession(r.Context())
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(w, session.ID())
	return err
}

func (s *server) closeSession(_ http.ResponseWriter, r *http.Request) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	session, err := s.session(engine.SessionID(id), 1)
	if err != nil {
		return err
	}
	return session.Close(r.Context())
}

// pathID returns the ID in the request's path.
func pathID(r *http.Request) (uint64, error) {
	id, err := parseID(r.PathValue("id"))
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errBadRequest, err)
	}
	return id, nil
}

// get needs neither the leader nor the log: once the node has applied all that was committed before the request, its map is
// new enough. A header Session means nothing to a read, which takes no serial and may be asked for again.
func (s *server) get(w http.ResponseWriter, r *http.Request) error {
	key, _, err := readQuery(r, "key")
	if err != nil {
		return err
	}
	if _, err := s.node.EnsureLinearizable(r.Context()); err != nil {
		return fmt.Errorf("%w: %w", errNotRead, err)
	}
	value, found := s.store.get(key)
	if !found {
		return errNoSuchKey
	}
	_, err = io.WriteString(w, value)
	return err
}

func (s *server) put(w http.ResponseWriter, r *http.Request) error {
	key, old, err := readQuery(r, "key", "old")
	if err != nil {
		return err
	}
	value, err := readBody(w, r)
	if err != nil {
		return err
	}
	c := command{Op: "put", Key: key, Value: value}
	if old != nil {
		c.Op, c.Old = "swap", *old
	}
	a, err := s.propose(r, c)
	switch {
	case err != nil || a.Done:
		return err
	case !a.Found:
		return errNoSuchKey
	}
	w.WriteHeader(http.StatusPreconditionFailed)
	_, err = io.WriteString(w, a.Value)
	return err
}

func (s *server) delete(_ http.ResponseWriter, r *http.Request) error {
	key, _, err := readQuery(r, "key")
	if err != nil {
		return err
	}
	_, err = s.propose(r, command{Op: "delete", Key: key})
	return err
}

// readQuery returns the key of a request and, where there is one, the old value. The query has to be understood as a whole: a
// swap whose "old" is misspelt would be a put.
func readQuery(r *http.Request, allowed ...string) (key string, old *string, err error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return "", nil, fmt.Errorf("%w: query %q: %w", errBadRequest, r.URL.RawQuery, err)
	}
	for name, values := range query {
		if !slices.Contains(allowed, name) || len(values) > 1 {
			return "", nil, fmt.Errorf("%w: query has %s=%q, want one each of %v", errBadRequest, name, values, allowed)
		}
	}
	if query.Get("key") == "" {
		return "", nil, fmt.Errorf("%w: the key is empty, want /kv?key=KEY", errBadRequest)
	}
	if query.Has("old") {
		old = new(query.Get("old"))
	}
	return query.Get("key"), old, nil
}

func readBody(w http.ResponseWriter, r *http.Request) (string, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, valueBytesMax))
	if err != nil {
		return "", fmt.Errorf("%w: %w", errBadRequest, err)
	}
	return string(body), nil
}

// nodeStatus is what a node says of itself.
type nodeStatus struct {
	Node            codec.NodeID
	Role            string
	Leader          codec.NodeID // 0: none is known
	Term            codec.Term
	Applied, Commit codec.Index
	First, Snapshot codec.Index // first entry in the log, last one in the newest snapshot
	Members         string
}

func (s *server) status(w http.ResponseWriter, _ *http.Request) error {
	m := s.node.Metrics()
	return json.NewEncoder(w).Encode(nodeStatus{
		Node: s.node.NodeID(), Role: m.Role.String(), Leader: m.Leader, Term: m.Vote.Leader.Term,
		Applied: m.Applied, Commit: m.Commit, First: m.Snapshots.Purged.Index + 1, Snapshot: m.Snapshots.Newest.Index,
		Members: fmt.Sprint(m.Membership.Configs),
	})
}

func (s *server) addNode(w http.ResponseWriter, r *http.Request) error {
	address, err := readBody(w, r)
	if err != nil {
		return err
	}
	return s.change(r, func(id codec.NodeID) engine.Change { return engine.AddVoter(codec.Node{ID: id, Address: address}) })
}

func (s *server) removeNode(_ http.ResponseWriter, r *http.Request) error {
	return s.change(r, engine.Remove)
}

func (s *server) change(r *http.Request, change func(codec.NodeID) engine.Change) error {
	id, err := pathID(r)
	if err != nil {
		return err
	}
	_, err = s.node.ChangeMembership(r.Context(), change(codec.NodeID(id)))
	return err
}
