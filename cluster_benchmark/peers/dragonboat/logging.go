package main

import (
	"io"
	"log"

	"github.com/lni/dragonboat/v4/logger"
)

// quieten keeps the library, and pebble in it, from writing log lines. It must be called once, before the library is used.
func quieten() {
	log.SetOutput(io.Discard) // pebble's
	logger.SetLoggerFactory(func(string) logger.ILogger { return silent{} })
}

// silent is a logger that says nothing, but panics where the library wants that.
type silent struct{}

// SetLevel is not needed.
func (silent) SetLevel(logger.LogLevel) {}

// Debugf says nothing.
func (silent) Debugf(string, ...any) {}

// Infof says nothing.
func (silent) Infof(string, ...any) {}

// Warningf says nothing.
func (silent) Warningf(string, ...any) {}

// Errorf says nothing.
func (silent) Errorf(string, ...any) {}

// Panicf panics, with the text.
func (silent) Panicf(format string, args ...any) { log.Panicf(format, args...) }
