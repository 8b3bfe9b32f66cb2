// The interactive parts of a result: the video follows clicks on the timeline and the list, the cursor follows the video.
// Listens on the whole document, since results come and go.
(() => {
  "use strict";

  const NUDGE_S = 0.001; // past a frame's own time, or rounding would show the frame before
  const parts = (element) => {
    const root = element && element.closest(".om-result");
    return root && { root, video: root.querySelector("video"), plot: root.querySelector(".om-plot") };
  };
  const start = (root) => Number(root.dataset.start);
  const end = (root) => Number(root.dataset.end);
  const now = (p) => start(p.root) + p.video.currentTime;

  function seek(p, seconds) {
    const inside = Math.min(Math.max(seconds, start(p.root)), end(p.root) - Number(p.root.dataset.step) / 2);
    stopAt.delete(p.video);
    p.video.currentTime = inside - start(p.root) + NUDGE_S;
  }

  const stopAt = new Map(); // video -> second of the source at which slow playing ends

  function playSlowly(p, row) {
    const from = Number(row.dataset.from), to = Number(row.dataset.to);
    seek(p, from - 0.2);
    setSpeed(p, 0.25);
    stopAt.set(p.video, to + 0.2);
    p.video.play();
  }

  function setSpeed(p, speed) {
    p.video.playbackRate = speed;
    p.root.querySelector("[data-speed]").value = String(speed);
  }

  function step(p, frames) {
    p.video.pause();
    seek(p, now(p) - NUDGE_S + frames * Number(p.root.dataset.step));
  }

  function toggle(p) {
    stopAt.delete(p.video);
    if (p.video.paused) p.video.play(); else p.video.pause();
  }

  function zoom(p, button) {
    p.plot.style.width = `${100 * Number(button.dataset.zoom)}%`;
    for (const other of p.root.querySelectorAll("[data-zoom]")) other.classList.toggle("om-on", other === button);
    reveal(p);
  }

  function reveal(p) {
    const view = p.plot.parentElement, x = share(p) * p.plot.clientWidth;
    if (x < view.scrollLeft || x > view.scrollLeft + view.clientWidth) view.scrollLeft = x - view.clientWidth / 2;
  }

  const share = (p) => Math.min(1, (now(p) - start(p.root)) / (end(p.root) - start(p.root)));

  function toPointer(p, event) {
    const box = p.plot.getBoundingClientRect();
    seek(p, start(p.root) + ((event.clientX - box.left) / box.width) * (end(p.root) - start(p.root)));
  }

  document.addEventListener("click", (event) => {
    const p = parts(event.target);
    if (!p) return;
    const hit = (selector) => event.target.closest(selector);
    const act = hit("[data-act]");
    if (hit("[data-slow]")) playSlowly(p, hit(".om-row"));
    else if (act) ({ play: toggle, back: (q) => step(q, -1), on: (q) => step(q, 1) })[act.dataset.act](p);
    else if (hit("[data-zoom]")) zoom(p, hit("[data-zoom]"));
    else if (hit("[data-seek]")) { p.video.pause(); seek(p, Number(hit("[data-seek]").dataset.seek)); reveal(p); }
  });

  let dragging = null;
  document.addEventListener("pointerdown", (event) => {
    const plot = event.target.closest(".om-plot");
    if (!plot || event.target.closest("[data-seek]") || event.button !== 0) return;
    dragging = parts(plot);
    toPointer(dragging, event);
  });
  document.addEventListener("pointermove", (event) => { if (dragging) toPointer(dragging, event); });
  for (const kind of ["pointerup", "pointercancel"]) document.addEventListener(kind, () => { dragging = null; });

  document.addEventListener("keydown", (event) => {
    if (!event.target.matches || !event.target.matches(".om-plot")) return;
    const p = parts(event.target), many = event.shiftKey ? 10 : 1;
    const does = { ArrowLeft: () => step(p, -many), ArrowRight: () => step(p, many), " ": () => toggle(p) }[event.key];
    if (does) { event.preventDefault(); does(); }
  });

  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-speed]")) setSpeed(parts(event.target), Number(event.target.value));
  });

  // Media events do not bubble, but they can be caught on the way down.
  document.addEventListener("loadedmetadata", (event) => {
    const p = parts(event.target);
    if (!p) return;
    // The overlay has a strip with a small timeline at the bottom; the page has a better one.
    const height = p.video.videoHeight - Number(p.root.dataset.strip), ratio = p.video.videoWidth / height;
    const screen = p.video.parentElement;
    screen.style.aspectRatio = ratio;
    screen.style.maxWidth = `calc(39vh * ${ratio})`;
  }, true);
  document.addEventListener("error", (event) => {
    if (event.target.matches && event.target.matches(".om-screen video")) {
      event.target.hidden = true;
      event.target.nextElementSibling.hidden = false;
    }
  }, true);

  function frame(root, seconds) {
    const { first, step: every } = root.dataset;
    if (first === "") return ""; // frames are unevenly spaced
    return ` · frame ${Number(first) + Math.max(0, Math.floor((seconds - start(root) + 1e-5) / Number(every)))}`;
  }

  function draw() {
    for (const root of document.querySelectorAll(".om-result")) {
      const p = parts(root), seconds = now(p);
      if (stopAt.has(p.video) && seconds >= stopAt.get(p.video)) { stopAt.delete(p.video); p.video.pause(); }
      if (root.drawn === seconds && root.still === p.video.paused) continue;
      root.drawn = seconds;
      root.still = p.video.paused;
      p.plot.querySelector(".om-cursor").style.left = `${100 * share(p)}%`;
      p.plot.setAttribute("aria-valuenow", seconds.toFixed(2));
      root.querySelector(".om-clock").innerHTML = `${seconds.toFixed(2)} s<span>${frame(root, seconds)}</span>`;
      root.querySelector(".om-play").textContent = p.video.paused ? "▶" : "❚❚";
      for (const row of root.querySelectorAll(".om-row"))
        row.classList.toggle("om-now", seconds >= Number(row.dataset.from) && seconds <= Number(row.dataset.to) + NUDGE_S);
      if (!p.video.paused) reveal(p);
    }
    requestAnimationFrame(draw);
  }
  requestAnimationFrame(draw);
})();
