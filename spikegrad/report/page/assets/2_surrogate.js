// The explorer: derivative and primitive of a surrogate at any slope, over the histogram of membranes.
function interpolated(z, values, at, edge) {
  const last = z.length - 1;
  if (at <= z[0]) return values[0] + edge * (at - z[0]);
  if (at >= z[last]) return values[last] + edge * (at - z[last]);
  let low = 0, high = last;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (z[middle] <= at) low = middle; else high = middle;
  }
  const share = (at - z[low]) / (z[high] - z[low]);
  return values[low] + share * (values[high] - values[low]);
}

// g(x) and G(x) of a layer at slope k, from the table of its family at slope 1.
function surrogateAt(layer, table, k) {
  const amplitude = layer.normalisation === "area" ? layer.gain * k : layer.gain / layer.peak;
  const derivative = (x) => amplitude * interpolated(table.z, table.p, k * x, 0);
  const end = table.p[table.p.length - 1];
  const primitive = table.P && ((x) => amplitude / k * interpolated(table.z, table.P, k * x, end));
  return { derivative, primitive };
}

function explored(layer, table, k) {
  const held = layer.distances, reach = 2.5 / layer.slope;
  const low = Math.min(held ? held.low : 0, -reach), high = Math.max(held ? held.high : 0, reach);
  const x = [];
  for (let i = 0; i <= 400; i++) x.push(low + (high - low) * i / 400);
  for (const z of table.z) if (z / k > low && z / k < high) x.push(z / k);
  x.sort((a, b) => a - b);
  const { derivative, primitive } = surrogateAt(layer, table, k);
  const g = x.map(derivative), G = primitive ? x.map(primitive) : null;
  return { x, g, G, low, high, peak: Math.max(...g.map(Math.abs)), derivative };
}

// Of all membranes: the share that passes more than 1 % of the peak, and the mean derivative.
function passed(layer, drawn) {
  const held = layer.distances;
  if (!held) return null;
  const width = (held.high - held.low) / held.counts.length, parts = 16;
  let total = held.below + held.above, share = 0, mean = 0;
  for (const [edge, count] of [[held.low, held.below], [held.high, held.above]]) {
    const g = drawn.derivative(edge);
    mean += g * count;
    if (Math.abs(g) > 0.01 * drawn.peak) share += count;
  }
  held.counts.forEach((count, i) => {
    total += count;
    for (let j = 0; j < parts; j++) {
      const g = drawn.derivative(held.low + (i + (j + 0.5) / parts) * width);
      mean += g * count / parts;
      if (Math.abs(g) > 0.01 * drawn.peak) share += count / parts;
    }
  });
  return { share: share / total, mean: mean / total };
}

// The full width at half of the peak, between the outermost crossings; null where one is not in view.
function widthOf(drawn) {
  const half = 0.5 * drawn.peak, { x } = drawn, g = drawn.g.map(Math.abs), last = x.length - 1;
  if (!(half > 0) || g[0] >= half || g[last] >= half) return null;
  const crossing = (a, b) => x[a] + (half - g[a]) / (g[b] - g[a]) * (x[b] - x[a]);
  let first = 0, end = last;
  while (g[first] < half) first++;
  while (g[end] < half) end--;
  return crossing(end + 1, end) - crossing(first - 1, first);
}

BLOCKS.surrogate = (block, host) => {
  const chosen = kept(block, { layer: 0, factor: {} });
  chosen.layer = Math.min(chosen.layer, block.layers.length - 1);
  const made = panel("Surrogate explorer", "", true);
  const left = el("div", { class: "plot", id: "surrogate-derivative" }), right = el("div", { class: "plot", id: "surrogate-primitive" });
  const slider = el("input", { type: "range", min: "-1.5", max: "1.5", step: "0.01", id: "slope", "aria-label": "slope" });
  const said = el("output", { id: "slope-value" }), facts = el("dl", { class: "figures" });
  const reset = el("button", { class: "button", type: "button" }, "as trained");
  const rows = () => {
    const { layer, drawn } = state();
    return [["u - theta", "derivative", "primitive"], drawn.x.map((x, i) => [x, drawn.g[i], drawn.G ? drawn.G[i] : null])];
  };
  const histogramRows = () => {
    const held = block.layers[chosen.layer].distances;
    if (!held) return [["from", "to", "membranes"], []];
    const width = (held.high - held.low) / held.counts.length;
    return [["from", "to", "membranes"], held.counts.map((n, i) => [held.low + i * width, held.low + (i + 1) * width, n])];
  };
  const tables = numbers("surrogate", rows), counts = numbers("membranes", histogramRows);
  counts.querySelector("summary").textContent = "Numbers of the histogram";
  function state() {
    const layer = block.layers[chosen.layer], factor = chosen.factor[chosen.layer] || 0, k = layer.slope * 10 ** factor;
    return { layer, factor, k, drawn: explored(layer, block.tables[layer.table], k) };
  }
  function refresh() {
    const { layer, factor, k, drawn } = state(), trained = factor === 0 ? null : explored(layer, block.tables[layer.table], layer.slope);
    slider.value = String(factor);
    slider.disabled = reset.disabled = !layer.has_slope;
    said.textContent = layer.has_slope ? `${number(Number(k.toPrecision(3)))}${factor === 0 ? " (as trained)" : `, trained with ${number(Number(layer.slope.toPrecision(3)))}`}` : "this surrogate has no slope";
    drawDerivative(left, layer, drawn, trained);
    drawPrimitive(right, layer, drawn, trained);
    const found = passed(layer, drawn), width = widthOf(drawn);
    const entries = [
      ["surrogate", layer.text], ["formula at slope 1", layer.formula], ["peak", number(drawn.peak)],
      ["width at half of the peak", width === null ? "wider than this figure" : number(width)],
      ...(layer.slopes ? [["learned slopes", `${number(layer.slopes[0])} to ${number(layer.slopes[1])}`]] : []),
      ...(found ? [["membranes that pass a gradient", `${number(100 * found.share)} % (derivative above 1 % of its peak)`], ["mean derivative", number(found.mean)]] : []),
      ["source", layer.source],
    ];
    facts.replaceChildren(...entries.flatMap(([a, b]) => [el("dt", {}, a), el("dd", {}, b)]));
    tables.refresh();
    counts.refresh();
  }
  slider.addEventListener("input", () => { chosen.factor[chosen.layer] = Math.abs(slider.value) < 0.015 ? 0 : Number(slider.value); refresh(); });
  reset.addEventListener("click", () => { chosen.factor[chosen.layer] = 0; refresh(); });
  const layers = chooser("Layer", block.layers.map((l) => l.title), chosen.layer, (i) => { chosen.layer = i; refresh(); });
  made.append(el("div", { class: "controls" }, layers, el("label", { class: "grow" }, el("span", {}, "Slope k: ", said), slider), reset),
    el("div", { class: "plots" }, left, right), facts, tables, counts);
  host.append(made);
  refresh();
};

