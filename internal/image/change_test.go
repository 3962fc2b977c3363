package image

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"noid/internal/errs"
)

func TestChange(t *testing.T) {
	old := Config{Env: []string{"PATH=/bin", "A=1"}, User: "nobody", WorkingDir: "/srv", Entrypoint: []string{"/init"}, Cmd: []string{"serve"}}
	for _, test := range []struct {
		lines []string
		want  func(*Config)
	}{
		{nil, func(*Config) {}},
		{[]string{`CMD ["a", "b c"]`}, func(c *Config) { c.Cmd = []string{"a", "b c"} }},
		{[]string{`cmd a  "b c"`}, func(c *Config) { c.Cmd = []string{"/bin/sh", "-c", `a  "b c"`} }},
		{[]string{`CMD []`}, func(c *Config) { c.Cmd = []string{} }},
		{[]string{`ENTRYPOINT ["/other"]`}, func(c *Config) { c.Entrypoint, c.Cmd = []string{"/other"}, nil }},
		{[]string{`ENTRYPOINT ["/other"]`, `CMD ["x"]`}, func(c *Config) { c.Entrypoint, c.Cmd = []string{"/other"}, []string{"x"} }},
		{[]string{`CMD ["x"]`, `ENTRYPOINT ["/other"]`}, func(c *Config) { c.Entrypoint, c.Cmd = []string{"/other"}, []string{"x"} }},
		{[]string{`ENV A=2 B="x y" C=d\ e D='"' E=`}, func(c *Config) { c.Env = []string{"PATH=/bin", "A=2", "B=x y", "C=d e", `D="`, "E="} }},
		{[]string{`ENV A the rest = all`}, func(c *Config) { c.Env = []string{"PATH=/bin", "A=the rest = all"} }},
		{[]string{`USER 1000:1000`, `WORKDIR app`}, func(c *Config) { c.User, c.WorkingDir = "1000:1000", "/srv/app" }},
		{[]string{`WORKDIR /opt/../tmp/`}, func(c *Config) { c.WorkingDir = "/tmp" }},
	} {
		got, want := old, old
		test.want(&want)
		if err := got.Change(test.lines); err != nil {
			t.Errorf("%q: %v", test.lines, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", test.lines, diff)
		}
	}
	for _, line := range []string{"", "CMD", "RUN make", "ENV", "ENV =x", "ENV A='x", "USER a b", "WORKDIR", "EXPOSE 80", "USER x\x00"} {
		if err := (&Config{}).Change([]string{line}); !errors.Is(err, errs.ErrUsage) || errs.Hint(err) == "" {
			t.Errorf("%q: %v", line, err)
		}
	}
}
