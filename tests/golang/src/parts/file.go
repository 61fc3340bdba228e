package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

func files([]string) {
	dir, err := os.MkdirTemp("", "parts")
	check(err)
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "a", "b")
	check(os.MkdirAll(filepath.Dir(name), 0o750))
	check(os.WriteFile(name, bytes.Repeat([]byte("0123456789"), 10_000), 0o640))
	check(os.Symlink("b", filepath.Join(dir, "a", "c")))
	check(os.Rename(name, name+"2"))
	check(os.Rename(name+"2", name))
	f, err := os.OpenFile(filepath.Join(dir, "a", "c"), os.O_RDWR|os.O_APPEND, 0)
	check(err)
	_, err = f.WriteString("end")
	check(err)
	b := make([]byte, 5)
	_, err = f.ReadAt(b, 99_998)
	check(err)
	check(f.Truncate(100))
	check(f.Sync())
	check(f.Close())
	check(filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		check(err)
		i, err := d.Info()
		check(err)
		size := i.Size()
		if d.IsDir() {
			size = 0
		}
		fmt.Println(strings.TrimPrefix(path, dir), i.Mode(), size)
		return nil
	}))
	_, err = os.Stat(name + "x")
	fmt.Println(string(b), errors.Is(err, os.ErrNotExist))
}

func pipes([]string) {
	r, w, err := os.Pipe()
	check(err)
	go func() {
		for i := range 1000 {
			fmt.Fprintf(w, "%d\n", i)
			if i%100 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		w.Close()
	}()
	all, err := io.ReadAll(r)
	check(err)
	fmt.Println(len(all), bytes.Count(all, []byte("\n")))
}

func deadline([]string) {
	r, w, err := os.Pipe()
	check(err)
	check(r.SetReadDeadline(time.Now().Add(5 * time.Millisecond)))
	_, err = r.Read(make([]byte, 1))
	fmt.Println(errors.Is(err, os.ErrDeadlineExceeded))
	check(r.SetReadDeadline(time.Time{}))
	go func() { time.Sleep(time.Millisecond); r.Close() }()
	_, err = r.Read(make([]byte, 1))
	fmt.Println(errors.Is(err, os.ErrClosed), w.Close())
}
