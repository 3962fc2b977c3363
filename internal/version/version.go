// Package version holds the version of noid and of its agent in the guest.
package version

// Release is noid's version. 'make VERSION=1.0' sets it by the linker; this is the default.
var Release = "0.1.0-dev"
