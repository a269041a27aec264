package target

// handoff answers each put as soon as it was handed to one goroutine.
type handoff struct{ *door }

func openHandoff() (*handoff, error) {
	d, err := newDoor()
	if err != nil {
		return nil, err
	}
	h := &handoff{d}
	go h.run()
	return h, nil
}

func (h *handoff) run() {
	defer close(h.done)
	for {
		batches, last := h.take()
		for _, b := range batches {
			h.answer(b)
		}
		if last {
			return
		}
	}
}

// Close answers what waits and ends the goroutine.
func (h *handoff) Close() error {
	h.shut()
	return nil
}
