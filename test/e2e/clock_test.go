package e2e

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestClock makes a guest stand still until its clock would be seconds late, in each way that noid has: it shows the
// host's time afterwards. A clock that was set on purpose stays so over a checkpoint.
func TestClock(t *testing.T) {
	t.Parallel()
	n := setup(t)
	n.want(0, "create", "a", "--wait")
	agrees := func(after string) {
		t.Helper()
		before := time.Now().Add(-100 * time.Millisecond) // the agent leaves 20 ms alone
		guest, err := strconv.ParseInt(strings.TrimSpace(n.want(0, "exec", "a", "date", "+%s")), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if later := time.Now().Add(100 * time.Millisecond); guest < before.Unix() || guest > later.Unix() {
			t.Errorf("after %s the guest's clock shows %d, the host's %d to %d", after, guest, before.Unix(), later.Unix())
		}
	}
	agrees("the boot")
	lateness := func() (ms float64) {
		var list []struct {
			DowntimeMs float64 `json:"downtime_ms"`
		}
		if err := json.Unmarshal([]byte(n.want(0, "checkpoints", "a", "--json")), &list); err != nil {
			t.Fatal(err)
		}
		for _, c := range list {
			ms += c.DowntimeMs
		}
		return ms
	}
	for made := 0; made < 40 && lateness() < 2500; made++ { // with KVM, all are too short to add up to that
		n.want(0, "checkpoint", "a")
	}
	t.Logf("checkpoints: the guest stood still for %.0f ms", lateness())
	agrees("checkpoints")
	for range 10 {
		n.want(0, "fork", "a", "--as", "b")
		n.want(0, "destroy", "b")
	}
	agrees("forks")
	n.want(0, "pause", "a")
	time.Sleep(2500 * time.Millisecond) // the time that the guest must not miss
	n.want(0, "resume", "a")
	agrees("a pause")
	n.want(0, "exec", "a", "date", "-s", "@4000000000")
	n.want(0, "checkpoint", "a")
	if got := n.want(0, "exec", "a", "date", "+%s"); !strings.HasPrefix(got, "40000000") {
		t.Errorf("the guest's clock was set to 4000000000, a checkpoint made it %s", got)
	}
	n.want(0, "pause", "a")
	n.want(0, "resume", "a")
	agrees("a resume, of a clock that was set on purpose")
	n.want(0, "stop", "a")
	n.want(0, "start", "a")
	agrees("a start")
}
