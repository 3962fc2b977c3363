package server

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// addrGroups are those of rtnetlink(7) that are told of addresses.
const addrGroups = 1<<(unix.RTNLGRP_IPV4_IFADDR-1) | 1<<(unix.RTNLGRP_IPV6_IFADDR-1)

// watchAddrs calls changed after this host got an address or lost one, until ctx ends.
func watchAddrs(ctx context.Context, changed func()) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "rtnetlink")
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: addrGroups}); err != nil {
		f.Close()
		return err
	}
	go func() {
		defer f.Close()
		defer context.AfterFunc(ctx, func() { f.Close() })()
		for message := make([]byte, 64<<10); ; {
			if _, err := f.Read(message); err != nil && !errors.Is(err, unix.ENOBUFS) { // too many changes to keep
				return
			}
			changed()
		}
	}()
	return nil
}

// readdress has flows that lead to an address which is this host's now end.
func (s *Server) readdress() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.policy.Load()
	now.host.forget()
	if now.host.refresh(now.Policy) == nil {
		s.stack.SetPolicy(inside{now})
	}
}
