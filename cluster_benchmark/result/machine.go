package result

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/shirou/gopsutil/v4/cpu"
	"github.com/shirou/gopsutil/v4/disk"
	"github.com/shirou/gopsutil/v4/host"
	"github.com/shirou/gopsutil/v4/mem"
)

// Machine says where was measured. What the system does not tell is "unknown" or 0.
type Machine struct {
	OS         string `json:"os"`   // as Go says it: linux
	Arch       string `json:"arch"` // amd64
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	Memory     uint64 `json:"memory_bytes"`
	Kernel     string `json:"kernel"`
	Filesystem string `json:"filesystem"` // of the data directories
}

const unknown = "unknown"

// Kind names machines that figures may be compared between: system, architecture, processor and number of cores, in a form
// that can be the name of a folder.
func (m Machine) Kind() string {
	words := strings.FieldsFunc(strings.ToLower(strings.Join([]string{m.OS, m.Arch, m.CPU}, " ")), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	return fmt.Sprintf("%s-%dc", strings.Join(words, "-"), m.Cores)
}

// ThisMachine describes this machine and the filesystem that holds dir.
func ThisMachine(dir string) Machine {
	m := Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, CPU: unknown, Cores: runtime.NumCPU(), Kernel: unknown, Filesystem: filesystem(dir)}
	if info, err := cpu.Info(); err == nil && len(info) > 0 && info[0].ModelName != "" {
		m.CPU = info[0].ModelName
	}
	if memory, err := mem.VirtualMemory(); err == nil {
		m.Memory = memory.Total
	}
	if kernel, err := host.KernelVersion(); err == nil && kernel != "" {
		m.Kernel = kernel
	}
	return m
}

// filesystem returns the type of the mount that holds dir: the one with the longest path above it.
func filesystem(dir string) string {
	path, err := filepath.Abs(dir)
	if err != nil {
		return unknown
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	mounts, err := disk.Partitions(true)
	if err != nil {
		return unknown
	}
	found, longest := unknown, -1
	for _, m := range mounts {
		if below(path, m.Mountpoint) && len(m.Mountpoint) >= longest {
			found, longest = m.Fstype, len(m.Mountpoint)
		}
	}
	return found
}

func below(path, mount string) bool {
	return path == mount || strings.HasPrefix(path, strings.TrimSuffix(mount, "/")+"/")
}
