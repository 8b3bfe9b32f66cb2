// The timeline: a canvas over [from, to] seconds of the file, and a narrow one over all of it.
// Curves come as tiles of 512 stretches, each with its lowest and highest value, at steps that double from level to level.

const BINS = 512, FINEST_S = 1 / 512, MAX_TILES = 400, CURVE_PX = 4, GAP_S = 0.25; // px of the crop at the top of the curve
const MARKS = { accepted: "✓", rejected: "✗", unsure: "?", none: "" };
const HANDLES = ["onset", "apex", "offset"];

export class Timeline {
  constructor(canvas, overview, actions) {
    Object.assign(this, { canvas, overview, actions, tiles: new Map(), drawn: 0, pending: 0 });
    this.entries = []; this.others = []; this.selected = null; this.now = 0; this.curves = false;
    canvas.addEventListener("wheel", (e) => this.wheel(e), { passive: false });
    canvas.addEventListener("pointerdown", (e) => this.press(e));
    canvas.addEventListener("pointermove", (e) => this.move(e));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (e) => this.release(e, end));
    overview.addEventListener("pointerdown", (e) => { overview.setPointerCapture(e.pointerId); this.jump(e); });
    overview.addEventListener("pointermove", (e) => { if (e.buttons) this.jump(e); });
    new ResizeObserver(() => this.redraw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
  }

  open(start, end, curves) {
    Object.assign(this, { start, end: Math.max(end, start + 0.01), curves });
    this.tiles.clear();
    this.show(start, this.end);
  }

  show(from, to) {
    const whole = this.end - this.start, span = Math.min(whole, Math.max(0.05, to - from));
    this.from = Math.min(this.end - span, Math.max(this.start, from));
    this.to = this.from + span;
    this.redraw();
  }

  zoom(factor, around = (this.from + this.to) / 2) {
    this.show(around - (around - this.from) * factor, around + (this.to - around) * factor);
  }

  reveal(from, to = from) { // moves only if it must
    const span = this.to - this.from;
    if (from < this.from || to > this.to) this.show((from + to) / 2 - span / 2, (from + to) / 2 + span / 2);
  }

  redraw() {
    if (!this.pending && this.from !== undefined) this.pending = requestAnimationFrame(() => { this.pending = 0; this.draw(); });
  }

  x(t) { return ((t - this.from) / (this.to - this.from)) * this.width; }
  t(event) {
    const box = this.canvas.getBoundingClientRect();
    return this.from + ((event.clientX - box.left) / box.width) * (this.to - this.from);
  }

