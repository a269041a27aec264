package shipment

import "errors"

// ErrRefused is wrapped by the reason of a sender whose peer can't take the snapshot. Another attempt may go better.
var ErrRefused = errors.New("the peer refused the snapshot")

// ErrDamaged is wrapped beside [ErrRefused] where the peer found that it does not verify, or that it is of a version it does not
// know, which a damaged byte may say as well. The sender's own copy is to be looked at.
var ErrDamaged = errors.New("the snapshot does not verify")

// ErrSuperseded is wrapped by the reason of a sender whose peer follows a greater vote.
var ErrSuperseded = errors.New("the peer follows another leader")

// ErrSilent is wrapped by the reason of a sender whose peer has not answered for [SenderConfig.SilenceMax].
var ErrSilent = errors.New("the peer does not answer")
