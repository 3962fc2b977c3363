package sample

import "os"

var remove = os.Remove

var made = os.Mkdir("left alone", 0)

var table = []struct {
	do func(string) error
}{
	{os.Remove},
	{func(name string) error { return os.Chmod(name, 0) }},
}

func values(f *os.File) {
	each(nil, os.Remove)
	each(nil, (*os.File).Sync)
	chown := f.Chown
	chown(0, 0)
	stat := os.Lstat
	stat("a")
}

func each[T any](all []T, do func(T) error) {}
