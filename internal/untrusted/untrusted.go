// Package untrusted handles what a guest, or a VMM that a guest has taken over, may have made: text that is shown to
// people, and files in a VM's directory. No escape sequence gets through, and no open follows a link or waits.
package untrusted
