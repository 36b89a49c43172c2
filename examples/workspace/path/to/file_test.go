package limiter

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestASecondRequestIsTurnedAwayWhenTheOnlySlotIsTaken(t *testing.T) {
	t.Setenv("LIMITER_SLOTS", "1")
	l, err := New(time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	inside := func(ctx context.Context) error {
		return l.Do(ctx, nil, func(context.Context) error { return nil })
	}
	if err := l.Do(context.Background(), nil, inside); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v, want ErrBusy", err)
	}
}
