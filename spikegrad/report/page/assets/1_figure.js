// Figures: Plotly in the colours of the theme, and the blocks that are one figure each.
const CONFIG = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };

function axisLayout(axis, more) {
  const ink = theme("ink"), line = theme("line");
  return Object.assign({
    title: { text: plain(axis.title), standoff: 8, font: { size: 13, color: ink } }, type: axis.type === "linear" ? "-" : axis.type,
    gridcolor: line, linecolor: line, zerolinecolor: line, zeroline: false, color: theme("muted"),
    tickfont: { size: 12 }, automargin: true, exponentformat: "power",
  }, axis.type === "log" ? { dtick: 1, minor: { showgrid: false } } : {}, more);
}

function layoutOf(x, y, more) {
  return Object.assign({
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", height: 320,
    font: { family: "system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif", color: theme("ink"), size: 13 },
    margin: { l: 54, r: 14, t: 12, b: 46 }, hovermode: "closest",
    hoverlabel: { bgcolor: theme("paper"), bordercolor: theme("line"), font: { color: theme("ink"), size: 13 } },
    legend: { orientation: "h", x: 0, xanchor: "left", y: 1.02, yanchor: "bottom", font: { size: 12 } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: theme("muted"), activecolor: theme("ink"), orientation: "v" },
    xaxis: axisLayout(x), yaxis: axisLayout(y), dragmode: "zoom",
  }, more);
}

function draw(host, traces, layout) {
  return Plotly.react(host, traces, layout, CONFIG);
}

function trace(line) {
  const ink = colour(line.colour), mode = line.mode || "lines";
  const name = plain(line.name, 40);
  if (mode === "bars") return { type: "bar", x: line.x.map((v) => plain(v, 28)), y: line.y, name, marker: { color: ink } };
  return {
    type: "scatter", x: line.x.map((v) => typeof v === "string" ? plain(v, 28) : v), y: line.y, name, mode,
    line: { color: ink, width: 2, dash: line.dash || "solid" }, marker: { color: ink, size: mode === "markers" ? 6 : 5, opacity: mode === "markers" ? 0.7 : 1 },
    hovertemplate: "%{x}: %{y:.4~g}<extra>" + name + "</extra>",
    error_y: line.error ? { type: "data", array: line.error, color: ink, thickness: 1.5, width: 5 } : undefined,
  };
}

// Vertical lines, named in the legend, where no curve can lie over the name.
function marked(marks) {
  const ink = theme("muted");
  return {
    shapes: marks.map((m) => ({ type: "line", x0: m.x, x1: m.x, yref: "paper", y0: 0, y1: 1, line: { color: ink, width: 1.2, dash: "dash" }, layer: "below" })),
    named: marks.map((m) => ({ x: [null], y: [null], mode: "lines", name: plain(m.label), line: { color: ink, width: 1.2, dash: "dash" }, hoverinfo: "skip" })),
  };
}

function rowsOf(block) {
  const columns = [block.x.title, ...block.series.map((s) => s.name)], found = new Map();
  if (block.series.some((s) => s.mode === "markers")) {
    const rows = block.series.flatMap((s) => s.x.map((x, i) => [s.name, x, s.y[i]]));
    return [["series", block.x.title, block.y.title], rows];
  }
  block.series.forEach((s, place) => s.x.forEach((x, i) => {
    if (!found.has(x)) found.set(x, [x, ...block.series.map(() => null)]);
    found.get(x)[place + 1] = s.y[i];
  }));
  return [columns, [...found.values()]];
}

// Whole numbers along an axis of epochs, also where there is one alone.
function epochAxis(block) {
  if (block.x.title !== "epoch") return {};
  const all = block.series.flatMap((s) => s.x), low = Math.min(...all), high = Math.max(...all);
  const room = Math.max(0.3, 0.02 * (high - low));
  return { range: [low - room, high + room], tickformat: "d", dtick: high - low < 8 ? 1 : undefined };
}

