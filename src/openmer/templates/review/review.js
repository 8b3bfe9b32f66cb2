// The coder's workbench. The server holds the truth: each change is sent with the revision that this window shows, one
// after another, and what comes back is shown. A change that could not be sent is kept and sent again.

import { Timeline, clock } from "./timeline.js";

const $ = (id) => document.getElementById(id);
const WINDOW = Math.random().toString(36).slice(2);
const VERDICTS = { accepted: "accepted", rejected: "rejected", unsure: "unsure", none: "open" };
const SIGNS = { accepted: "✓", rejected: "✗", unsure: "?", none: "·" };
const UNIT = /^([LRTBAU]?)(\d{1,2})([A-E]?)(\?)?$/i;
let desk = 0, state = null, selected = null, row = 0, frames = new Float64Array(), times = new Float64Array();
let timer = 0, loop = null, flickering = 0, magnifying = false, count = 0, waiting = 0, refused = false, queue = Promise.resolve();

const api = (path) => `api/${desk}/${path}`;
const entry = () => (state ? state.entries.find((e) => e.id === selected) || null : null);

async function json(url, options) {
  const answer = await fetch(url, options);
  const content = await answer.json();
  if (!answer.ok && answer.status !== 409) throw Object.assign(new Error(content.message), { told: true });
  return { status: answer.status, content };
}

// ---- saving

function change(what) {
  const token = `${WINDOW}-${++count}`, to = desk;
  waiting += 1;
  note();
  // Of a function, what is sent is decided when all before it has been saved: a list would lose what was just added.
  queue = queue.then(() => { const made = typeof what === "function" ? what() : what; return made && send({ ...made, token }, to); }).finally(() => { waiting -= 1; note(); });
  return queue;
}

async function send(what, to) {
  if (to !== desk) return;
  if (what.do === "undo" && refused) { // what a coder takes back is the last thing done, and that was not made
    refused = false;
    trouble("The last change was not made, so there is nothing of it to undo; once more undoes the one before.");
    return;
  }
  refused = false;
  const own = !["undo", "redo"].includes(what.do);
  for (;;) {
    let answer;
    try {
      const body = JSON.stringify({ revision: state.revision, change: what });
      answer = await json(`api/${to}/change`, { method: "POST", headers: { "content-type": "application/json" }, body });
    } catch (error) {
      if (error.told) { refused = own; trouble(`Not saved: ${error.message}`); await reload(); return; }
      trouble("Not saved yet: the server does not answer. Keep this window open; it is tried again.");
      await new Promise((done) => setTimeout(done, 1500));
      continue;
    }
    if (answer.status === 409) {
      show(answer.content.state);
      refused = own;
      trouble("Changed in another window meanwhile: this window now shows what is saved. Your last change was not made; make it again if it is still right.");
      return;
    }
    const before = new Set(state.entries.map((e) => e.id));
    trouble("");
    show(answer.content);
    if (what.do === "add") { const added = state.entries.find((e) => !before.has(e.id)); if (added) select(added.id, false); }
    return;
  }
}

async function reload() { try { show((await json(api("state"))).content); } catch { /* told already */ } }

function note() { $("saved").textContent = waiting ? "saving" : state ? `saved in ${state.file}` : ""; $("saved").dataset.revision = state ? state.revision : ""; }
function trouble(text) { $("trouble").textContent = text; $("trouble").hidden = !text; }
function say(text) { $("live").textContent = ""; requestAnimationFrame(() => { $("live").textContent = text; }); }

function set(values) { if (selected) change({ do: "set", entry: selected, values }); }

function setUnits(of) { // `of` makes the new list from the present one
  const id = selected;
  if (id) change(() => { const e = state.entries.find((each) => each.id === id); return e && { do: "set", entry: id, values: { action_units: of(e.action_units) } }; });
}

function judge(verdict) {
  const e = entry();
  if (!e || (e.origin === "added" && e.verdict === verdict)) return; // what is added is accepted; Del takes it back
  set({ verdict: e.verdict === verdict ? "none" : verdict });
  say(`${place(e)} ${e.verdict === verdict ? "open again" : VERDICTS[verdict]}`);
}

