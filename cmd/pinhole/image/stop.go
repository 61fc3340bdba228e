package image

import (
	"context"
	"errors"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// ErrInterrupted ends a command that was told to stop (Ctrl-C, or SIGTERM), with what it changed put in
// order first.
var ErrInterrupted = errors.New("interrupted")

// interruptible returns a context that ends with the first signal to stop. The second ends the process at
// once, as does every one after the returned function was called.
func interruptible() (context.Context, func()) {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM, unix.SIGHUP)
	context.AfterFunc(ctx, cancel) // no longer caught
	return ctx, cancel
}

// stopped returns ErrInterrupted if the context has ended. Nil is a context that never ends.
func stopped(ctx context.Context) error {
	if ctx != nil && ctx.Err() != nil {
		return ErrInterrupted
	}
	return nil
}
