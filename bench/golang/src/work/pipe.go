package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

const (
	stages      = 8
	messages    = 50_000
	messageSize = 64
)

// pipeline sends messages through a row of goroutines, each of which reads from one pipe, adds one, and writes
// to the next. An operation is a message's whole way.
func pipeline() (int, error) {
	failed := make(chan error, stages+1)
	first, in, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	out := first
	for range stages {
		r, w, err := os.Pipe()
		if err != nil {
			return 0, err
		}
		go func(from, to *os.File) {
			defer to.Close()
			b := make([]byte, messageSize)
			for {
				if _, err := io.ReadFull(from, b); err != nil {
					if !errors.Is(err, io.EOF) {
						failed <- err
					}
					return
				}
				binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)+1)
				if _, err := to.Write(b); err != nil {
					failed <- err
					return
				}
			}
		}(out, w)
		out = r
	}
	go func() {
		defer in.Close()
		b := make([]byte, messageSize)
		for i := range messages {
			binary.LittleEndian.PutUint64(b, uint64(i))
			if _, err := in.Write(b); err != nil {
				failed <- err
				return
			}
		}
	}()
	b := make([]byte, messageSize)
	for i := range messages {
		if _, err := io.ReadFull(out, b); err != nil {
			return 0, err
		}
		if got := binary.LittleEndian.Uint64(b); got != uint64(i+stages) {
			return 0, fmt.Errorf("message %d came as %d", i, got)
		}
	}
	select {
	case err := <-failed:
		return 0, err
	default:
		return messages, nil
	}
}

const roundTrips = 100_000

// roundTrip sends a byte to another goroutine and back, over two pipes.
func roundTrip() (int, error) {
	there, toThere, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	back, toBack, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	go func() {
		defer toBack.Close()
		b := make([]byte, 1)
		for {
			if _, err := there.Read(b); err != nil {
				return
			}
			if _, err := toBack.Write(b); err != nil {
				return
			}
		}
	}()
	b := make([]byte, 1)
	for range roundTrips {
		if _, err := toThere.Write(b); err != nil {
			return 0, err
		}
		if _, err := back.Read(b); err != nil {
			return 0, err
		}
	}
	return roundTrips, toThere.Close()
}
