package node

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/millrace/millrace/cluster_benchmark/setting"
	"github.com/millrace/millrace/codec"
)

// Config says how a node runs.
type Config struct {
	// Cluster names the cluster, Node is the number of this node in it, 1 to the number of members.
	Cluster string       `yaml:"cluster" json:"cluster"`
	Node    codec.NodeID `yaml:"node" json:"node"`
	// Peers and Clients are host:port to listen on, for the other nodes and for clients. Port 0 takes a free one.
	Peers   string `yaml:"peers" json:"peers"`
	Clients string `yaml:"clients" json:"clients"`
	// Store is where the log is kept, memory or wal; with wal, in the directory Dir, which is made if it does not exist.
	Store string `yaml:"store" json:"store"`
	Dir   string `yaml:"dir" json:"dir"`
	// Members are all nodes of the cluster, each with the address at which it listens for its peers. A node that is started
	// by a run has none: it is told.
	Members map[codec.NodeID]string `yaml:"members" json:"members"`
	// Insecure allows addresses beyond loopback, although neither peers nor clients are authenticated.
	Insecure bool `yaml:"insecure" json:"insecure"`
	// Stages says whether the engine measures where the time of puts goes: on, which it is by default, or off.
	Stages string `yaml:"stages" json:"stages"`
}

// Example is a configuration as the command's help shows it.
const Example = `cluster: bench              # the same on all nodes
node: 1                     # this one's number, as below
peers: 10.0.0.1:7001        # listens there for the other nodes
clients: 10.0.0.1:7101      # listens there for "run --connect"
store: wal                  # or memory; wal is fsynced before anything is acknowledged
dir: /var/tmp/millrace-1    # of this node alone; with store wal
members:                    # every node, with its "peers" address
  1: 10.0.0.1:7001
  2: 10.0.0.2:7001
  3: 10.0.0.3:7001
insecure: true              # allows addresses beyond loopback: nobody who connects is authenticated
`

// configKeys lists what a configuration may hold.
const configKeys = "cluster, node, peers, clients, store, dir, members, insecure, stages"

// ParseConfig reads a node's configuration, YAML as in [Example]. file is the name that errors carry; insecure allows what
// the key does. Every error is a [setting.ProfileError].
func ParseConfig(file string, data []byte, insecure bool) (Config, error) {
	var c Config
	if err := yaml.UnmarshalWithOptions(data, &c, yaml.Strict()); err != nil {
		return c, configError(file, err)
	}
	c.Insecure = c.Insecure || insecure
	if len(c.Members) == 0 {
		return c, &setting.ProfileError{File: file, Problem: "members: none, want each node's number and address for its peers, as in \"1: 10.0.0.1:7001\""}
	}
	if err := c.check(); err != nil {
		return c, &setting.ProfileError{File: file, Problem: err.Error()}
	}
	return c, nil
}

// configError makes one line of the parser's message, which otherwise shows the source around it.
func configError(file string, err error) error {
	var y yaml.Error
	if !errors.As(err, &y) {
		return &setting.ProfileError{File: file, Problem: strings.Join(strings.Fields(err.Error()), " ")}
	}
	at := 0
	if t := y.GetToken(); t != nil {
		at = t.Position.Line
	}
	problem := strings.Join(strings.Fields(y.GetMessage()), " ")
	var unknown *yaml.UnknownFieldError
	if errors.As(err, &unknown) {
		problem += ", known: " + configKeys
	}
	return &setting.ProfileError{File: file, Line: at, Problem: problem}
}

// check says on one line what can't be used.
func (c *Config) check() error {
	if c.Cluster == "" || len(c.Cluster) > codec.ClusterIDBytesMax {
		return configf("cluster", c.Cluster, "a name of 1 to %d bytes", codec.ClusterIDBytesMax)
	}
	if c.Node == 0 {
		return configf("node", "0", "this node's number, from 1")
	}
	if stores := []string{setting.StoreMemory, setting.StoreWAL}; !slices.Contains(stores, c.Store) {
		return configf("store", c.Store, "%s", strings.Join(stores, " or "))
	}
	if (c.Dir == "") != (c.Store == setting.StoreMemory) {
		return configf("dir", c.Dir, "a directory with store wal, none with store memory")
	}
	if c.Stages != "" && c.Stages != "on" && c.Stages != "off" {
		return configf("stages", c.Stages, "on or off")
	}
	for _, listen := range []struct{ key, address string }{{"peers", c.Peers}, {"clients", c.Clients}} {
		if err := c.checkListen(listen.key, listen.address); err != nil {
			return err
		}
	}
	return c.checkMembers()
}

// checkListen refuses addresses beyond loopback, unless that is allowed. Without a host it would be all of them.
func (c *Config) checkListen(key, address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return configf(key, address, "host:port to listen on")
	}
	if c.Insecure {
		return nil
	}
	addresses, err := net.LookupIP(host)
	if host != "" && err != nil {
		return configf(key, address, "a host that can be found: %v", err)
	}
	if host == "" || slices.ContainsFunc(addresses, func(ip net.IP) bool { return !ip.IsLoopback() }) {
		return configf(key, address, "an address of loopback; others need --insecure (insecure: true), since nobody who connects is authenticated")
	}
	return nil
}

func (c *Config) checkMembers() error {
	if len(c.Members) == 0 {
		return nil
	}
	for id := codec.NodeID(1); id <= codec.NodeID(len(c.Members)); id++ {
		address, ok := c.Members[id]
		if !ok {
			return configf("members", fmt.Sprintf("%d without number %d", len(c.Members), id), "the numbers from 1 on")
		}
		if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" || port == "0" {
			return configf("members", fmt.Sprintf("%d: %s", id, address), "host:port at which the other nodes reach it")
		}
	}
	if _, ok := c.Members[c.Node]; !ok {
		return configf("node", fmt.Sprint(c.Node), "one of the members, 1 to %d", len(c.Members))
	}
	return nil
}

func configf(key, value, format string, args ...any) error {
	return &setting.ValueError{Setting: key, Value: value, Want: fmt.Sprintf(format, args...)}
}
