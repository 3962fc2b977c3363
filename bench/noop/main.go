// Command noop does nothing: what starting a Go program costs, for the bench.
package main

func main() {}