function mark(name, at = row) {
  const e = entry();
  if (!e) return;
  set({ [`${name}_s`]: times[at], [`${name}_frame`]: frames[at] });
  say(`${name} at frame ${frames[at]}`);
}

function add() {
  const onset = row, offset = Math.max(nearest(times[row] + 0.3 * state.slowdown), Math.min(row + 1, times.length - 1));
  if (offset <= onset) return trouble("Nothing can be added at the last frame.");
  change({ do: "add", values: { onset_s: times[onset], onset_frame: frames[onset], offset_s: times[offset], offset_frame: frames[offset] } });
  say("added; set onset, apex and offset");
}

function readUnits(text) {
  const units = [], bad = [];
  for (const word of text.split(/[\s,+;]+/).filter(Boolean)) {
    const found = UNIT.exec(word.replace(/^AU/i, ""));
    if (found && Number(found[2])) units.push({ number: Number(found[2]), side: found[1].toUpperCase(), intensity: found[3].toUpperCase(), certain: !found[4] });
    else bad.push(word);
  }
  return { units, bad };
}

function addUnits() {
  const e = entry(), { units, bad } = readUnits($("unit-new").value);
  if (!e) return;
  $("unit-new").setCustomValidity(bad.length ? `${bad[0]} is not an action unit; such as L12C` : "");
  if (bad.length) { $("unit-new").reportValidity(); trouble(`${bad[0]} is not an action unit: side, number, intensity, such as L12C`); return; }
  const same = (a, b) => a.number === b.number && a.side === b.side;
  $("unit-new").value = "";
  if (units.length) setUnits((given) => [...given.filter((old) => !units.some((u) => same(u, old))), ...units]);
}

// ---- the video

const nearest = (t) => {
  let low = 0, high = times.length - 1;
  while (low < high) { const middle = (low + high) >> 1; if (times[middle] < t) low = middle + 1; else high = middle; }
  return low > 0 && t - times[low - 1] < times[low] - t ? low - 1 : low;
};
const rowOf = (frame) => { let low = 0, high = frames.length - 1; while (low < high) { const m = (low + high) >> 1; if (frames[m] < frame) low = m + 1; else high = m; } return low; };
const width = () => Math.min(state.width, Math.max(320, 160 * Math.ceil(($("stage").clientWidth * devicePixelRatio) / 160)));
const picture = (k, w = width()) => api(`frame/${frames[k]}.jpg?w=${w}`);

let shown = -1, loading = false;
function paint() { // the newest wish wins; one picture is on its way at a time
  if (loading || shown === row || !times.length) return;
  const wish = row, image = new Image();
  loading = true;
  image.onload = () => { $("picture").src = image.src; $("picture").dataset.frame = frames[wish]; shown = wish; loading = false; $("stage-note").textContent = ""; paint(); };
  image.onerror = async () => {
    loading = false; shown = wish;
    try { await json(image.src); } catch (error) { if (error.told) trouble(error.message); else $("stage-note").textContent = "no picture: the server does not answer"; }
  };
  image.src = picture(wish);
}

function seek(k, { reveal = true } = {}) {
  row = Math.max(0, Math.min(times.length - 1, k));
  line.now = times[row];
  if (reveal) line.reveal(times[row]);
  line.redraw();
  const text = `frame ${frames[row]}   ${clock(times[row])} s`;
  $("now").textContent = text;
  $("timeline").setAttribute("aria-valuenow", times[row]);
  $("timeline").setAttribute("aria-valuetext", text);
  paint();
}

const playing = () => timer !== 0;
function pause() {
  cancelAnimationFrame(timer); timer = 0; loop = null;
  $("video").pause(); $("video").hidden = true; $("picture").hidden = false;
  $("play").textContent = "Play"; $("loop").setAttribute("aria-pressed", "false");
}

