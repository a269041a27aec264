package codec

import "errors"

// The ways in which bytes fail to be a value. Every decoder returns one of them, bare or wrapped; none panics,
// and none allocates what a damaged length asks for.
var (
	// ErrCorrupt is wrapped by every error that says: these bytes are not what was written. Decoders return it for
	// bytes that are damaged, inconsistent, or cut short inside a structure of known size. The caller must not use the
	// value; a connection that delivered it ends, a log that holds it decides whether it is a torn tail or damage.
	ErrCorrupt = errors.New("corrupt")

	// ErrShort is returned, never wrapped, when src ends before the value does. A reader of a stream waits for more
	// bytes; a reader of a file treats it as a torn tail.
	ErrShort = errors.New("short buffer")

	// ErrVersion is wrapped when the format's version byte is one that this build does not know: a newer program wrote
	// it, or the byte is damaged. The caller refuses the file or the connection; it never skips the value.
	ErrVersion = errors.New("unknown format version")

	// ErrTooLarge is wrapped by decoders when a length exceeds its limit, found before anything of that length is
	// allocated: the caller ends the connection or treats the file as it does for ErrCorrupt. [SealFrame] returns it
	// for a batch that a frame can't hold: the caller makes smaller batches.
	ErrTooLarge = errors.New("too large")

	// ErrHeaderOnly is wrapped by [Frame.AppendEntries] for a frame without its entries, as a witness keeps it. The
	// caller asked the wrong node, or a log that a witness wrote.
	ErrHeaderOnly = errors.New("frame holds no entries")
)
