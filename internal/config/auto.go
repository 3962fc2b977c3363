package config

import (
	"strconv"
	"time"

	"noid/internal/errs"
)

// The values of the key auto that are no time.
const (
	AutoExec = "exec" // before each command
	AutoOff  = "off"
)

// DefaultAutoKeep is how many checkpoints that noid made by itself a VM keeps.
const DefaultAutoKeep = 100

// A VM makes no checkpoint by itself more often than minAuto, which is longer than one takes.
const (
	minAuto = 10 * time.Second
	maxAuto = 365 * 24 * time.Hour
)

// ParseAuto accepts AutoExec, AutoOff or a time such as "5m", which it returns as time.Duration writes it. Anything else
// is errs.ErrUsage.
func ParseAuto(s string) (string, error) {
	if s == AutoExec || s == AutoOff {
		return s, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return "", errs.WithHint(usage("%q is neither exec nor off nor a time", s), "write exec, off, or a time such as 5m")
	}
	if d < minAuto || d > maxAuto {
		return "", errs.WithHint(usage("%s is not from %s to a year", s, minAuto), "write a time such as 5m")
	}
	return d.String(), nil
}

// parseKeep accepts how many automatic checkpoints stay.
func parseKeep(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > 1_000_000 {
		return 0, errs.WithHint(usage("%q is not a number from 1 to 1000000", s), "write how many stay")
	}
	return n, nil
}
