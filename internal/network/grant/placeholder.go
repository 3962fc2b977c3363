package grant

import (
	"crypto/rand"
	"math/big"
	"strings"

	"noid/internal/errs"
)

const (
	lower  = "abcdefghijklmnopqrstuvwxyz"
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits = "0123456789"
	hex    = digits + "abcdef"
)

// minLetters is how many letters and digits make a value that is met nowhere by chance.
const minLetters = 8

// kinds begin tokens and say what they are. Programs look at them, and everybody knows them.
var kinds = []string{"github_pat_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "glpat-", "sk-ant-", "sk-proj-", "sk-or-", "sk-", "pk-", "sk_live_", "sk_test_",
	"xoxb-", "xoxp-", "xapp-", "npm_", "pypi-", "hf_", "dop_v1_", "gsk_", "AKIA", "ASIA", "AIza", "eyJ"}

const valueHint = "a secret is one line: a token, a key or a password"

// CheckValue accepts a value that can stand in a header and is told from other text. What it refuses is errs.ErrUsage;
// the error does not show the value.
func CheckValue(value string) error {
	switch {
	case value == "":
		return errs.New(errs.ErrUsage, "the value is empty").Hint(valueHint)
	case len(value) > MaxValue:
		return errs.New(errs.ErrUsage, "the value is longer than %d bytes", MaxValue).Hint(valueHint)
	case strings.ContainsRune(value, '\n'):
		return errs.New(errs.ErrUsage, "the value has more than one line").Hint(valueHint)
	case strings.TrimSpace(value) != value:
		return errs.New(errs.ErrUsage, "the value has blanks around it").Hint(valueHint)
	case !printable(value):
		return errs.New(errs.ErrUsage, "the value has other than printable ASCII in it").Hint(valueHint)
	case letters(value) < minLetters:
		return errs.New(errs.ErrUsage, "the value has fewer than %d letters and digits: noid could not tell it from other text", minLetters).Hint(valueHint)
	}
	return nil
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

func letters(s string) (n int) {
	for _, r := range s {
		if strings.ContainsRune(lower+upper+digits, r) {
			n++
		}
	}
	return n
}

// NewPlaceholder makes a text that looks like value and has nothing of it: as many bytes, a letter for a letter, a digit
// for a digit, the same punctuation. What everybody knows of a token, as ghp_, stays.
func NewPlaceholder(value string) string {
	kept := ""
	for _, kind := range kinds {
		if rest, ok := strings.CutPrefix(value, kind); ok && letters(rest) >= minLetters {
			kept = kind
			break
		}
	}
	rest := value[len(kept):]
	isHex := strings.Trim(rest, hex) == ""
	for {
		made := strings.Map(func(r rune) rune {
			switch {
			case isHex:
				return pick(hex)
			case strings.ContainsRune(lower, r):
				return pick(lower)
			case strings.ContainsRune(upper, r):
				return pick(upper)
			case strings.ContainsRune(digits, r):
				return pick(digits)
			}
			return r
		}, rest)
		if made != rest {
			return kept + made
		}
	}
}

func pick(from string) rune {
	n, _ := rand.Int(rand.Reader, big.NewInt(int64(len(from)))) // crypto/rand ends the program rather than fail
	return rune(from[n.Int64()])
}
