package firecracker

import (
	"fmt"
	"strconv"

	"noid/internal/errs"
	"noid/internal/lazy"
)

// version is a Firecracker release. The API refuses fields that it does not know, so each is sent only where it exists.
type version struct {
	text         string // as printed, without the "v"
	major, minor int
}

// versionText is found in `firecracker --version` ("Firecracker v1.16.1") and in GET /version ("1.17.0-dev").
var versionText = lazy.Regexp(`\b[vV]?((\d{1,4})\.(\d{1,4})\.\d{1,4}(?:-[0-9A-Za-z.-]{1,40})?)(?:\s|$)`)

func parseVersion(s string) (version, bool) {
	match := versionText().FindStringSubmatch(s)
	if match == nil {
		return version{}, false
	}
	major, _ := strconv.Atoi(match[2]) // digits, by the expression
	minor, _ := strconv.Atoi(match[3])
	return version{match[1], major, minor}, true
}

func (v version) atLeast(major, minor int) bool {
	return v.major > major || v.major == major && v.minor >= minor
}

// Where fields of the API came in, from Firecracker's CHANGELOG.md.

// tracksAtLoad: PUT /snapshot/load has track_dirty_pages since 1.13; enable_diff_snapshots before is the same.
func (v version) tracksAtLoad() bool { return v.atLeast(1, 13) }

// setsClock: PUT /snapshot/load has clock_realtime since 1.16.
func (v version) setsClock() bool { return v.atLeast(1, 16) }

// limitsSerial: PUT /serial has rate_limiter since 1.16.
func (v version) limitsSerial() bool { return v.atLeast(1, 16) }

// reportsFree: PUT /balloon has free_page_reporting since 1.14.
func (v version) reportsFree() bool { return v.atLeast(1, 14) }

// check refuses what is too old: snapshots of 1.11 and before have another format and network interfaces cannot be
// renamed at load.
func (v version) check() error {
	if v.atLeast(1, 12) {
		return nil
	}
	return errs.Host("start firecracker", fmt.Errorf("version %s is too old", v.text)).Hint(install)
}
