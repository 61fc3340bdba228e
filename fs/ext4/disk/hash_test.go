package disk

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// The expected values are what debugfs's dx_hash says.
func TestDirHash(t *testing.T) {
	const long = "a-name-that-is-longer-than-thirty-two-bytes-for-two-rounds"
	seeded := [4]uint32{0x04030201, 0x08070605, 0x0c0b0a09, 0x100f0e0d}
	tests := []struct {
		version      HashVersion
		seed         [4]uint32
		name         string
		major, minor uint32
	}{
		{HashLegacy, seeded, "a", 0xe74b53e2, 0},
		{HashLegacy, seeded, "hello.txt", 0x65a05776, 0},
		{HashLegacy, seeded, long, 0xfcb2fa7a, 0},
		{HashLegacy, seeded, "\u00e9t\u00e9", 0x70d7b7fc, 0},
		{HashHalfMD4, seeded, "a", 0x8d08ec4c, 0x2fbccd78},
		{HashHalfMD4, [4]uint32{}, "a", 0xd5fa7d7a, 0xacb48187},
		{HashHalfMD4, seeded, "hello.txt", 0xac15d19c, 0x21f363},
		{HashHalfMD4, seeded, long, 0x2be0e8b4, 0x967a0894},
		{HashHalfMD4, [4]uint32{}, long, 0x694bec22, 0x5aeb0a8},
		{HashHalfMD4, seeded, "\u00e9t\u00e9", 0x46242884, 0x6e9fe329},
		{HashTEA, seeded, "a", 0xf53528f0, 0xea54fb01},
		{HashTEA, [4]uint32{}, "a", 0x6d0ea4c0, 0xc18922df},
		{HashTEA, seeded, "hello.txt", 0x8912606c, 0x9fdd508e},
		{HashTEA, seeded, long, 0xafd5afba, 0xa7527d87},
		{HashTEA, seeded, "\u00e9t\u00e9", 0x1f284fc0, 0xfb819dc9},
		{HashLegacyUnsigned, seeded, "hello.txt", 0x65a05776, 0},
		{HashHalfMD4Unsigned, seeded, long, 0x2be0e8b4, 0x967a0894},
		{HashTEAUnsigned, seeded, long, 0xafd5afba, 0xa7527d87},
	}
	for _, tt := range tests {
		major, minor, ok := DirHash(tt.version, &tt.seed, tt.name)
		if !ok || major != tt.major || minor != tt.minor {
			t.Errorf("DirHash(%d, %q) = %#x, %#x, %v; want %#x, %#x", tt.version, tt.name, major, minor, ok, tt.major, tt.minor)
		}
	}
	s, _, _ := DirHash(HashHalfMD4, &seeded, "\xff")
	u, _, _ := DirHash(HashHalfMD4Unsigned, &seeded, "\xff")
	if s == u {
		t.Errorf("signed and unsigned hashes of a high byte are the same: %#x", s)
	}
	if _, _, ok := DirHash(HashSipHash, &seeded, "x"); ok {
		t.Error("DirHash knows SipHash")
	}
}

// TestHashInput compares the packing of names with doing it byte by byte.
func TestHashInput(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 20000 {
		name := make([]byte, rnd.IntN(70))
		for i := range name {
			name[i] = byte(rnd.Uint32()) >> rnd.IntN(2)
		}
		for _, signed := range []bool{false, true} {
			got, want := make([]uint32, 8), make([]uint32, 8)
			pad := uint32(len(name)) * 0x01010101
			for i := range want {
				want[i] = pad
				for j := i * 4; j < min(i*4+4, len(name)); j++ {
					want[i] = want[i]<<8 + char(name[j], signed)
				}
			}
			if hashInput(string(name), got, signed); !slices.Equal(got, want) {
				t.Fatalf("hashInput(%x, %v) = %x, want %x", name, signed, got, want)
			}
		}
	}
}

func BenchmarkDirHash(b *testing.B) {
	seed := [4]uint32{1, 2, 3, 4}
	for b.Loop() {
		DirHash(HashHalfMD4, &seed, "some-file-name.txt")
	}
}
