package storagetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/millrace/millrace/codec"
	"github.com/millrace/millrace/pipeline"
	"github.com/millrace/millrace/wal/vfs"
)

// register keeps values by key in one file, together with the log id of the last entry whose effect is in it. The file is
// written aside, synced and renamed, and the directory synced: what is small may be kept so.
type register struct {
	fsys    vfs.FS
	content registerContent
}

type registerContent struct {
	Last   codec.LogID
	Values map[string]string
}

const registerFile = "register.json"

func openRegister(fsys vfs.FS) (*register, error) {
	r := &register{fsys: fsys, content: registerContent{Values: map[string]string{}}}
	b, err := vfs.ReadFile(fsys, registerFile, nil)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return r, nil
	case err != nil:
		return nil, err
	}
	return r, json.Unmarshal(b, &r.content)
}

// Apply takes "key value" and answers with the value before.
func (r *register) Apply(entries []pipeline.Entry, results []pipeline.Result) error {
	for i, e := range entries {
		var key, value string
		if _, err := fmt.Sscanf(string(e.Data), "%s %s", &key, &value); err != nil {
			return fmt.Errorf("entry %v: %w", e.ID, err)
		}
		results[i].Data = []byte(r.content.Values[key])
		r.content.Values[key] = value
		r.content.Last = e.ID
	}
	return nil
}

func (r *register) Applied() (codec.LogID, error) { return r.content.Last, nil }

func (r *register) Sync() (codec.LogID, error) {
	b, err := json.Marshal(r.content)
	if err != nil {
		return codec.LogID{}, err
	}
	const aside = registerFile + ".new"
	f, err := r.fsys.OpenFile(aside, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return codec.LogID{}, err
	}
	if _, err = f.WriteAt(b, 0); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = r.fsys.Rename(aside, registerFile)
	}
	if err == nil {
		err = r.fsys.SyncDir("/")
	}
	return r.content.Last, err
}

func (r *register) Snapshot() (pipeline.SnapshotSource, error) {
	return registerSource{r.content.Last, maps.Clone(r.content.Values)}, nil
}

func (r *register) Restore(from io.Reader) error {
	b, err := io.ReadAll(from)
	if err != nil {
		return err
	}
	next := registerContent{Values: map[string]string{}}
	if err := json.Unmarshal(b, &next); err != nil {
		return err
	}
	r.content = next
	return nil
}

func (r *register) Adopt(from io.Reader, at codec.LogID) error {
	if err := r.Restore(from); err != nil {
		return err
	}
	r.content.Last = at
	return nil
}

type registerSource registerContent

func (s registerSource) WriteTo(w io.Writer) (int64, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return 0, err
	}
	n, err := w.Write(b)
	return int64(n), err
}

func (s registerSource) Close() error { return nil }

// TestOnDiskRegister: a state machine that really keeps its state, under power cuts.
func TestOnDiskRegister(t *testing.T) {
	StateMachine(t, MachineConfig{
		New: func(testing.TB) MachinePlace {
			mem, seed := vfs.NewMem(), uint64(0)
			return MachinePlace{
				Open:  func() (pipeline.StateMachine, error) { return openRegister(mem) },
				Crash: func() { seed++; mem = mem.Crash(vfs.RandomCrash(seed)) },
			}
		},
		Command: func(i int) []byte { return fmt.Appendf(nil, "key%d value%d", i%7, i) },
		State: func(m pipeline.StateMachine) (string, error) {
			values := m.(*register).content.Values
			state := ""
			for _, key := range slices.Sorted(maps.Keys(values)) {
				state += key + "=" + values[key] + "\n"
			}
			return state, nil
		},
	})
}
