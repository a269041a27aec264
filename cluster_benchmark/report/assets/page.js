"use strict";
// Draws the charts from the data that stands in the page, and draws them anew when the theme, the width or the choice of
// runs changes. Everything it shows also stands in the tables.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const hidden = new Set();
  const dashes = [[], [7, 4], [2, 3], [10, 3, 2, 3]];
  let percentile = "p99";
  let plots = [];

  const style = name => getComputedStyle(root).getPropertyValue(name).trim();
  const color = run => style("--c" + run % 8);
  const digits = v => v.toLocaleString("en", { maximumSignificantDigits: 3, useGrouping: v >= 1000 });
  const time = us => us == null ? "–" : us >= 1e6 ? digits(us / 1e6) + " s" : us >= 1e3 ? digits(us / 1e3) + " ms" : digits(us) + " µs";
  const rate = v => v == null ? "–" : Math.round(v).toLocaleString("en");
  const rateTick = v => v >= 1e6 ? digits(v / 1e6) + " M" : v >= 1e3 ? digits(v / 1e3) + " k" : digits(v);
  // nines returns the percentile of a place on the axis, which is 1/(1-q): 1000 is 99.9 %.
  const nines = x => {
    if (x == null) return "–";
    const decimals = Math.max(0, Math.ceil(Math.log10(x) - 1e-9) - 2);
    return (100 * (1 - 1 / x)).toFixed(decimals) + " %";
  };

  const axis = values => ({
    stroke: style("--dim"), font: "12px system-ui, sans-serif",
    grid: { stroke: style("--line"), width: 1 }, ticks: { stroke: style("--line"), width: 1 }, values,
  });
  const series = (label, run, value) => ({
    label, value, stroke: color(run), width: 2, dash: dashes[Math.floor(run / 8) % dashes.length], spanGaps: true,
    points: { show: false }, show: !hidden.has(run),
  });

  // powers are the ticks of a logarithmic axis: one a decade, and between where there are few.
  const powers = (u, index, from, to) => {
    const decades = Math.log10(to / from), all = [];
    for (let e = Math.floor(Math.log10(from)); e <= Math.ceil(Math.log10(to)); e++)
      for (const m of decades < 3 ? [1, 2, 5] : [1]) {
        const v = m * Math.pow(10, e);
        if (v >= from && v <= to) all.push(v);
      }
    return all;
  };

  const chart = (id, x, ys, options) => {
    const place = document.getElementById(id);
    if (!place) return;
    place.replaceChildren();
    const width = place.clientWidth - 16, narrow = width < 480;
    const u = new uPlot({
      width, height: narrow ? 260 : 340, padding: [10, narrow ? 20 : 36, 0, 0], cursor: { y: false }, legend: { live: true }, ...options,
      hooks: { ...options.hooks, ready: [u => {
        // Where the curves are on the page, for who looks at a picture of it.
        const box = u.over.getBoundingClientRect();
        place.dataset.plot = [box.left, box.top + scrollY, box.width, box.height].map(Math.round).join(" ");
      }] },
    }, [x, ...ys], place);
    plots.push(u);
    place.onkeydown = event => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const at = u.cursor.idx == null ? (step > 0 ? -1 : x.length) : u.cursor.idx;
      const to = Math.min(x.length - 1, Math.max(0, at + step));
      u.setCursor({ left: u.valToPos(x[to], "x"), top: 10 });
    };
    place.dataset.curves = ys.filter(y => y.some(v => v != null)).length;
  };

  // bands shows when something was done to the cluster of a run.
  const bands = u => {
    data.runs.forEach((run, i) => {
      if (hidden.has(i)) return;
      run.events.forEach(([from, to]) => {
        const { left, top, width, height } = u.bbox, end = left + width;
        const begin = Math.min(end, Math.max(left, u.valToPos(from, "x", true)));
        const over = Math.min(end, Math.max(begin + 2 * devicePixelRatio, u.valToPos(to, "x", true)));
        u.ctx.save();
        u.ctx.fillStyle = color(i);
        u.ctx.globalAlpha = .14;
        u.ctx.fillRect(begin, top, over - begin, height);
        u.ctx.globalAlpha = .6;
        u.ctx.fillRect(begin, top, devicePixelRatio, height);
        u.ctx.restore();
      });
    });
  };

  const draw = () => {
    plots.forEach(u => u.destroy());
    plots = [];
    document.querySelectorAll("[data-key]").forEach(key => {
      const run = +key.dataset.key;
      key.style.borderTop = `3px ${run < 8 ? "solid" : "dashed"} ${color(run)}`;
    });
    const runs = data.runs;
    // The part of the axis that some curve reaches.
    let end = 1;
    runs.forEach(r => r.curve.forEach((v, i) => { if (v != null) end = Math.max(end, i + 1); }));
    chart("chart-percentiles", data.axis.slice(0, end), runs.map(r => r.curve.slice(0, end)), {
      scales: { x: { time: false, distr: 3 }, y: { distr: 3 } },
      axes: [
        { ...axis((u, ticks) => ticks.map(nines)), splits: (u, i, from, to) => data.axis.filter((v, k) => k % (u.width < 480 ? 40 : 20) === 0 && v >= from * .999 && v <= to * 1.001) },
        { ...axis((u, ticks) => ticks.map(time)), splits: powers, size: 64 },
      ],
      series: [{ label: "percentile", value: (u, v) => nines(v) }, ...runs.map((r, i) => series(r.name, i, (u, v) => time(v)))],
    });
    const over = (id, field, value, tick, y) => {
      const joined = uPlot.join(runs.map(r => [r.t, r[field]]));
      chart(id, joined[0], joined.slice(1), {
        scales: { x: { time: false }, y: y.scale }, hooks: { drawClear: [bands] },
        axes: [axis((u, ticks) => ticks.map(v => digits(v) + " s")), { ...axis((u, ticks) => ticks.map(tick)), size: 64, ...y.axis }],
        series: [{ label: "time", value: (u, v) => v == null ? "–" : v.toFixed(1) + " s" }, ...runs.map((r, i) => series(r.name, i, (u, v) => value(v)))],
      });
    };
    if (runs.some(r => r.t.length)) {
      over("chart-rate", "ops", rate, rateTick, { scale: { range: (u, low, high) => [0, high > 0 ? high * 1.08 : 1] } });
      over("chart-latency", percentile, time, time, { scale: { distr: 3 }, axis: { splits: powers } });
    }
    root.dataset.charts = plots.length;
    if (root.scrollWidth > root.clientWidth) root.dataset.overflow = root.scrollWidth - root.clientWidth;
  };

  document.querySelectorAll("[data-run]").forEach(box => box.addEventListener("change", () => {
    box.checked ? hidden.delete(+box.dataset.run) : hidden.add(+box.dataset.run);
    draw();
  }));
  document.querySelectorAll("[name=p]").forEach(choice => choice.addEventListener("change", () => { percentile = choice.value; draw(); }));
  document.getElementById("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    draw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  let width = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; draw(); } });
  draw();
})();
