// The raster with its readout, and the membranes.
const MOST_SPIKES = 6000; // drawn at once; of more, every second neuron and so on, until one zooms in

function spikesOf(array, sample, low, high, step) {
  const [T, , N] = array.shape, time = [], neuron = [];
  for (let i = Math.max(0, low); i < Math.min(N, high); i += step) {
    for (let t = 0; t < T; t++) if (array.at(t, sample, i)) { time.push(t); neuron.push(i); }
  }
  return { time, neuron };
}

// Every n-th neuron of a range, so that what is drawn stays quick.
function thinned(array, sample, low, high) {
  const all = spikesOf(array, sample, low, high, 1), step = Math.max(1, Math.ceil(all.time.length / MOST_SPIKES));
  return { step, drawn: step === 1 ? all : spikesOf(array, sample, low, high, step), count: all.time.length };
}

// An array over time up to the end of a sample, where samples end at different steps.
function ended(array, head) {
  const steps = head.steps === undefined ? array.shape[0] : Math.min(head.steps, array.shape[0]);
  return { shape: [steps, ...array.shape.slice(1)], at: (...place) => array.at(...place) };
}

function rowHeight(neurons) {
  return Math.min(380, Math.max(84, 60 + 16 * Math.sqrt(neurons)));
}

BLOCKS.raster = (block, host) => {
  const chosen = kept(block, { sample: 0, layer: 0 });
  const layers = block.layers.map((l, i) => ({ title: l.title, array: unpacked(l.spikes), ink: i }));
  if (block.input && block.input.type === "bits") layers.unshift({ title: "input", array: unpacked(block.input), ink: "ink" });
  const values = block.input && block.input.type === "f4" ? unpacked(block.input) : null, image = block.image ? unpacked(block.image) : null;
  const output = block.output ? unpacked(block.output) : null;
  chosen.sample = Math.min(chosen.sample, block.samples.length - 1);
  const made = panel("Spikes", "A tick is a spike; rates are spikes per neuron and step. Drag to zoom into times and neurons.", true);
  const plot = el("div", { class: "plot", id: "raster-plot" }), said = el("p", { class: "note" }), under = el("div", { class: "input" });
  const panelOut = panel("Readout", "Mean of the output up to each step: how the decision forms.", true), out = el("div", { class: "plot", id: "readout-plot" });
  const head = () => block.samples[chosen.sample];
  const picked = () => (chosen.layer === 0 ? layers : [layers[Math.min(chosen.layer, layers.length) - 1]])
    .map((l) => Object.assign({}, l, { array: ended(l.array, head()) }));
  const rows = () => [["layer", "time (ms)", "neuron"], picked().flatMap((l) => {
    const s = spikesOf(l.array, chosen.sample, 0, l.array.shape[2], 1);
    return s.time.map((t, i) => [l.title, t * block.dt, s.neuron[i]]);
  })];
  const outRows = () => [["time (ms)", ...block.classes.length ? block.classes : Array.from({ length: output.shape[2] }, (_, c) => `output ${c}`)],
    Array.from({ length: ended(output, head()).shape[0] }, (_, t) => [t * block.dt, ...Array.from({ length: output.shape[2] }, (_, c) => output.at(t, chosen.sample, c))])];
  const tables = numbers("spikes", rows), outTables = output ? numbers("readout", outRows) : null;
  const refresh = () => {
    drawRaster(plot, picked(), chosen.sample, block.dt, said);
    drawInput(under, image, values && ended(values, head()), chosen.sample, block.dt);
    if (output && output.shape[0] > 1) drawReadout(out, ended(output, head()), block, chosen.sample);
    tables.refresh();
    if (outTables) outTables.refresh();
  };
  made.append(el("div", { class: "controls" },
    chooser("Sample", block.samples.map((s) => s.text), chosen.sample, (i) => { chosen.sample = i; refresh(); }),
    chooser("Layer", ["all layers", ...layers.map((l) => l.title)], chosen.layer, (i) => { chosen.layer = i; refresh(); })),
    said, plot, under, tables);
  host.append(made);
  if (output && output.shape[0] > 1) { panelOut.append(out, outTables); host.append(panelOut); }
  refresh();
};