  wheel(event) {
    event.preventDefault();
    const px = event.deltaMode ? 16 : 1;
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      const by = ((event.deltaX || event.deltaY) * px * (this.to - this.from)) / this.width;
      this.show(this.from + by, this.to + by);
    } else this.zoom(Math.exp((event.deltaY * px) / 400), this.t(event));
  }

  press(event) {
    this.canvas.setPointerCapture(event.pointerId);
    const at = this.t(event), reach = (8 / this.width) * (this.to - this.from), entry = this.selected;
    const box = this.canvas.getBoundingClientRect(), low = event.clientY - box.top < this.axis;
    let handle = null;
    if (entry && low) {
      for (const name of HANDLES) {
        const far = entry[`${name}_s`] === null ? Infinity : Math.abs(entry[`${name}_s`] - at);
        if (far < reach && (!handle || far < handle.far)) handle = { name, far };
      }
    }
    this.drag = { x: event.clientX, at, from: this.from, to: this.to, handle: handle && handle.name, moved: false };
  }

  move(event) {
    if (!this.drag) return;
    this.drag.moved ||= Math.abs(event.clientX - this.drag.x) > 3;
    if (!this.drag.moved) return;
    if (this.drag.handle) {
      this.drag.value = this.actions.snap(this.t(event));
      this.actions.seek(this.drag.value);
    } else {
      const by = ((this.drag.x - event.clientX) / this.width) * (this.drag.to - this.drag.from);
      this.show(this.drag.from + by, this.drag.to + by);
    }
    this.redraw();
  }

  release(event, kind) {
    const drag = this.drag;
    this.drag = null;
    if (!drag || kind === "pointercancel") return this.redraw();
    if (drag.handle && drag.moved) this.actions.mark(drag.handle, drag.value);
    else if (!drag.moved) {
      const hit = this.entries.find((e) => e.onset_s <= drag.at && drag.at <= e.offset_s);
      const y = event.clientY - this.canvas.getBoundingClientRect().top;
      if (hit && y < 26 && hit !== this.selected) this.actions.select(hit.id);
      else this.actions.seek(drag.at);
    }
    this.redraw();
  }

  jump(event) {
    const box = this.overview.getBoundingClientRect(), span = this.to - this.from;
    const at = this.start + ((event.clientX - box.left) / box.width) * (this.end - this.start);
    this.show(at - span / 2, at + span / 2);
  }

  // The tiles of a level that cover the view; those that are missing are asked for.
  level() { return Math.max(0, Math.ceil(Math.log2((this.to - this.from) / this.width / FINEST_S))); }

  tile(level, index, ask) {
    const key = `${level}/${index}`, known = this.tiles.get(key);
    if (known) { this.tiles.delete(key); this.tiles.set(key, known); return known.values; }
    if (!ask) return null;
    const tile = { values: null }, span = BINS * FINEST_S * 2 ** level;
    this.tiles.set(key, tile);
    this.actions.load(this.start + index * span, this.start + (index + 1) * span, BINS)
      .then((values) => { tile.values = values; this.redraw(); }, () => this.tiles.delete(key));
    while (this.tiles.size > MAX_TILES) this.tiles.delete(this.tiles.keys().next().value);
    return null;
  }

  fit(canvas) {
    const scale = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
      canvas.width = Math.round(width * scale); canvas.height = Math.round(height * scale);
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = "11px system-ui, sans-serif";
    return [pen, width, height];
  }

  draw() {
    const style = getComputedStyle(document.documentElement), color = (name) => style.getPropertyValue(`--${name}`);
    const [pen, width, height] = this.fit(this.canvas);
    if (!width) return;
    this.width = width; this.axis = height - 18; this.drawn += 1;
    for (const [from, to, label] of this.others) {
      if (to < this.from || from > this.to) continue;
      pen.fillStyle = color(label === "no_face" ? "gap" : "other");
      pen.fillRect(this.x(from), 26, Math.max(1, this.x(to) - this.x(from)), this.axis - 26);
      if (this.x(to) - this.x(from) > 60) { pen.fillStyle = color("quiet"); pen.fillText(label.replace("_", " "), this.x(from) + 3, 38); }
    }
    if (this.curves) this.drawCurve(pen, color);
    this.drawAxis(pen, color, width);
    for (const entry of this.entries) this.drawEntry(pen, color, entry);
    pen.fillStyle = color("text");
    pen.fillRect(this.x(this.now) - 0.5, 0, 1, this.axis + 4);
    this.drawOverview(color);
  }

  drawCurve(pen, color) {
    const level = this.level(), y = (v) => this.axis - (Math.min(v, CURVE_PX) / CURVE_PX) * (this.axis - 30);
    const span = BINS * FINEST_S * 2 ** level, bin = span / BINS;
    const last = Math.floor((Math.min(this.to, this.end) - this.start) / span);
    pen.fillStyle = pen.strokeStyle = color("curve");
    pen.lineWidth = 1.2;
    pen.beginPath();
    let before = -Infinity; // when the curve was last known; over more than GAP_S it is not joined
    const first = Math.max(0, Math.floor((this.from - this.start) / span));
    for (let index = first; index <= last; index++) {
      let values = this.tile(level, index, true), step = bin, at = this.start + index * span;
      for (let up = 1; !values && up < 5; up++) { // a coarser tile meanwhile
        values = this.tile(level + up, index >> up, false); step = bin * 2 ** up; at = this.start + (index >> up) * span * 2 ** up;
      }
      if (!values) continue;
      const left = Math.max(this.start + index * span, this.from - GAP_S), right = Math.min(this.start + (index + 1) * span, this.to + GAP_S);
      for (let k = Math.max(0, Math.floor((left - at) / step)); k < BINS && at + k * step < right; k++) {
        const low = values[k], high = values[BINS + k], middle = at + (k + 0.5) * step, x = this.x(middle);
        if (Number.isNaN(high) || middle <= before) continue;
        if (middle - before > Math.max(GAP_S, 1.5 * step)) pen.moveTo(x, y(high)); else pen.lineTo(x, y(high));
        if (high > low) { pen.lineTo(x, y(low)); pen.moveTo(x, y(high)); }
        before = middle;
      }
    }
    pen.stroke();
    pen.fillStyle = color("quiet");
    pen.fillText(`${CURVE_PX} px`, 2, 38);
  }

  drawAxis(pen, color, width) {
    const raw = ((this.to - this.from) / width) * 90, ten = 10 ** Math.floor(Math.log10(raw));
    const step = raw >= 60 ? [60, 120, 300, 600, 1200, 3600].find((s) => s >= raw) || 7200 : [1, 2, 5, 10].map((m) => m * ten).find((s) => s >= raw);
    pen.fillStyle = color("rule");
    pen.fillRect(0, this.axis, width, 1);
    for (let k = Math.ceil(this.from / step); k * step <= this.to; k++) {
      pen.fillStyle = color("rule"); pen.fillRect(this.x(k * step), this.axis, 1, 5);
      pen.fillStyle = color("quiet"); pen.fillText(clock(k * step, step < 1 ? Math.ceil(-Math.log10(step)) : 0), this.x(k * step) + 3, this.axis + 14);
    }
  }

  drawEntry(pen, color, entry) {
    const mine = this.selected && entry.id === this.selected.id, value = (name) => mine && this.drag && this.drag.handle === name && this.drag.value !== undefined ? this.drag.value : entry[`${name}_s`];
    const onset = value("onset"), offset = value("offset"), apex = value("apex");
    if (Math.max(offset, onset) < this.from || Math.min(onset, offset) > this.to) return;
    const left = this.x(onset), wide = Math.max(3, this.x(offset) - left);
    if (mine) { pen.fillStyle = color("wash"); pen.fillRect(left, 22, wide, this.axis - 22); }
    pen.fillStyle = color(entry.verdict === "none" ? "open" : entry.verdict);
    pen.fillRect(left, mine ? 3 : 7, wide, mine ? 19 : 12);
    if (wide > 12) { pen.fillStyle = color("ground"); pen.fillText(MARKS[entry.verdict], left + wide / 2 - 4, 17); }
    if (!mine) return;
    pen.fillStyle = color("accent");
    for (const at of [onset, offset]) pen.fillRect(this.x(at) - 1, 2, 2, this.axis - 2);
    if (apex !== null) {
      pen.beginPath(); pen.moveTo(this.x(apex) - 6, this.axis); pen.lineTo(this.x(apex) + 6, this.axis); pen.lineTo(this.x(apex), this.axis - 9); pen.fill();
    }
  }

  drawOverview(color) {
    const [pen, width, height] = this.fit(this.overview), x = (t) => ((t - this.start) / (this.end - this.start)) * width;
    pen.fillStyle = color("wash");
    pen.fillRect(x(this.from), 0, Math.max(2, x(this.to) - x(this.from)), height);
    for (const entry of this.entries) {
      pen.fillStyle = color(entry.verdict === "none" ? "open" : entry.verdict);
      pen.fillRect(x(entry.onset_s), 3, Math.max(2, x(entry.offset_s) - x(entry.onset_s)), height - 6);
    }
    pen.fillStyle = color("text");
    pen.fillRect(x(this.now), 0, 1, height);
  }
}

export function clock(seconds, digits = 3) {
  const sign = seconds < 0 ? "-" : "", s = Math.abs(seconds);
  if (s < 60) return `${sign}${s.toFixed(digits)}`;
  const whole = Number((s % 60).toFixed(digits)), minutes = Math.floor(s / 60) + (whole >= 60 ? 1 : 0), rest = (whole >= 60 ? 0 : whole).toFixed(digits);
  const padded = rest.padStart(digits ? digits + 3 : 2, "0");
  return minutes < 60 ? `${sign}${minutes}:${padded}` : `${sign}${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${padded}`;
}
