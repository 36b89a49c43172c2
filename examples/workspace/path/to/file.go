// Package limiter keeps a service from taking more requests than it can work on.
//
// A Limiter hands out a fixed number of slots. A request that finds none waits for one, up to a bound, and is turned
// away with ErrBusy after that.
package limiter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

// ErrBusy is returned when no slot came free in time.
var ErrBusy = errors.New("limiter: busy")

const defaultSlots = 64

// Limiter hands out slots. Create it with New.
type Limiter struct {
	slots   chan struct{}
	maxWait time.Duration
	refused atomic.Int64
}

// Waiter is told how long a request had to wait.
type Waiter interface {
	Waited(d time.Duration)
}

// New returns a Limiter with the number of slots that LIMITER_SLOTS names, or 64.
func New(maxWait time.Duration) (*Limiter, error) {
	slots := defaultSlots
	if text := os.Getenv("LIMITER_SLOTS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("limiter: LIMITER_SLOTS must be a positive number, not %q", text)
		}
		slots = n
	}
	return &Limiter{slots: make(chan struct{}, slots), maxWait: maxWait}, nil
}

// Do runs work while it holds a slot.
func (l *Limiter) Do(ctx context.Context, w Waiter, work func(context.Context) error) error {
	start := time.Now()
	if err := l.take(ctx); err != nil {
		return err
	}
	defer func() { <-l.slots }()
	if w != nil {
		w.Waited(time.Since(start))
	}
	return work(ctx)
}

// Refused tells how many requests were turned away.
func (l *Limiter) Refused() int64 { return l.refused.Load() }

func (l *Limiter) take(ctx context.Context) error {
	timer := time.NewTimer(l.maxWait)
	defer timer.Stop()
	select {
	case l.slots <- struct{}{}:
		return nil
	case <-timer.C:
		l.refused.Add(1)
		return ErrBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}