function play(range = null) {
  stopFlicker();
  if (playing()) { const looped = loop; pause(); if (!range || looped) return; }
  loop = range;
  if (loop) seek(nearest(loop[0]));
  else if (row >= times.length - 1) seek(0);
  const speed = Number($("speed").value), video = $("video"), direct = !loop && state.playable && video.readyState >= 2 && speed >= 0.25;
  let began = performance.now(), from = times[row];
  if (direct) {
    video.playbackRate = speed; video.currentTime = from + 1e-4;
    video.hidden = false; $("picture").hidden = true;
    video.play().catch(() => pause());
  }
  $("play").textContent = "Pause"; $("loop").setAttribute("aria-pressed", String(!!loop));
  const step = (now) => {
    timer = requestAnimationFrame(step);
    const at = direct ? video.currentTime : from + ((now - began) / 1000) * speed;
    let k = nearest(at);
    if (loop && at > loop[1]) { began = now; from = loop[0]; k = nearest(from); }
    if (k !== row) seek(k);
    if (!loop && (at >= times[times.length - 1] || (direct && video.ended))) pause();
  };
  timer = requestAnimationFrame(step);
}

function around() { const e = entry(); if (!e) return null; const margin = 0.15 * state.slowdown; return [e.onset_s - margin, e.offset_s + margin]; }

function stopFlicker() { clearInterval(flickering); flickering = 0; $("flicker").setAttribute("aria-pressed", "false"); }
function flicker() {
  const e = entry();
  if (flickering || !e || e.onset_frame === null || e.apex_frame === null) { stopFlicker(); return; }
  pause();
  $("flicker").setAttribute("aria-pressed", "true");
  let turn = false;
  const next = () => { turn = !turn; seek(rowOf(turn ? e.onset_frame : e.apex_frame)); };
  next();
  flickering = setInterval(next, 350); // fewer than three flashes a second
}

let turning = 0, played = "";
function magnify() {
  const e = entry();
  $("magnify").setAttribute("aria-pressed", String(magnifying));
  const key = e && magnifying ? `${e.id}/${e.onset_frame}/${e.offset_frame}/${$("times").value}` : "";
  if (key === played) return;
  played = key; clearInterval(turning); $("magnified").hidden = true;
  if (!key || e.onset_frame === null || e.offset_frame === null) return;
  const first = rowOf(e.onset_frame), last = rowOf(e.offset_frame), step = Math.max(1, Math.ceil((last - first) / 30)), ready = [];
  const ask = async () => {
    for (let k = first; k <= last && key === played; k += step) {
      const answer = await fetch(api(`magnified/${e.id}/${frames[k]}.jpg?times=${$("times").value}`));
      if (key !== played) return;
      if (!answer.ok) { trouble((await answer.json()).message); return; }
      ready.push(URL.createObjectURL(await answer.blob()));
    }
  };
  ask().catch(() => {});
  let at = 0;
  turning = setInterval(() => {
    if (!ready.length) return;
    $("magnified").hidden = false; at = (at + 1) % (ready.length + 4); // a short rest at the end
    $("magnified").src = ready[Math.min(at, ready.length - 1)];
  }, 110);
}

// ---- what is shown

const place = (e) => `${state.entries.indexOf(e) + 1} of ${state.entries.length}`;
const el = (tag, properties = {}, ...children) => { const made = Object.assign(document.createElement(tag), properties); made.append(...children); return made; };

