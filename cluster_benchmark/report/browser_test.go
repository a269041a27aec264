package report

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/cluster_benchmark/result"
	"github.com/millrace/millrace/cluster_benchmark/verdict"
)

var screenshots = flag.String("report.screenshots", "", "a directory to keep the screenshots in")

func chromium(t *testing.T) string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("no chromium to open the report with")
	return ""
}

// open opens the page in a window and returns a picture, the page as script has left it, and what the console says.
func open(t *testing.T, browser, page, name string, width, height int) (picture image.Image, dom, console string) {
	t.Helper()
	dir := *screenshots
	if dir == "" {
		dir = t.TempDir()
	}
	shot := filepath.Join(dir, name+".png")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--user-data-dir="+t.TempDir(),
		fmt.Sprintf("--window-size=%d,%d", width, height), "--virtual-time-budget=5000", "--enable-logging=stderr", "--dump-dom", "--screenshot="+shot, "file://"+page)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	for line := range strings.Lines(stderr.String()) {
		if strings.Contains(line, "CONSOLE") {
			console += line
		}
	}
	data, err := os.ReadFile(shot)
	if err != nil {
		t.Fatal(err)
	}
	if picture, err = png.Decode(bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	return picture, stdout.String(), console
}

var chartPlace = regexp.MustCompile(`id="(chart-[a-z]+)"[^>]*data-curves="(\d+)" data-plot="(\d+) (\d+) (\d+) (\d+)"`)

// seen counts the pixels of about a color within a part of the picture.
func seen(picture image.Image, left, top, width, height int, want color.RGBA) int {
	n := 0
	near := func(a uint32, b uint8) bool { d := int(a>>8) - int(b); return d > -12 && d < 12 }
	for y := top; y < top+height; y++ {
		for x := left; x < left+width; x++ {
			if r, g, b, _ := picture.At(x, y).RGBA(); near(r, want.R) && near(g, want.G) && near(b, want.B) {
				n++
			}
		}
	}
	return n
}

// TestInBrowser opens the report as its reader does: the curves are there in the colors of their runs, on a desk and on a
// phone, nothing sticks out to the side, and the console is silent.
func TestInBrowser(t *testing.T) {
	browser := chromium(t)
	page := filepath.Join(t.TempDir(), "report.html")
	var results []result.Result
	for i, clients := range []int{1, 64} {
		results = append(results, measured("millrace", clients, 1, 100_000*float64(i+1), float64(20*(i+1))))
	}
	if err := os.WriteFile(page, []byte(written(t, verdict.Source{Name: "sweep.jsonl", Results: results})), 0o644); err != nil {
		t.Fatal(err)
	}
	colors := []color.RGBA{{0x25, 0x63, 0xeb, 255}, {0xd9, 0x77, 0x06, 255}}
	for _, c := range []struct {
		name          string
		width, height int
	}{{"desk", 1280, 2600}, {"phone", 500, 2800}} {
		t.Run(c.name, func(t *testing.T) {
			picture, dom, console := open(t, browser, page, c.name, c.width, c.height)
			if console != "" {
				t.Errorf("the console says\n%s", console)
			}
			if !strings.Contains(dom, `data-charts="3"`) || strings.Contains(dom, "data-overflow") {
				t.Error("not three charts, or something is wider than the window")
			}
			places := chartPlace.FindAllStringSubmatch(dom, -1)
			if len(places) != 3 {
				t.Fatalf("%d charts are placed: %q", len(places), places)
			}
			for _, p := range places {
				var curves, left, top, width, height int
				if _, err := fmt.Sscan(strings.Join(p[2:], " "), &curves, &left, &top, &width, &height); err != nil || curves != len(colors) {
					t.Fatalf("%s: %d curves, want %d (%v)", p[1], curves, len(colors), err)
				}
				for i, want := range colors {
					if n := seen(picture, left, top, width, height, want); n < width/2 {
						t.Errorf("%s: %d pixels of curve %d in %dx%d, want a line across", p[1], n, i, width, height)
					}
				}
			}
		})
	}
}
