package main

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/millrace/millrace/engine"
	"github.com/millrace/millrace/engine/storagetest"
)

// TestStoreConforms is the test that any state machine can have: package storagetest knows what a node demands of it.
func TestStoreConforms(t *testing.T) {
	storagetest.StateMachine(t, storagetest.MachineConfig{
		New: func(testing.TB) storagetest.MachinePlace {
			return storagetest.MachinePlace{Open: func() (engine.StateMachine, error) {
				return &store{values: map[string]string{}}, nil
			}}
		},
		Command: func(i int) []byte {
			c := command{Op: "put", Key: fmt.Sprint("key", i%7), Value: fmt.Sprint("value", i)}
			switch {
			case i%5 == 3:
				c = command{Op: "delete", Key: fmt.Sprint("key", (i-1)%7)}
			case i%5 == 4:
				c = command{Op: "swap", Key: fmt.Sprint("key", (i-4)%7), Value: fmt.Sprint("swapped", i), Old: fmt.Sprint("value", i-4)}
			}
			data, err := json.Marshal(c)
			if err != nil {
				panic(err)
			}
			return data
		},
		State: func(m engine.StateMachine) (string, error) {
			state, err := json.Marshal(m.(*store).values) // sorted by key
			return string(state), err
		},
	})
}