// A scale of powers of ten: whole powers alone where there are many, else steps of 1, 2 and 5.
function logAxis(block) {
  if (block.y.type !== "log") return {};
  const all = block.series.flatMap((s) => s.y).filter((v) => v > 0).map(Math.log10);
  const low = Math.min(...all), high = Math.max(...all), span = high - low;
  if (span >= 3) return { dtick: Math.ceil(span / 6) };
  const room = Math.max(0.12, 0.1 * span);
  return { dtick: span > 0.5 ? "D2" : "D1", exponentformat: "none", tickformat: ".3~g", range: [low - room, high + room] };
}

// Shares and rates begin at 0; where all of them are 0 the axis has no scale of its own.
function fromZero(block) {
  const high = Math.max(...block.series.flatMap((s) => s.y).filter((v) => v !== null));
  return high > 0 ? { range: [-0.03 * high, 1.06 * high] } : { range: [-0.03, 1] };
}

BLOCKS.figure = (block, host) => {
  const made = panel(block.title, block.note, block.wide), plot = el("div", { class: "plot" });
  made.append(plot, numbers(block.id, () => rowsOf(block)));
  host.append(made);
  const lines = marked(block.marks), single = block.series.length + lines.named.length === 1;
  const layout = layoutOf(block.x, block.y, { showlegend: !single, uirevision: block.id, shapes: lines.shapes });
  layout.xaxis = axisLayout(block.x, epochAxis(block));
  layout.yaxis = axisLayout(block.y, block.y.zero ? fromZero(block) : logAxis(block));
  draw(plot, [...block.series.map(trace), ...lines.named], layout);
};

BLOCKS.table = (block, host) => {
  const made = panel(block.title, block.note, true);
  made.append(
    el("div", { class: "scroll" + (block.rows.length <= 60 ? " whole" : "") }, filled(block.columns, block.rows)),
    el("div", { class: "under" }, el("button", { class: "button", type: "button", on: { click: () => download(block.id, block.columns, block.rows) } }, "CSV")));
  host.append(made);
};

BLOCKS.text = (block, host) => {
  host.append(el("div", { class: "block bare text wide" }, block.paragraphs.map((p) => el("p", {}, p))));
};

BLOCKS.tiles = (block, host) => {
  host.append(el("div", { class: "tiles wide" }, block.tiles.map((t) => el("div", { class: "tile" },
    el("div", { class: "label" }, t.label), el("div", { class: "value" }, t.value), t.note ? el("div", { class: "of" }, t.note) : null))));
};

BLOCKS.progress = (block, host) => {
  const left = block.left === null ? "" : `, about ${clock(block.left)} left`;
  const bar = el("div", { class: "bar", role: "progressbar", "aria-valuenow": String(block.done), "aria-valuemax": String(block.total) }, el("div"));
  bar.firstChild.style.width = (100 * block.done / block.total) + "%";
  host.append(el("div", { class: "block wide" }, el("p", { class: "note" }, `${block.done} of ${block.total} epochs are done${left}`), bar));
};

function clock(seconds) {
  const s = Math.round(seconds);
  return s < 60 ? `${s} s` : s < 3600 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`;
}

BLOCKS.findings = (block, host) => {
  const cards = block.findings.map((f) => el("div", { class: "finding " + (["error", "warning"].includes(f.severity) ? f.severity : "info") },
    el("div", { class: "head" }, el("span", { class: "severity" }, f.severity || "info"), el("span", {}, f.when), f.kind ? el("span", {}, f.kind) : null),
    el("p", { class: "problem" }, f.problem ? (f.layer ? `layer ${f.layer} ${f.problem}` : f.problem) : f.line),
    f.why ? el("p", {}, "Why it matters: " + f.why + ".") : null,
    f.advice ? el("p", {}, "What to do: " + f.advice + ".") : null));
  const more = block.of > block.findings.length ? el("p", { class: "note" }, `${block.of} findings in all: see the tab Findings`) : null;
  host.append(el("div", { class: "block bare wide" }, cards, more));
};
