package codec

import "errors"

// ErrCorrupt is wrapped by every error that says: these bytes are not what was written. Decoders return it for bytes
// that are damaged, cut short inside a structure, or inconsistent; the caller must not use the value, and a connection
// that delivered it ends.
var ErrCorrupt = errors.New("corrupt")

// ErrShort is returned when src ends before the value does. A reader of a stream waits for more bytes; a reader of a
// file treats it as a torn tail.
var ErrShort = errors.New("short buffer")

// ErrVersion is wrapped when the format's version byte is one this build does not know. It is refused, never skipped.
var ErrVersion = errors.New("unknown format version")

// ErrTooLarge is wrapped when a length exceeds its limit. It is found before anything of that length is allocated.
var ErrTooLarge = errors.New("too large")