function drawRaster(plot, layers, sample, dt, said) {
  const heights = layers.map((l) => rowHeight(l.array.shape[2])), gap = 34, total = heights.reduce((a, b) => a + b, 0) + gap * (layers.length - 1);
  const layout = layoutOf({ title: "time (ms)", type: "linear" }, { title: "neuron", type: "linear" },
    { height: total + 90, margin: { l: 58, r: 14, t: 26, b: 46 }, showlegend: false, annotations: [] });
  const T = layers[0].array.shape[0], width = Math.max(200, plot.clientWidth - 72), size = Math.max(1.2, Math.min(3.5, 0.5 * width / T));
  let top = total;
  const traces = [], thin = [];
  // Inputs lie at the bottom, as in the pictures.
  layers.map((l, i) => [l, i]).reverse().forEach(([l, i], place) => {
    const N = l.array.shape[2], key = place === 0 ? "" : String(place + 1), bottom = top - heights[i];
    const found = thinned(l.array, sample, 0, N);
    if (found.step > 1) thin.push(`${l.title}: every ${found.step}. neuron is drawn, zoom in for all`);
    layout["yaxis" + key] = axisLayout({ title: "neuron", type: "linear" }, { domain: [Math.max(0, bottom / total), Math.min(1, top / total)], range: [-0.7, N - 0.3], showgrid: false, nticks: 4, tickformat: "d" });
    const rate = found.count / (T * N);
    layout.annotations.push({ xref: "paper", x: 0, yref: "paper", y: top / total, xanchor: "left", yanchor: "bottom", showarrow: false, font: { size: 13, color: theme("ink") },
      text: `<b>${plain(l.title, 22)}</b>  ${N.toLocaleString("en-US")} neuron${N === 1 ? "" : "s"}, ${rate ? "rate " + number(Number(rate.toPrecision(3))) : "no spike"}` });
    traces.push(Object.assign(marksOf(found.drawn, l, dt, heights[i] / N, size), { yaxis: "y" + key, xaxis: "x" }));
    top = bottom - gap;
  });
  layout.xaxis = axisLayout({ title: "time (ms)", type: "linear" }, { range: [-0.7 * dt, (T - 0.3) * dt], dtick: T <= 12 ? dt : undefined, anchor: layers.length > 1 ? "y" + layers.length : "y" });
  said.textContent = thin.join("; ");
  draw(plot, traces, layout);
  plot.removeAllListeners && plot.removeAllListeners("plotly_relayout");
  plot.on("plotly_relayout", (change) => zoomed(plot, change, layers, sample, dt, heights, size));
}

function marksOf(spikes, layer, dt, pitch, size) {
  const ink = colour(layer.ink), tall = Math.max(1.6, Math.min(9, 0.8 * pitch));
  return {
    type: "scatter", mode: "markers", x: spikes.time.map((t) => t * dt), y: spikes.neuron, name: plain(layer.title),
    marker: { symbol: "line-ns", size: tall, line: { color: ink, width: size }, color: ink }, hovertemplate: "%{x:.4~g} ms, neuron %{y}<extra></extra>",
  };
}

// After a zoom all neurons in view are drawn.
function zoomed(plot, change, layers, sample, dt, heights, size) {
  layers.map((l, i) => [l, i]).reverse().forEach(([l, i], place) => {
    const key = "yaxis" + (place === 0 ? "" : place + 1), N = l.array.shape[2];
    if (!Object.keys(change).some((name) => name.startsWith(key + ".")) && !("xaxis.range[0]" in change)) return;
    const [low, high] = plot.layout[key].range, from = Math.floor(Math.max(0, low)), to = Math.ceil(Math.min(N, high + 1));
    const found = thinned(l.array, sample, from, to), made = marksOf(found.drawn, l, dt, heights[i] / Math.max(1, to - from), size);
    Plotly.restyle(plot, { x: [made.x], y: [made.y], "marker.size": [made.marker.size] }, [place]);
  });
}

function drawInput(host, image, values, sample, dt) {
  host.replaceChildren();
  if (image) host.append(el("p", { class: "note" }, "Input, the same image at every step:"), pixels(image.shape[1], image.shape[2], (i, j) => image.at(sample, i, j)));
  else if (values) {
    const [T, , M] = values.shape, plot = el("div", { class: "plot" });
    host.append(el("p", { class: "note" }, "Input, values over time:"), plot);
    const z = Array.from({ length: M }, (_, j) => Array.from({ length: T }, (_, t) => values.at(t, sample, j)));
    const layout = layoutOf({ title: "time (ms)", type: "linear" }, { title: "channel", type: "linear" }, { height: Math.min(300, 140 + 3 * M) });
    draw(plot, [{ type: "heatmap", z, x: Array.from({ length: T }, (_, t) => t * dt), colorscale: scale(), colorbar: { thickness: 12, outlinewidth: 0, tickfont: { color: theme("muted") } } }], layout);
  }
}

