package base

import (
	"encoding/binary"
	"errors"
)

const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
	aclUser    = 2
	aclGroup   = 8
)

// acl makes of an access control list as the system calls have it (linux/posix_acl_xattr.h) one as ext4 has it
// (fs/ext4/acl.h): only users and groups have a number.
func acl(value string) (string, error) {
	in, le := []byte(value), binary.LittleEndian
	if len(in) < 4 || len(in)%8 != 4 || le.Uint32(in) != 2 {
		return "", errors.New("not an access control list")
	}
	out := le.AppendUint32(nil, 1)
	for in = in[4:]; len(in) > 0; in = in[8:] {
		out = append(out, in[:4]...)
		if tag := le.Uint16(in); tag == aclUser || tag == aclGroup {
			out = append(out, in[4:8]...)
		}
	}
	return string(out), nil
}
