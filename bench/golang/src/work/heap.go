package main

import "fmt"

// node is a node of a tree that is as deep on all sides.
type node struct{ left, right *node }

func tree(depth int) *node {
	if depth == 0 {
		return &node{}
	}
	return &node{tree(depth - 1), tree(depth - 1)}
}

func (n *node) count() int {
	if n.left == nil {
		return 1
	}
	return 1 + n.left.count() + n.right.count()
}

// deepest is how deep the trees of binaryTrees get: 2^18 nodes of 16 bytes in the one that stays.
const deepest = 17

// binaryTrees makes and counts many short-lived trees of all depths beside one that stays, so that most of the
// time goes to allocation and collection. An operation is the whole of it.
func binaryTrees() (int, error) {
	long := tree(deepest)
	for depth := 4; depth <= deepest; depth += 4 {
		rounds := 1 << (deepest - depth + 4)
		results := make(chan int, 4)
		for range cap(results) {
			go func() {
				sum := 0
				for range rounds / cap(results) {
					sum += tree(depth).count()
				}
				results <- sum
			}()
		}
		sum := 0
		for range cap(results) {
			sum += <-results
		}
		if want := rounds / 4 * 4 * (2<<depth - 1); sum != want {
			return 0, fmt.Errorf("%d nodes at depth %d instead of %d", sum, depth, want)
		}
	}
	if n := long.count(); n != 2<<deepest-1 {
		return 0, fmt.Errorf("%d nodes in the tree that stays", n)
	}
	return 1, nil
}

// liveHeap keeps a table of some 200 MB whose parts it replaces all the time, so that the heap grows, is
// collected and given back. An operation is the whole of it.
func liveHeap() (int, error) {
	table := map[int][]byte{}
	const keys, rounds = 40_000, 400_000
	for i := range rounds {
		b := make([]byte, 1024+i%8192)
		b[0], b[len(b)-1] = byte(i), byte(i)
		table[i*7919%keys] = b
	}
	for k, b := range table {
		if b[0] != b[len(b)-1] {
			return 0, fmt.Errorf("part %d is not what it was made as", k)
		}
	}
	return 1, nil
}