function scale() {
  return [[0, theme("low")], [1, theme("high")]];
}

function pixels(height, width, at) {
  const canvas = el("canvas", { width, height, role: "img", "aria-label": "sample" }), context = canvas.getContext("2d"), held = context.createImageData(width, height);
  let low = Infinity, high = -Infinity;
  for (let i = 0; i < height; i++) for (let j = 0; j < width; j++) { const v = at(i, j); low = Math.min(low, v); high = Math.max(high, v); }
  for (let i = 0; i < height; i++) for (let j = 0; j < width; j++) {
    const v = high > low ? 255 * (at(i, j) - low) / (high - low) : 0, n = 4 * (i * width + j);
    held.data[n] = held.data[n + 1] = held.data[n + 2] = v;
    held.data[n + 3] = 255;
  }
  context.putImageData(held, 0, 0);
  return canvas;
}

function drawReadout(plot, output, block, sample) {
  const [T, , C] = output.shape, head = block.samples[sample], time = Array.from({ length: T }, (_, t) => t * block.dt), traces = [];
  const mean = (c) => { let sum = 0; return time.map((_, t) => (sum += output.at(t, sample, c)) / (t + 1)); };
  const name = (c) => block.classes[c] === undefined ? `output ${c}` : block.classes[c];
  const special = new Set([head.true, head.predicted]);
  for (let c = 0; c < C; c++) {
    if (head.true === null && C <= 6) { traces.push(trace({ name: name(c), x: time, y: mean(c), colour: c })); continue; }
    if (!special.has(c)) traces.push(Object.assign(trace({ name: name(c), x: time, y: mean(c), colour: "muted" }), { opacity: 0.45, showlegend: false }));
  }
  if (head.true !== null) {
    if (head.predicted !== head.true) traces.push(trace({ name: "taken for: " + name(head.predicted), x: time, y: mean(head.predicted), colour: 1 }));
    traces.push(trace({ name: "true: " + name(head.true), x: time, y: mean(head.true), colour: 2 }));
  }
  draw(plot, traces, layoutOf({ title: "time (ms)", type: "linear" }, { title: "output, mean so far", type: "linear" }, { height: 300, showlegend: true }));
}

const MOST_TRACES = 4;

BLOCKS.membrane = (block, host) => {
  const chosen = kept(block, { sample: 0, layer: 0, neuron: 0 });
  const layers = block.layers.map((l) => Object.assign({}, l, { u: unpacked(l.membrane), s: unpacked(l.spikes), v: l.after ? unpacked(l.after) : null }));
  chosen.sample = Math.min(chosen.sample, block.samples.length - 1);
  chosen.layer = Math.min(chosen.layer, layers.length - 1);
  const made = panel("Membranes", "The membrane up to each step; at a reset it falls straight down to what is left of it. Triangles are spikes, the dashed line is the threshold.", true);
  const plot = el("div", { class: "plot", id: "membrane-plot" }), neurons = el("div");
  const picked = () => {
    const l = layers[chosen.layer], head = block.samples[chosen.sample];
    return Object.assign({}, l, { u: ended(l.u, head), s: ended(l.s, head), v: l.v && ended(l.v, head) });
  };
  const columns = () => {
    const l = picked(), order = l.neurons.map((_, i) => i);
    if (chosen.neuron > 0) return [order[Math.min(chosen.neuron, order.length) - 1]];
    const count = (i) => { let n = 0; for (let t = 0; t < l.s.shape[0]; t++) n += l.s.at(t, chosen.sample, i); return n; };
    return order.map((i) => [count(i), i]).sort((a, b) => b[0] - a[0]).filter((_, i, all) => {
      const firing = all.filter((e) => e[0] > 0).length, wanted = Math.min(MOST_TRACES, all.length);
      const places = new Set(Array.from({ length: wanted }, (_, k) => Math.round(k * (Math.max(firing, wanted) - 1) / Math.max(1, wanted - 1))));
      return places.has(i);
    }).map((e) => e[1]);
  };
  const rows = () => {
    const l = picked(), found = [];
    for (const i of columns()) for (let t = 0; t < l.u.shape[0]; t++) found.push([l.neurons[i], t * block.dt, l.u.at(t, chosen.sample, i), l.v ? l.v.at(t, chosen.sample, i) : null, l.threshold[i], l.s.at(t, chosen.sample, i)]);
    return [["neuron", "time (ms)", "membrane", "after the reset", "threshold", "spike"], found];
  };
  const tables = numbers("membranes", rows);
  const refresh = () => {
    const l = picked();
    neurons.replaceChildren(chooser("Neuron", ["some, from the most to the least active", ...l.neurons.map((n) => `neuron ${n}`)], Math.min(chosen.neuron, l.neurons.length), (i) => { chosen.neuron = i; refresh(); }));
    drawMembranes(plot, l, chosen, columns(), block.dt);
    tables.refresh();
  };
  made.append(el("div", { class: "controls" },
    chooser("Sample", block.samples.map((s) => s.text), chosen.sample, (i) => { chosen.sample = i; refresh(); }),
    chooser("Layer", layers.map((l) => l.title), chosen.layer, (i) => { chosen.layer = i; chosen.neuron = 0; refresh(); }), neurons), plot, tables);
  host.append(made);
  refresh();
};

