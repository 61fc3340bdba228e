package overlay

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"slices"
	"strings"

	"github.com/hashicorp/go-multierror"
)

// Signatures checks that the functions of a Go file are exactly those of the list.
func Signatures(src string, want []string) error {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "", src, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	var got []string
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok {
			fn.Body, fn.Doc = nil, nil
			var b strings.Builder
			if err := printer.Fprint(&b, fset, fn); err != nil {
				return err
			}
			got = append(got, b.String())
		}
	}
	var errs *multierror.Error
	for _, s := range got {
		if !slices.Contains(want, s) {
			errs = multierror.Append(errs, fmt.Errorf("unknown %s", s))
		}
	}
	for _, s := range want {
		if !slices.Contains(got, s) {
			errs = multierror.Append(errs, fmt.Errorf("no %s", s))
		}
	}
	return errs.ErrorOrNil()
}
