package safety

// Set makes m what other is, which must not be used any more: a state that was restored.
func (m *Machine) Set(other *Machine) {
	m.identified, m.clients, m.applied, m.sum = other.identified, other.clients, other.applied, other.sum
	m.hash, m.violation, m.last = other.hash, other.violation, other.last
	m.published.Store(uint64(m.last))
}
