package engine

import (
	"path/filepath"
	"testing"

	"github.com/millrace/millrace/engine/storagetest"
	"github.com/millrace/millrace/pipeline"
)

// TestLogsConform: the logs that a node opens by itself pass what a user's own must.
func TestLogsConform(t *testing.T) {
	t.Run("directory", func(t *testing.T) {
		storagetest.Log(t, storagetest.LogConfig{New: func(t testing.TB) storagetest.LogPlace {
			c, err := Config{NodeID: 7, ClusterID: "conformance", Dir: filepath.Join(t.TempDir(), "node"), Listen: "127.0.0.1:0"}.withDefaults()
			if err != nil {
				t.Fatal(err)
			}
			return storagetest.LogPlace{Open: func() (pipeline.Log, error) { return openLog(&c) }}
		}})
	})
	t.Run("memory", func(t *testing.T) {
		storagetest.Log(t, storagetest.LogConfig{Forgets: true, New: func(testing.TB) storagetest.LogPlace {
			return storagetest.LogPlace{Open: func() (pipeline.Log, error) { return MemoryLog(), nil }}
		}})
	})
}
