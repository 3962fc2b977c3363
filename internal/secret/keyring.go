package secret

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/zalando/go-keyring"

	"noid/internal/errs"
)

// service is the name of noid's items in the keyring.
const service = "noid"

// keyringWait is how long the keyring may take: it may ask the user for a password.
const keyringWait = time.Minute

// keyringThere finds out whether this user has a keyring that answers.
func keyringThere(ctx context.Context) error {
	_, err := keyringGet(ctx, "none")
	if errors.Is(err, keyring.ErrNotFound) {
		return nil
	}
	return err
}

func keyringGet(ctx context.Context, item string) (value string, err error) {
	err = ask(ctx, func() error {
		var err error
		value, err = keyring.Get(service, item)
		return err
	})
	if err != nil {
		return "", err
	}
	return value, nil
}

func keyringSet(ctx context.Context, item, value string) error {
	return ask(ctx, func() error { return keyring.Set(service, item, value) })
}

func keyringDelete(ctx context.Context, item string) error {
	err := ask(ctx, func() error { return keyring.Delete(service, item) })
	if errors.Is(err, keyring.ErrNotFound) {
		return nil
	}
	return err
}

// ask has f ask the keyring. Without a session bus it does not: a library would start one.
func ask(ctx context.Context, f func() error) error {
	if os.Getenv("DBUS_SESSION_BUS_ADDRESS") == "" {
		bus := fmt.Sprintf("/run/user/%d/bus", os.Getuid())
		if _, err := os.Stat(bus); err != nil {
			return errs.New(errs.ErrHost, "this user has no session bus, and so no keyring").Hint("'--store file' encrypts the value into noid's home instead")
		}
		os.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path="+bus)
	}
	ctx, cancel := context.WithTimeout(ctx, keyringWait)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		if err != nil {
			return errs.New(errs.ErrHost, "keyring: %w", err)
		}
		return nil
	case <-ctx.Done():
		return errs.New(errs.ErrTimeout, "the keyring does not answer: %w", ctx.Err()).Hint("unlock it")
	}
}