function show(content) {
  state = content;
  if (!entry()) selected = state.entries.length ? state.entries[0].id : null;
  Object.assign(line, { entries: state.entries, others: state.others, selected: entry() });
  line.redraw();
  const done = state.entries.filter((e) => e.verdict !== "none").length;
  $("progress").textContent = `${done} of ${state.entries.length} judged${state.coder ? ` by ${state.coder}` : ""}${state.blind ? ", blind" : ""}`;
  $("list").replaceChildren(...state.entries.map((e, k) => {
    const units = e.action_units.map(unitText).join("+");
    const item = el("li", { id: `entry-${e.id}`, role: "option" },
      el("span", { className: `sign ${e.verdict}`, textContent: SIGNS[e.verdict] }), el("span", { className: "number", textContent: k + 1 }),
      el("span", { className: "when", textContent: clock(e.onset_s, 2) }), el("span", { className: "span", textContent: `${Math.round(((e.offset_s - e.onset_s) / state.slowdown) * 1000)} ms` }),
      el("span", { className: "what", textContent: [e.expression, units, e.origin === "added" ? "added" : "", e.machine && e.machine.label === "set_aside" ? "set aside" : ""].filter(Boolean).join(" ") }));
    item.setAttribute("aria-selected", String(e.id === selected));
    item.setAttribute("aria-label", `${k + 1}, at ${clock(e.onset_s, 2)} seconds, ${VERDICTS[e.verdict]}${e.expression ? `, ${e.expression}` : ""}`);
    item.onclick = () => select(e.id);
    return item;
  }));
  edit();
  note();
}

const unitText = (u) => `${u.side}${u.number}${u.intensity}${u.certain ? "" : "?"}`;

function edit() {
  const e = entry();
  $("editor").hidden = !e;
  $("list").setAttribute("aria-activedescendant", e ? `entry-${e.id}` : "");
  if (!e) return;
  for (const button of document.querySelectorAll("[data-verdict]")) button.setAttribute("aria-pressed", String(button.dataset.verdict === e.verdict));
  $("marks").tBodies[0].replaceChildren(...[["onset", "["], ["apex", "p"], ["offset", "]"]].map(([name, key], k) => {
    const at = e[`${name}_s`], frame = e[`${name}_frame`];
    const go = el("button", { type: "button", className: "link", textContent: at === null ? "none" : `${clock(at)} s`, title: `Go there (${k + 1})`, disabled: at === null, onclick: () => goTo(name) });
    const here = el("button", { type: "button", title: `${name} at the present frame (${key})`, onclick: () => mark(name) }, "Here ", el("kbd", { textContent: key }));
    return el("tr", {}, el("th", { scope: "row", textContent: name }), el("td", {}, go), el("td", { className: "quiet", textContent: frame === null ? "" : `frame ${frame}` }), el("td", {}, here));
  }));
  fill("expression", e.expression); fill("note", e.note);
  $("units").replaceChildren(...e.action_units.map((u, k) => {
    // Its place in the list as it will be then: where it is shown, or, if one before it is gone, the first of its number.
    const at = (given) => given[k] && given[k].number === u.number ? k : given.findIndex((old) => old.number === u.number);
    const put = (values) => setUnits((given) => given.map((old, i) => (i === at(given) ? { ...old, ...values } : old)));
    const pick = (label, value, choices, field) => { const made = el("select", { onchange: (event) => put({ [field]: event.target.value }) }, ...choices.map(([v, t]) => el("option", { value: v, textContent: t, selected: v === value }))); made.setAttribute("aria-label", `${label} of ${u.number}`); return made; };
    const away = el("button", { type: "button", textContent: "×", onclick: () => setUnits((given) => given.filter((_, i) => i !== at(given))) });
    away.setAttribute("aria-label", `Remove ${unitText(u)}`);
    return el("span", { className: "unit", title: state.units[u.number] || "" }, pick("Side", u.side, [["", "both"], ...["L", "R", "T", "B", "A", "U"].map((s) => [s, s])], "side"), el("b", { textContent: u.number }),
      pick("Intensity", u.intensity, [["", "–"], ...["A", "B", "C", "D", "E"].map((s) => [s, s])], "intensity"), away);
  }));
  $("remove").hidden = e.origin !== "added";
  opinion(e.machine);
  for (const link of document.querySelectorAll("[data-kind]")) { link.href = api(`save/${e.id}.${link.dataset.kind}?times=${$("times").value}`); link.download = `${state.name}-${e.id}.${link.dataset.kind}`; }
  for (const [name, id] of [["onset", "at-onset"], ["apex", "at-apex"]]) {
    const frame = e[`${name}_frame`], source = frame === null ? "" : api(`frame/${frame}.jpg?w=480`);
    $(id).parentElement.classList.toggle("empty", !source);
    if (!source) $(id).removeAttribute("src"); else if ($(id).getAttribute("src") !== source) $(id).src = source;
  }
  magnify();
}

