package netio

import (
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

func TestReportsAreNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLogSink()
		r := newReporter(log.logger())
		say := func(key string) { r.report(slog.LevelWarn, key, "said "+key) }
		for range 10 {
			say("dial 2 x")
			say("dial 3 x")
		}
		if n, m := log.count("said dial 2 x"), log.count("said dial 3 x"); n != 1 || m != 1 {
			t.Errorf("%d and %d lines at once, want one each", n, m)
		}
		time.Sleep(reportInterval)
		say("dial 2 x")
		if n, m := log.count("said dial 2 x"), log.count("repeated=9"); n != 2 || m != 1 {
			t.Errorf("%d lines after the interval, %d that tell of nine left out", n, m)
		}
		r.forget("dial 2 ")
		say("dial 2 x")
		if n := log.count("said dial 2 x"); n != 3 {
			t.Errorf("%d lines after what failed was mended, want 3", n)
		}
		for i := range 10 * reportKeysMax {
			say(fmt.Sprint("stranger ", i))
		}
		if len(r.seen) > reportKeysMax {
			t.Errorf("%d keys remembered, limit %d", len(r.seen), reportKeysMax)
		}
	})
}

func TestCausesHaveNames(t *testing.T) {
	seen := make(map[string]bool)
	for c := range CauseEnd {
		if c.String() == "" || seen[c.String()] {
			t.Errorf("cause %d is named %q", c, c)
		}
		seen[c.String()] = true
	}
	if CauseEnd.String() != fmt.Sprintf("Cause(%d)", len(causeNames)) {
		t.Errorf("%d names for %v", len(causeNames), CauseEnd)
	}
}
