// Command app is all that there is in the root filesystem of the tests' bare guest. It shows what a command there sees.
package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
)

func main() {
	args := append(os.Args[1:], "")
	switch args[0] {
	case "":
		fmt.Println("hello")
	case "args":
		for _, arg := range os.Args[2:] {
			fmt.Println(arg)
		}
	case "env":
		for _, v := range os.Environ() {
			fmt.Println(v)
		}
	case "cat":
		if _, err := io.Copy(os.Stdout, os.Stdin); err != nil {
			fmt.Fprintln(os.Stderr, "app:", err)
			os.Exit(1)
		}
	case "ls":
		entries, err := os.ReadDir(args[1])
		for _, e := range entries {
			fmt.Println(e.Name())
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "app:", err)
			os.Exit(1)
		}
	case "exit":
		code, err := strconv.Atoi(args[1])
		if err == nil {
			os.Exit(code)
		}
		fallthrough
	default:
		fmt.Fprintln(os.Stderr, "usage: app [args WORD...|env|cat|ls DIR|exit CODE]")
		os.Exit(2)
	}
}
