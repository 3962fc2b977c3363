package vm

import (
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"

	"noid/internal/errs"
)

// The words of invented names.
var (
	adjectives = strings.Fields(`able amber brave brisk calm clear clever cool cosy crisp dapper deft eager early easy fair fast fine fond
		free fresh gentle glad golden grand green happy honest jolly keen kind lively loyal lucky mellow merry mild modest neat nimble noble
		patient plain polite proud quick quiet rapid ready red sharp shiny silent silver smart snug solid spry steady sunny swift tidy
		warm wise witty`)
	animals = strings.Fields(`adder badger bat bear beaver bee bison boar bream carp cat cod crab crane crow deer dove duck eagle eel elk
		falcon ferret finch fox frog goat goose gull hare hawk heron ibex jay koala lark lion llama lynx magpie mole moose moth mouse newt
		otter owl panda perch pike puma quail rabbit raven robin seal shrew snail stork swan tiger toad trout viper whale wolf wren yak`)
)

// maxNameTries bounds how often a name is invented that another noid takes meanwhile.
const maxNameTries = 100

// inventName returns a name of two words, and a number once they are scarce, that neither a VM has nor the checkpoints
// of one.
func (m *Manager) inventName() string {
	for tries := 0; ; tries++ {
		name := adjectives[rand.IntN(len(adjectives))] + "-" + animals[rand.IntN(len(animals))]
		if tries >= maxNameTries {
			name += "-" + strconv.Itoa(tries)
		}
		if m.CheckKnown(name) != nil {
			return name
		}
	}
}

// named calls make with invented names until one is not another noid's meanwhile: errs.ErrExists says so.
func (m *Manager) named(make func(name string) error) (err error) {
	for range maxNameTries {
		if err = make(m.inventName()); !errors.Is(err, errs.ErrExists) {
			return err
		}
	}
	return err
}
