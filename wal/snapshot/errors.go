package snapshot

import "errors"

// ErrClosed is wrapped by what is asked of a store, writer, reader or receiver that has ended.
var ErrClosed = errors.New("closed")

// ErrNotHeld is wrapped for a snapshot that the store does not hold, any more. The caller takes a newer one.
var ErrNotHeld = errors.New("snapshot is not held")

// ErrForeign is wrapped by [Open] for a file of another cluster or group, and by [Receiver.Write] for a snapshot of one.
// Nothing was changed. The caller corrects its configuration, or refuses the sender.
var ErrForeign = errors.New("snapshot belongs to somebody else")

// ErrOffset is wrapped by [Receiver.Write] for bytes that do not start at its offset. The transfer is unharmed: the sender
// goes on from [Receiver.Offset].
var ErrOffset = errors.New("bytes out of order")

// ErrIncomplete is wrapped by [Receiver.Finish] while bytes are missing. The transfer is unharmed.
var ErrIncomplete = errors.New("snapshot is incomplete")

// ErrStateless is wrapped by [Writer.Write] for a snapshot that was to hold no state. The writer has failed.
var ErrStateless = errors.New("snapshot holds no state")
