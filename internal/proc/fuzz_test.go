package proc

import "testing"

// FuzzProcess reads a helper's arguments: what Args makes is read back.
func FuzzProcess(f *testing.F) {
	f.Add("1", "2", "3", "4", "host")
	f.Add("-1", "18446744073709551615", "", "0", "")
	f.Fuzz(func(t *testing.T, pid, ticks, boot, namespace, host string) {
		p, err := Parse([]string{pid, ticks, boot, namespace, host})
		if err != nil {
			return
		}
		if q, err := Parse(p.Args()); err != nil || q != p {
			t.Errorf("%+v becomes %+v, %v", p, q, err)
		}
	})
}
