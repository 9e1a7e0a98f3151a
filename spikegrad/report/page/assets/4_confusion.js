// The confusion matrix; a cell shows its samples.
BLOCKS.confusion = (block, host) => {
  const counts = block.counts, C = counts.length, small = block.id === "confusion-small";
  const wrong = [];
  for (let i = 0; i < C; i++) for (let j = 0; j < C; j++) if (i !== j && counts[i][j]) wrong.push([counts[i][j], i, j]);
  wrong.sort((a, b) => b[0] - a[0]);
  const chosen = kept(block, wrong.length ? { row: wrong[0][1], column: wrong[0][2] } : { row: 0, column: 0 });
  const total = counts.flat().reduce((a, b) => a + b, 0), right = counts.reduce((a, row, i) => a + row[i], 0);
  const share = total ? `${right.toLocaleString("en-US")} of ${total.toLocaleString("en-US")} correct (${(100 * right / total).toFixed(2)} %)` : "no sample";
  const made = panel("Confusion", `${share}. Colour is the share of the true class, on a square-root scale.` + (small ? "" : " Choose a cell to see its samples."), false);
  const plot = el("div", { class: "plot", id: block.id + "-plot" });
  made.append(plot, numbers("confusion", () => [["true class", ...block.classes], counts.map((row, i) => [block.classes[i], ...row])]));
  host.append(made);
  if (small) { drawConfusion(plot, block, null); return; }
  const behind = panel("Samples behind a cell", "", false), list = el("div");
  behind.append(list);
  host.append(behind);
  const refresh = () => {
    list.replaceChildren(el("div", { class: "controls" },
      chooser("True class", block.classes, chosen.row, (i) => { chosen.row = i; refresh(); }),
      chooser("Predicted class", block.classes, chosen.column, (i) => { chosen.column = i; refresh(); })), ...cellOf(block, chosen));
    if (wrong.length) list.append(el("h3", { style: "margin-top: 16px" }, "Most frequent errors"), el("div", { class: "under" }, wrong.slice(0, 8).map(([n, i, j]) =>
      el("button", { class: "button", type: "button", on: { click: () => { chosen.row = i; chosen.column = j; refresh(); } } }, `${block.classes[i]} as ${block.classes[j]}: ${n}`))));
    drawConfusion(plot, block, chosen);
  };
  refresh();
  plot.on("plotly_click", (event) => {
    const [row, column] = event.points[0].pointIndex || [event.points[0].y, event.points[0].x];
    chosen.row = row; chosen.column = column;
    refresh();
  });
};

function cellOf(block, chosen) {
  const count = block.counts[chosen.row][chosen.column], held = block.cells.filter((c) => c.true === chosen.row && c.predicted === chosen.column);
  const name = (c) => block.classes[c] === undefined ? String(c) : block.classes[c];
  const verdict = chosen.row === chosen.column ? "were found" : `were taken for ${name(chosen.column)}`;
  const note = el("p", { class: "note" }, `${count.toLocaleString("en-US")} samples of ${name(chosen.row)} ${verdict}` + (held.length ? `; ${held.length} of them:` : count ? "; none was kept." : "."));
  const cards = held.map((c) => el("div", { class: "sample" },
    c.image ? picture(c) : null, c.values ? el("div", {}, "x = " + c.values.map(number).join(", ")) : null,
    el("div", {}, `sample ${c.sample}`), c.scores.map(([k, p]) => el("div", {}, `${name(k)}: ${number(p)}`))));
  return [note, el("div", { class: "gallery" }, cards)];
}

function picture(cell) {
  const grey = bytes(cell.image);
  return pixels(cell.height, cell.width, (i, j) => grey[i * cell.width + j]);
}

function drawConfusion(plot, block, chosen) {
  const counts = block.counts, C = counts.length, names = block.classes.map((c) => plain(c, 12));
  const z = counts.map((row) => { const n = row.reduce((a, b) => a + b, 0); return row.map((v) => n ? Math.sqrt(v / n) : 0); });
  const place = Array.from({ length: C }, (_, i) => i), width = plot.clientWidth || 500, side = Math.max(14, Math.min(46, (width - 110) / C));
  const digits = String(Math.max(...counts.flat())).length, size = Math.min(12, Math.floor(1.6 * side / digits));
  const text = C <= 40 && size >= 8 ? counts.map((row) => row.map((v) => v ? String(v) : "")) : undefined;
  const ticks = C <= 60 ? place : place.filter((i) => i % Math.ceil(C / 30) === 0);
  const layout = layoutOf({ title: "predicted class", type: "linear" }, { title: "true class", type: "linear" },
    { height: Math.round(side * C + 90), showlegend: false, margin: { l: 54, r: 10, t: 8, b: 46 } });
  const labels = { tickvals: ticks, ticktext: ticks.map((i) => names[i]), showgrid: false, tickfont: { size: side < 18 ? 9 : 12 } };
  layout.xaxis = axisLayout({ title: "predicted class", type: "linear" }, Object.assign({ range: [-0.5, C - 0.5], constrain: "domain" }, labels));
  layout.yaxis = axisLayout({ title: "true class", type: "linear" }, Object.assign({ range: [C - 0.5, -0.5] }, labels));
  layout.shapes = chosen ? [{ type: "rect", x0: chosen.column - 0.5, x1: chosen.column + 0.5, y0: chosen.row - 0.5, y1: chosen.row + 0.5, line: { color: theme("c1"), width: 2.5 } }] : [];
  const custom = counts.map((row, i) => row.map((v, j) => [names[i], names[j], v]));
  draw(plot, [{
    type: "heatmap", z, x: place, y: place, zmin: 0, zmax: 1, colorscale: scale(), showscale: false, xgap: C <= 40 ? 1 : 0, ygap: C <= 40 ? 1 : 0, text,
    texttemplate: text ? "%{text}" : undefined, textfont: { size }, customdata: custom,
    hovertemplate: "%{customdata[0]} taken for %{customdata[1]}: %{customdata[2]}<extra></extra>",
  }], layout);
}
