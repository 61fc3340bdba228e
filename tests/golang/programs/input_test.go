package programs

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"

	"pinhole/tests/harness"
)

// scripts writes a web application of n modules in TypeScript, which import one another.
func scripts(n int) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		r := rand.New(rand.NewSource(1))
		texts := map[string]string{}
		var all strings.Builder
		for i := range n {
			var b strings.Builder
			fmt.Fprintf(&b, "import type { Point } from './m0'\n")
			for k := range min(i, 3) {
				fmt.Fprintf(&b, "import { Shape%d as Base%d } from './m%d'\n", i-k-1, k, i-k-1)
			}
			if i == 0 {
				b.Reset()
				b.WriteString("export interface Point { x: number; y: number; label?: string }\n")
			}
			fmt.Fprintf(&b, "export enum Kind%d { None, Some = %d, Many }\n", i, r.Intn(100))
			fmt.Fprintf(&b, "export class Shape%d<T extends Point = Point> {\n  #points: T[] = []\n  static made = 0\n", i)
			for m := range 20 {
				fmt.Fprintf(&b, `  method%d(first: T, ...others: T[]): number {
    const { x, y = %d, ...rest } = first
    let sum = x ?? %d
    for (const p of [first, ...others]) {
      if (p.label?.startsWith("%d") && !(y > %d)) sum += p.x ** 2 + p.y * %d.5
      else sum -= %sKind%d.Some
    }
    this.#points.push(first)
    return sum > 0 ? sum : Object.keys(rest).length
  }
`, m, r.Intn(1000), r.Intn(1000), r.Intn(10), r.Intn(1000), r.Intn(1000), "", i)
			}
			b.WriteString("}\n")
			for k := range min(i, 3) {
				fmt.Fprintf(&b, "Shape%d.made += Base%d.made\n", i, k)
			}
			texts[fmt.Sprintf("src/m%d.ts", i)] = b.String()
			fmt.Fprintf(&all, "import { Shape%d, Kind%d } from './m%d'\n", i, i, i)
		}
		all.WriteString("export const App = () => <ul>{[")
		for i := range n {
			fmt.Fprintf(&all, "new Shape%d(), Kind%d.Many, ", i, i)
		}
		all.WriteString("].map((s, i) => <li key={i} {...s}>{String(s)}</li>)}</ul>\n")
		texts["src/main.tsx"] = all.String()
		harness.WriteFiles(t, dir, texts)
	}
}

// site writes a web site of n pages, for hugo.
func site(n int) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		r := rand.New(rand.NewSource(2))
		texts := map[string]string{
			"hugo.toml":                      "baseURL = 'https://example.org/'\ntitle = 'A site'\n[taxonomies]\ntag = 'tags'\n[pagination]\npagerSize = 20\n",
			"layouts/baseof.html":            "<!doctype html><html><head><title>{{ .Title }}</title></head><body>{{ partial \"menu.html\" . }}{{ block \"main\" . }}{{ end }}</body></html>\n",
			"layouts/partials/menu.html":     "<nav>{{ range first 10 site.RegularPages.ByTitle }}<a href=\"{{ .RelPermalink }}\">{{ .LinkTitle }}</a>{{ end }}</nav>\n",
			"layouts/page.html":              "{{ define \"main\" }}<h1>{{ .Title }}</h1><p>{{ .Date.Format \"2 January 2006\" }}, {{ .WordCount }} words, {{ .ReadingTime }} min</p>{{ .TableOfContents }}{{ .Content }}{{ range (.GetTerms \"tags\") }}<a href=\"{{ .RelPermalink }}\">{{ .LinkTitle }}</a>{{ end }}{{ with .NextInSection }}<a href=\"{{ .RelPermalink }}\">next</a>{{ end }}{{ range first 3 (site.RegularPages.Related .) }}<a href=\"{{ .RelPermalink }}\">{{ .Title }}</a>{{ end }}{{ end }}\n",
			"layouts/list.html":              "{{ define \"main\" }}<h1>{{ .Title }}</h1>{{ range .Paginator.Pages }}<h2><a href=\"{{ .RelPermalink }}\">{{ .Title }}</a></h2>{{ .Summary }}{{ end }}{{ end }}\n",
			"layouts/_shortcodes/twice.html": "<b>{{ .Inner }}</b> <b>{{ .Inner }}</b>",
			"content/_index.md":              "---\ntitle: Home\n---\nWelcome.\n",
			"static/style.css":               strings.Repeat("p { margin: 0 }\n", 200),
		}
		words := strings.Fields("a sandbox has a kernel of its own and a disk that is a file the program sees both and nothing else of the host which sees five calls whatever is asked for inside")
		for i := range n {
			var b strings.Builder
			fmt.Fprintf(&b, "---\ntitle: \"Page %d\"\ndate: 20%02d-%02d-%02dT10:00:00Z\ntags: [t%d, t%d]\n---\n", i, 10+r.Intn(15), 1+r.Intn(12), 1+r.Intn(28), r.Intn(40), r.Intn(40))
			for s := range 6 {
				fmt.Fprintf(&b, "\n## Section %d\n\n", s)
				for range 120 {
					b.WriteString(words[r.Intn(len(words))] + " ")
				}
				fmt.Fprintf(&b, "\n\n- one\n- [two](https://example.org/%d)\n- *three*\n\n{{< twice >}}word %d{{< /twice >}}\n", r.Intn(100), r.Intn(100))
				fmt.Fprintf(&b, "\n```go\nfunc f%d(n int) (string, error) {\n\tfor i := range n { // comment\n\t\tif i == %d { return \"x\", nil }\n\t}\n\treturn \"\", errors.New(\"none\")\n}\n```\n\n| a | b |\n|---|--:|\n| %d | %d |\n", s, r.Intn(100), r.Intn(100), r.Intn(100))
			}
			texts[fmt.Sprintf("content/s%d/page-%d.md", i%8, i)] = b.String()
		}
		harness.WriteFiles(t, dir, texts)
	}
}

// vendored writes a module with all it needs in its folder vendor, so that nothing is fetched when it is built.
func vendored(module, version string) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		from := sources(t, module, version)
		must(t, from, environment(), "go", "mod", "vendor")
		must(t, "", nil, "cp", "-r", from+"/.", dir)
	}
}

// nothingToPrepare is for commands that make their own files.
func nothingToPrepare(*testing.T, string) {}
