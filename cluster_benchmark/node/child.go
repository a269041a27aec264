package node

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"

	"github.com/millrace/millrace/cluster_benchmark/result"
)

// Child runs a node for the process that started this one: a [Config] as a line of JSON on in, a line on out once it serves.
// It ends when in does, so that no node outlives who started it, however that one ended. The error is what kept the node from
// being opened, or what it failed with.
func Child(in io.Reader, out io.Writer, build result.Build) error {
	lines := bufio.NewReader(in)
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("configuration on standard input: %w, want one line of JSON", err)
	}
	var cfg Config
	if err := json.Unmarshal(line, &cfg); err != nil {
		return fmt.Errorf("configuration on standard input: %w", err)
	}
	n, err := Open(cfg, build)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(out).Encode(ready{Clients: n.Addr()}); err == nil {
		_, _ = io.Copy(io.Discard, lines) // however it ends, who started this process is gone or wants it to end
	}
	return n.Close()
}