function fill(id, value) { if (document.activeElement !== $(id)) $(id).value = value; $(id).dataset.saved = value; }

function opinion(machine) {
  const parts = [];
  if (machine) {
    parts.push(machine.label.replace("_", " "));
    if (machine.peak_px !== null) parts.push(`peak ${machine.peak_px.toFixed(2)} px`);
    if (machine.regions.length) parts.push(machine.regions.slice(0, 3).join(", ").replaceAll("_", " "));
    const likely = machine.expression; // as in the report: none only if likelier than all expressions together
    if (likely) parts.push(`network: ${likely} ${machine.probabilities[likely].toFixed(2)}`);
    const units = Object.entries(machine.action_units).filter((u) => u[1] >= 0.5).map((u) => u[0]);
    if (units.length) parts.push(units.join(" "));
  }
  $("opinion").textContent = parts.length ? `The machine: ${parts.join("; ")}` : "";
}

function select(id, go = true) {
  leave();
  stopFlicker();
  if (playing()) pause();
  selected = id;
  show(state);
  const e = entry();
  if (!e) return;
  document.getElementById(`entry-${id}`).scrollIntoView({ block: "nearest" });
  line.reveal(e.onset_s, e.offset_s);
  if (go) goTo(e.apex_frame === null ? "onset" : "apex");
  say(`candidate ${place(e)}, ${VERDICTS[e.verdict]}`);
}

function goTo(name) { const e = entry(); if (!e || e[`${name}_s`] === null) return; stopFlicker(); if (playing()) pause(); seek(e[`${name}_frame`] === null ? nearest(e[`${name}_s`]) : rowOf(e[`${name}_frame`])); }
function next(by) { const k = state.entries.findIndex((e) => e.id === selected) + by; if (state.entries[k]) select(state.entries[k].id); }
function zoomEntry() { const e = entry(); if (e) { const margin = Math.max(0.5, 1.5 * (e.offset_s - e.onset_s)); line.show(e.onset_s - margin, e.offset_s + margin); } }
function leave() { const field = document.activeElement; if (field && ["INPUT", "TEXTAREA"].includes(field.tagName)) { commit(field); field.blur(); } }
function commit(field) {
  if (!["expression", "note"].includes(field.id) || !entry()) return;
  const written = (text) => (field.id === "expression" ? text.trim().toLowerCase() : text), value = written(field.value);
  if (value !== written(field.dataset.saved)) { field.dataset.saved = value; set({ [field.id]: value }); }
}

// ---- keys and buttons

const KEYS = {
  j: (e) => step(e, -1), l: (e) => step(e, 1), ArrowLeft: (e) => step(e, -1), ArrowRight: (e) => step(e, 1),
  k: () => play(), " ": () => play(), s: () => play(around()), f: flicker, m: () => { magnifying = !magnifying; magnify(); },
  ArrowDown: () => next(1), ".": () => next(1), ArrowUp: () => next(-1), ",": () => next(-1),
  a: () => judge("accepted"), r: () => judge("rejected"), u: () => judge("unsure"),
  "[": () => mark("onset"), p: () => mark("apex"), "]": () => mark("offset"), 1: () => goTo("onset"), 2: () => goTo("apex"), 3: () => goTo("offset"),
  x: () => $("expression").focus(), c: () => $("unit-new").focus(), t: () => $("note").focus(),
  n: add, Delete: () => { const e = entry(); if (e && e.origin === "added") change({ do: "remove", entry: e.id }); },
  z: (event) => change({ do: event.shiftKey ? "redo" : "undo" }),
  "+": () => line.zoom(0.5, line.now), "=": () => line.zoom(0.5, line.now), "-": () => line.zoom(2, line.now), e: zoomEntry, 0: () => line.show(line.start, line.end),
  "?": () => $("help").showModal(),
};

function step(event, by) { stopFlicker(); if (playing()) pause(); seek(row + by * (event.shiftKey ? 10 : 1)); }

