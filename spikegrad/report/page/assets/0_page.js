// What all blocks use: elements that hold texts as texts, colours of the theme, numbers, arrays.
const BLOCKS = {};
const KEPT = {}; // what a reader chose in a block, by its id, so that a refresh does not lose it

function el(tag, props, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(props || {})) {
    if (key === "class") made.className = value;
    else if (key === "on") for (const [event, f] of Object.entries(value)) made.addEventListener(event, f);
    else if (key in made && key !== "list") made[key] = value;
    else made.setAttribute(key, value);
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined) made.append(child instanceof Node ? child : String(child));
  }
  return made;
}

function theme(name) {
  return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
}

function colour(which) {
  if (typeof which === "number") return theme("c" + (which % 6));
  return theme(which);
}

function faint(hex, alpha) {
  const n = parseInt(hex.slice(1), 16);
  return `rgba(${n >> 16},${(n >> 8) & 255},${n & 255},${alpha})`;
}

// Plotly reads some tags in texts; a name is shown as it is.
function plain(text, most) {
  let line = String(text);
  if (most && line.length > most) line = line.slice(0, most - 1) + "…";
  return line.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

function number(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString("en-US");
  if (size !== 0 && size < 0.001) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

function bytes(code) {
  const text = atob(code), out = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) out[i] = text.charCodeAt(i);
  return out;
}

// An array that Python packed: at(i, j, k) reads it.
function unpacked(held) {
  const raw = bytes(held.data), [a, b, c] = held.shape;
  if (held.type === "f4") {
    const values = new Float32Array(raw.buffer, 0, raw.length >> 2);
    return { shape: held.shape, at: (i, j, k) => values[(i * b + j) * c + k] };
  }
  return {
    shape: held.shape,
    at: (i, j, k) => { const n = (i * b + j) * c + k; return (raw[n >> 3] >> (7 - (n & 7))) & 1; },
  };
}

function csv(columns, rows) {
  const cell = (value) => {
    if (leads(value)) value = value.text;
    let text = value === null || value === undefined ? "" : String(value);
    // A spreadsheet would read a text that begins so as a formula.
    if (typeof value === "string" && /^[=+\-@\t]/.test(text)) text = "'" + text;
    return /[",\n\r]/.test(text) ? '"' + text.replace(/"/g, '""') + '"' : text;
  };
  return [columns, ...rows].map((row) => row.map(cell).join(",")).join("\n") + "\n";
}

function download(name, columns, rows) {
  const url = URL.createObjectURL(new Blob([csv(columns, rows)], { type: "text/csv" }));
  el("a", { href: url, download: name + ".csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

// A cell that leads to a file below the folder of the page, and to nothing else.
function leads(value) {
  return value !== null && typeof value === "object" && typeof value.address === "string" && value.address.startsWith("./");
}

function filled(columns, rows, most) {
  const numeric = columns.map((_, i) => rows.some((r) => typeof r[i] === "number"));
  const cell = (value, i, tag) => el(tag, { class: numeric[i] ? "number" : "" }, leads(value) ? el("a", { href: value.address }, value.text) : tag === "td" ? number(value) : value);
  const shown = rows.slice(0, most || rows.length);
  return el("table", {},
    el("thead", {}, el("tr", {}, columns.map((c, i) => cell(c, i, "th")))),
    el("tbody", {}, shown.map((row) => el("tr", {}, row.map((v, i) => cell(v, i, "td"))))));
}

// The numbers of a figure: a table when asked for, and a file. rows: a function, called then.
function numbers(name, rows) {
  const held = el("div", { class: "scroll" });
  const left = el("span");
  const button = el("button", { class: "button", type: "button", on: { click: () => { const [c, r] = rows(); download(name, c, r); } } }, "CSV");
  const box = el("details", {}, el("summary", {}, "Numbers"), held, el("div", { class: "under" }, button, left));
  box.refresh = () => {
    if (!box.open) return;
    const [columns, all] = rows();
    held.replaceChildren(filled(columns, all, 200));
    left.textContent = all.length > 200 ? `the first 200 of ${all.length} rows; the file has all` : `${all.length} rows`;
  };
  box.addEventListener("toggle", box.refresh);
  return box;
}

function chooser(label, options, value, change) {
  const made = el("select", { "aria-label": label, on: { change: () => change(Number(made.value)) } },
    options.map((text, i) => el("option", { value: String(i) }, text)));
  made.value = String(value);
  return el("label", {}, label, made);
}

function kept(block, start) {
  KEPT[block.id] = Object.assign({}, start, KEPT[block.id]);
  return KEPT[block.id];
}

function panel(title, note, wide) {
  const made = el("div", { class: "block" + (wide ? " wide" : "") });
  if (title) made.append(el("h3", {}, title));
  if (note) made.append(el("p", { class: "note" }, note));
  return made;
}
