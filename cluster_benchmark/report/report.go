package report

import (
	"embed"
	"html/template"
	"io"

	"github.com/millrace/millrace/cluster_benchmark/verdict"
)

//go:embed assets
var assets embed.FS

// Mark is how each report begins, so that a program can tell one from a file that it must not replace.
const Mark = "<!doctype html>\n<!-- cluster_benchmark report -->\n"

var pageTemplate = template.Must(template.ParseFS(assets, "assets/page.html"))

// Write writes the report on all results of the sources, of which there is at least one. Errors are those of w.
func Write(w io.Writer, sources []verdict.Source) error {
	p := newPage(sources)
	p.PlotCSS, p.CSS = template.CSS(text("uplot/uPlot.min.css")), template.CSS(text("page.css"))
	p.PlotJS, p.JS = template.JS(text("uplot/uPlot.iife.min.js")), template.JS(text("page.js"))
	if _, err := io.WriteString(w, Mark); err != nil {
		return err
	}
	return pageTemplate.Execute(w, p)
}

func text(name string) string {
	data, err := assets.ReadFile("assets/" + name)
	if err != nil {
		panic("BUG: an embedded file can't be read: " + err.Error())
	}
	return string(data)
}