function drawDerivative(plot, layer, drawn, trained) {
  const held = layer.distances, traces = [];
  if (held) {
    const width = (held.high - held.low) / held.counts.length, total = held.counts.reduce((a, b) => a + b, held.below + held.above);
    traces.push({
      type: "bar", x: held.counts.map((_, i) => held.low + (i + 0.5) * width), y: held.counts.map((n) => 100 * n / total), width,
      yaxis: "y2", name: "membranes", marker: { color: faint(colour(2), 0.45), line: { width: 0 } }, hovertemplate: "u − θ = %{x:.3~g}: %{y:.2~g} % of the membranes<extra></extra>",
    });
  }
  if (trained) traces.push({ x: trained.x, y: trained.g, name: "as trained", mode: "lines", line: { color: colour("muted"), width: 1.5, dash: "dot" }, hoverinfo: "skip" });
  traces.push({ x: drawn.x, y: drawn.g, name: "derivative", mode: "lines", line: { color: colour(0), width: 2.4 }, hovertemplate: "u − θ = %{x:.3~g}: %{y:.4~g}<extra>derivative</extra>" });
  const layout = layoutOf({ title: "distance to the threshold, u − θ", type: "linear" }, { title: "surrogate derivative", type: "linear" },
    { height: 340, bargap: 0, uirevision: layer.title, shapes: [atThreshold()], margin: { l: 54, r: held ? 54 : 14, t: 12, b: 46 } });
  layout.xaxis.range = [drawn.low, drawn.high];
  layout.yaxis.rangemode = "tozero";
  layout.yaxis2 = axisLayout({ title: "membranes (%)", type: "linear" }, { overlaying: "y", side: "right", showgrid: false, rangemode: "tozero", tickmode: "auto", nticks: 6 });
  draw(plot, traces, layout);
}

function drawPrimitive(plot, layer, drawn, trained) {
  const step = { x: [drawn.low, 0, 0, drawn.high], y: [0, 0, 1, 1], name: "spike (hard)", mode: "lines", line: { color: colour("ink"), width: 1.4, dash: "dash" } };
  const traces = [step];
  if (trained && trained.G) traces.push({ x: trained.x, y: trained.G, name: "as trained", mode: "lines", line: { color: colour("muted"), width: 1.5, dash: "dot" }, hoverinfo: "skip" });
  if (drawn.G) traces.push({ x: drawn.x, y: drawn.G, name: "primitive", mode: "lines", line: { color: colour(1), width: 2.4 }, hovertemplate: "u − θ = %{x:.3~g}: %{y:.4~g}<extra>primitive</extra>" });
  const layout = layoutOf({ title: "distance to the threshold, u − θ", type: "linear" }, { title: drawn.G ? "output" : "output (no primitive is known)", type: "linear" }, { height: 340, uirevision: layer.title, shapes: [atThreshold()] });
  layout.xaxis.range = [drawn.low, drawn.high];
  const shown = (drawn.G || []).concat([0, 1]), low = Math.max(Math.min(...shown), -1.5), high = Math.min(Math.max(...shown), 2.5);
  layout.yaxis.range = [low - 0.08 * (high - low), high + 0.08 * (high - low)];
  draw(plot, traces, layout);
}

function atThreshold() {
  return { type: "line", x0: 0, x1: 0, yref: "paper", y0: 0, y1: 1, line: { color: theme("muted"), width: 1 } };
}