document.addEventListener("keydown", (event) => {
  if (!state || event.ctrlKey || event.metaKey || $("help").open) return;
  if (event.altKey && !event.getModifierState("AltGraph") && !["[", "]"].includes(event.key)) return; // [ ] may need alt
  const field = event.target;
  if (["INPUT", "TEXTAREA", "SELECT"].includes(field.tagName)) {
    if (event.key === "Escape") { leave(); $("list").focus({ preventScroll: true }); }
    if (event.key === "Enter" && field.id === "unit-new") { event.preventDefault(); addUnits(); }
    if (event.key === "Enter" && field.id === "expression") { event.preventDefault(); leave(); }
    return;
  }
  if (["BUTTON", "A"].includes(field.tagName) && [" ", "Enter"].includes(event.key)) return;
  const name = event.key.length === 1 ? event.key.toLowerCase() : event.key; // caps lock changes nothing
  const action = KEYS[name];
  if (action) { event.preventDefault(); action(event); }
});

$("editor").onsubmit = (event) => event.preventDefault();
for (const button of document.querySelectorAll("[data-verdict]")) button.onclick = () => judge(button.dataset.verdict);
for (const [id, action] of Object.entries({
  undo: KEYS.z, "help-open": KEYS["?"], play: () => play(), back: (e) => step(e, -1), forward: (e) => step(e, 1), loop: KEYS.s, flicker, magnify: KEYS.m, add,
  remove: KEYS.Delete, "zoom-in": KEYS["+"], "zoom-out": KEYS["-"], "zoom-entry": zoomEntry, "zoom-all": KEYS[0],
})) $(id).onclick = action;
for (const id of ["expression", "note"]) $(id).addEventListener("change", (event) => commit(event.target));
$("times").addEventListener("change", () => edit());
$("speed").addEventListener("change", () => { if (playing()) { const range = loop; pause(); play(range); } });
$("result").addEventListener("change", (event) => open(Number(event.target.value)));
addEventListener("beforeunload", (event) => { leave(); if (waiting) event.preventDefault(); });

const line = new Timeline($("timeline"), $("overview"), {
  seek: (t) => { stopFlicker(); if (playing()) pause(); seek(nearest(t), { reveal: false }); },
  snap: (t) => times[nearest(t)],
  mark: (name, t) => mark(name, nearest(t)),
  select,
  load: async (from, to, bins) => { const answer = await fetch(api(`curve?from=${from}&to=${to}&bins=${bins}`)); if (!answer.ok) throw new Error("no curve"); return new Float32Array(await answer.arrayBuffer()); },
});
window.openmer = { line }; // for the benchmark that scrolls

async function open(number) {
  leave();
  await queue;
  pause(); stopFlicker();
  desk = number; selected = null; shown = -1; refused = false;
  const { content } = await json(api("state"));
  const numbers = new Float64Array(await (await fetch(api("times"))).arrayBuffer());
  frames = numbers.subarray(0, numbers.length / 2); times = numbers.subarray(numbers.length / 2);
  $("expressions").replaceChildren(...content.expressions.map((value) => el("option", { value })));
  $("timeline").setAttribute("aria-valuemin", content.start_s); $("timeline").setAttribute("aria-valuemax", content.end_s);
  document.title = `${content.name}: OpenMER review`;
  document.documentElement.style.setProperty("--shape", `${content.width} / ${content.height}`);
  line.open(content.start_s, content.end_s, !content.blind);
  $("figures").hidden = content.blind; // the curve is in them
  if (content.playable) $("video").src = api("video"); else $("video").removeAttribute("src");
  show(content);
  if (selected) { const first = state.entries.find((e) => e.verdict === "none") || state.entries[0]; select(first.id); } else seek(0);
  document.body.dataset.ready = "yes";
}

const { content: results } = await json("api/results");
$("result").replaceChildren(...results.map((r, k) => el("option", { value: k, textContent: r.name })));
const begin = Math.max(0, results.findIndex((r) => r.judged < r.total)); // the first with something left to judge
$("result").value = begin;
await open(begin);
