package libc

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"pinhole/shim/include"
)

// kernelHeaders is where the machine keeps the kernel's headers for programs.
const kernelHeaders = "/usr/include"

// specs tells gcc how to use the sysroot; see there.
//
//go:embed pinhole.specs
var specs string

// pkgconfig is the library's pkg-config file.
//
//go:embed pinhole.pc
var pkgconfig string

// numbers takes the place of the kernel's own lists of call numbers: in this sysroot a number is
// the ABI's.
const numbers = "#include <bits/syscall.h>\n"

// furnish adds what programs need besides the library.
func (b *builder) furnish(ctx context.Context, staged string) error {
	inc := filepath.Join(staged, "include")
	multiarch := filepath.Join(kernelHeaders, "x86_64-linux-gnu")
	for _, dir := range []struct{ from, to string }{
		{filepath.Join(kernelHeaders, "linux"), "linux"},
		{filepath.Join(kernelHeaders, "asm-generic"), "asm-generic"},
		{filepath.Join(multiarch, "asm"), "asm"},
	} {
		if err := os.CopyFS(filepath.Join(inc, dir.to), os.DirFS(dir.from)); err != nil {
			return err
		}
	}
	for name, text := range map[string]string{
		"include/asm/unistd.h":         numbers,
		"include/asm/unistd_64.h":      numbers,
		"include/asm-generic/unistd.h": numbers,
		"include/pinhole.h":            string(include.Pinhole),
		"lib/pinhole.specs":            specs,
		"lib/pkgconfig/pinhole.pc":     pkgconfig,
	} {
		path := filepath.Join(staged, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		// A file of the same name came with the kernel's headers, perhaps write-protected.
		if err := os.RemoveAll(path); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := b.linkLibgcc(staged); err != nil {
		return err
	}
	return b.compileNative(ctx, staged)
}

// linkLibgcc gives the sysroot the compiler's own support library, which serves any C library.
func (b *builder) linkLibgcc(staged string) error {
	for _, name := range []string{"libgcc.a", "libgcc_eh.a"} {
		out, err := exec.Command(b.CC, "-print-file-name="+name).Output()
		if err != nil {
			return fmt.Errorf("%s -print-file-name=%s: %w", b.CC, name, err)
		}
		path := strings.TrimSpace(string(out))
		if !filepath.IsAbs(path) {
			return fmt.Errorf("%s has no %s", b.CC, name)
		}
		if err := os.Symlink(path, filepath.Join(staged, "lib", name)); err != nil {
			return err
		}
	}
	return nil
}

// compileNative builds the interpreter by which programs run on the host itself.
func (b *builder) compileNative(ctx context.Context, staged string) error {
	if err := os.CopyFS(filepath.Dir(b.src), native); err != nil {
		return err
	}
	_, err := b.run(ctx, nil, b.CC, "-O2", "-Wall", "-fPIE", "-static-pie", "-nostdlib", "-nostartfiles", "-ffreestanding",
		"-fno-stack-protector", "-Wl,--no-dynamic-linker", "-I"+filepath.Join(b.src, "arch", "x86_64"),
		"-o", filepath.Join(staged, "lib", "pinhole-native"), filepath.Join("..", "native", "native.c"))
	return err
}
