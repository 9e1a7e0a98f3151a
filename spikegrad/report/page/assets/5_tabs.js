// The page: tabs that are drawn when they are opened, the theme, printing, and the refresh of a live page.
let PAGE = JSON.parse(document.getElementById("data").textContent);
let current = null, rounds = 0;

function build() {
  const tabs = document.getElementById("tabs"), main = document.getElementById("main");
  tabs.replaceChildren(...PAGE.tabs.map((t) => el("button", {
    type: "button", role: "tab", id: "tab-" + t.id, "aria-controls": "part-" + t.id, "aria-selected": "false", tabIndex: -1, on: { click: () => open(t.id), keydown: arrow },
  }, t.title)));
  main.replaceChildren(...PAGE.tabs.map((t) => el("section", { id: "part-" + t.id, role: "tabpanel", "aria-labelledby": "tab-" + t.id, hidden: true }, el("h2", {}, t.title), el("div", { class: "blocks" }))));
  const wanted = current || location.hash.slice(1);
  open(PAGE.tabs.some((t) => t.id === wanted) ? wanted : PAGE.tabs[0].id);
}

function open(id) {
  current = id;
  for (const t of PAGE.tabs) {
    const here = t.id === id, button = document.getElementById("tab-" + t.id);
    button.setAttribute("aria-selected", String(here));
    button.tabIndex = here ? 0 : -1;
    document.getElementById("part-" + t.id).hidden = !here;
    if (here) button.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  try { history.replaceState(null, "", "#" + id); } catch (error) { /* a page in a sandbox has no history */ }
  drawTab(id);
}

// The first blocks at once, each of the others when the browser has shown those before it.
function drawTab(id, whole) {
  const host = document.querySelector(`#part-${id} .blocks`);
  if (host.dataset.drawn) return;
  const round = host.dataset.drawn = String(++rounds), left = [...PAGE.tabs.find((t) => t.id === id).blocks];
  const next = () => {
    if (host.dataset.drawn !== round) return;
    if (!left.length) { host.dataset.done = "yes"; host.style.minHeight = ""; return; }
    drawBlock(left.shift(), host);
    if (whole) next(); else setTimeout(next);
  };
  delete host.dataset.done;
  next();
}

function drawBlock(block, host) {
  try {
    BLOCKS[block.kind](block, host);
  } catch (error) {
    console.error(error);
    host.append(el("div", { class: "block wide" }, el("p", { class: "note" }, `This part could not be drawn: ${error.message}`)));
  }
}

function arrow(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const place = PAGE.tabs.findIndex((t) => t.id === current), next = PAGE.tabs[(place + step + PAGE.tabs.length) % PAGE.tabs.length].id;
  open(next);
  document.getElementById("tab-" + next).focus();
}

function clear() {
  for (const t of PAGE.tabs) {
    const host = document.querySelector(`#part-${t.id} .blocks`);
    host.style.minHeight = host.offsetHeight + "px";
    for (const plot of host.querySelectorAll(".js-plotly-plot")) Plotly.purge(plot);
    host.replaceChildren();
    delete host.dataset.drawn;
  }
}

// Everything that is drawn is drawn again: in other colours, or from other numbers.
function again() {
  clear();
  drawTab(current);
}

window.addEventListener("hashchange", () => { const id = location.hash.slice(1); if (id !== current && PAGE.tabs.some((t) => t.id === id)) open(id); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
// On paper all tabs are there, in light colours.
function onPaper() {
  for (const t of PAGE.tabs) document.getElementById("part-" + t.id).hidden = false;
  clear();
  for (const t of PAGE.tabs) drawTab(t.id, true);
}
window.addEventListener("beforeprint", onPaper);
window.addEventListener("afterprint", () => { again(); open(current); });

function heading() {
  document.querySelector("h1").textContent = PAGE.title;
  document.getElementById("subtitle").textContent = PAGE.subtitle;
}

function say(text, lost) {
  const state = document.getElementById("state");
  state.hidden = false;
  state.className = lost ? "lost" : "";
  state.textContent = text;
}

function sayState(training) {
  if (PAGE.state === "failed") say("Training failed: " + PAGE.failure, true);
  else say(PAGE.state === "finished" ? "This run is finished." : training, false);
}

async function poll() {
  try {
    const answer = await fetch("data.json", { headers: PAGE.tag ? { "If-None-Match": PAGE.tag } : {}, cache: "no-store" });
    if (answer.status === 200) take(await answer.json());
    else if (answer.status !== 304) say((await answer.text()).slice(0, 300), true);
    if (answer.status === 304 || answer.status === 200) sayState("In training; this page refreshes by itself.");
  } catch (error) {
    say("The server does not answer; it may have been stopped.", true);
  }
  setTimeout(poll, 2000);
}

function take(page) {
  const same = page.tabs.map((t) => t.id).join() === PAGE.tabs.map((t) => t.id).join();
  PAGE = page;
  heading();
  if (same) again(); else build();
}

heading();
build();
if (PAGE.live) poll();
else if (PAGE.state !== "finished") sayState("This run was in training when the page was written.");