function drawMembranes(plot, layer, chosen, columns, dt) {
  const each = columns.length === 1 ? 320 : 150, gap = 34, total = columns.length * each + gap * (columns.length - 1), T = layer.u.shape[0];
  const layout = layoutOf({ title: "time (ms)", type: "linear" }, { title: "u", type: "linear" }, { height: total + 90, margin: { l: 58, r: 14, t: 26, b: 46 }, showlegend: false, annotations: [], shapes: [] });
  const ink = colour(chosen.layer), traces = [];
  let low = Infinity, high = -Infinity;
  for (const i of columns) {
    high = Math.max(high, layer.threshold[i]);
    for (let t = 0; t < T; t++) for (const a of [layer.u, layer.v]) if (a) { const u = a.at(t, chosen.sample, i); if (Number.isFinite(u)) { low = Math.min(low, u); high = Math.max(high, u); } }
  }
  const room = 0.14 * (high - low || 1);
  columns.forEach((i, place) => {
    const key = place === 0 ? "" : String(place + 1), top = total - place * (each + gap), x = [], y = [], at = [];
    for (let t = 0; t < T; t++) {
      const u = layer.u.at(t, chosen.sample, i), v = layer.v ? layer.v.at(t, chosen.sample, i) : u;
      x.push(t * dt); y.push(u);
      if (Math.abs(u - v) > 1e-6 * (1 + Math.abs(u))) { x.push(t * dt); y.push(v); }
      if (layer.s.at(t, chosen.sample, i)) at.push(t * dt);
    }
    traces.push({ x, y, mode: T <= 60 ? "lines+markers" : "lines", line: { color: ink, width: 1.8 }, marker: { size: 4 }, yaxis: "y" + key, hovertemplate: "%{x:.4~g} ms: %{y:.4~g}<extra></extra>" });
    traces.push({ x: at, y: at.map(() => high + 0.55 * room), mode: "markers", marker: { symbol: "triangle-down", size: T <= 60 ? 9 : 6, color: ink }, yaxis: "y" + key, hovertemplate: "spike at %{x:.4~g} ms<extra></extra>" });
    layout["yaxis" + key] = axisLayout({ title: "membrane u", type: "linear" }, { domain: [Math.max(0, (top - each) / total), Math.min(1, top / total)], range: [low - room, high + room], nticks: 5 });
    layout.shapes.push({ type: "line", xref: "paper", x0: 0, x1: 1, yref: "y" + key, y0: layer.threshold[i], y1: layer.threshold[i], line: { color: theme("ink"), width: 1.2, dash: "dash" } });
    layout.annotations.push({ xref: "paper", x: 0, yref: "paper", y: top / total, xanchor: "left", yanchor: "bottom", showarrow: false, font: { size: 13, color: theme("ink") },
      text: `<b>neuron ${layer.neurons[i]}</b>  ${at.length} spike${at.length === 1 ? "" : "s"}, threshold ${number(layer.threshold[i])}` });
  });
  layout.xaxis = axisLayout({ title: "time (ms)", type: "linear" }, { range: [-0.7 * dt, (T - 0.3) * dt], dtick: T <= 12 ? dt : undefined, anchor: columns.length > 1 ? "y" + columns.length : "y" });
  draw(plot, traces, layout);
}
