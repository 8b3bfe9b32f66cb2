// The form of `openmer serve`: choose or record a video, send it, follow its analysis, show the result.
// What the server knows of this page comes as events; when they stop, the server forgets the page and its files.
(() => {
  "use strict";

  const $ = (id) => document.getElementById(id);
  const form = $("om-form"), preview = $("om-preview"), shown = preview.querySelector("video"), large = $("om-large");
  let session = null, events = null, chosen = null, stream = null, recorder = null, sending = null, busy = false, another = false;

  const api = (path) => `api/${path}`;
  const own = (path) => api(`sessions/${session}/${path}`);

  // What is shown: the form with a status, or a result.
  function show({ state, html }) {
    if (another && state === "free") { another = false; html = ""; } // the result was given up, not lost
    const done = state === "done";
    busy = state === "busy" || sending !== null;
    form.hidden = done;
    $("om-steps").hidden = done;
    $("om-go").disabled = busy;
    $("om-cancel").hidden = !busy;
    $("om-again").hidden = !done;
    document.body.classList.toggle("om-done", done);
    $("om-result").hidden = !done;
    $("om-result").innerHTML = done ? html : "";
    if (sending === null) put($("om-status"), done ? "" : html);
  }
  function put(place, html) {
    place.innerHTML = html;
    place.hidden = !html;
  }
  function say(text) {
    const message = document.createElement("p");
    message.className = "om-error";
    message.setAttribute("role", "alert");
    message.textContent = text;
    $("om-status").replaceChildren(message);
    $("om-status").hidden = false;
  }
  function sent(share) {
    put($("om-status"), `<div class="om-status" role="status"><b>Sending</b>: ${Math.round(100 * share)} %<div class="om-bar"><div style="width:${100 * share}%"></div></div></div>`);
  }

  // The page's own session.
  async function begin() {
    const answer = await fetch(api("sessions"), { method: "POST" });
    if (!answer.ok) throw new Error(await answer.text());
    session = (await answer.json()).session;
    events = new EventSource(own("events"));
    events.onmessage = (event) => show(JSON.parse(event.data));
    events.onerror = () => {
      if (events.readyState !== EventSource.CLOSED) return; // it tries again by itself
      say("The server does not know this page any more; load it again.");
    };
  }
  addEventListener("pagehide", () => { if (session) navigator.sendBeacon(own("leave")); });
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

  // The video.
  function choose(file) {
    large.hidden = !file || file.size <= Number(large.dataset.maxBytes);
    if (!large.hidden) file = null;
    chosen = file;
    if (shown.src) URL.revokeObjectURL(shown.src);
    shown.srcObject = null;
    if (file) shown.src = URL.createObjectURL(file); else shown.removeAttribute("src");
    preview.hidden = !file;
    $("om-clear").hidden = !file;
    for (const radio of document.querySelectorAll("[name=file]")) radio.checked = false;
  }
  $("om-file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    if (file) choose(file);
    event.target.value = ""; // so that the same file can be chosen again
  });
  $("om-clear").addEventListener("click", () => { closeCamera(); choose(null); });
  const drop = $("om-video");
  for (const kind of ["dragenter", "dragover"]) drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("om-over"); });
  for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("om-over"));
  for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault()); // or the browser opens it
  drop.addEventListener("drop", (event) => { if (event.dataTransfer.files.length) choose(event.dataTransfer.files[0]); });

  // The camera.
  const usable = navigator.mediaDevices && window.MediaRecorder;
  $("om-camera").hidden = !usable;
  function closeCamera() {
    for (const track of stream ? stream.getTracks() : []) track.stop();
    stream = recorder = null;
    $("om-camera").hidden = !usable;
    $("om-record").hidden = $("om-stop").hidden = true;
  }
  $("om-camera").addEventListener("click", async () => {
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { frameRate: { ideal: 60 } }, audio: false });
    } catch (error) {
      say(`The camera cannot be used: ${error.message}`);
      return;
    }
    choose(null);
    preview.hidden = false;
    shown.srcObject = stream;
    shown.play();
    $("om-camera").hidden = true;
    $("om-record").hidden = false;
  });
  $("om-record").addEventListener("click", () => {
    const parts = [];
    recorder = new MediaRecorder(stream);
    const kind = recorder.mimeType.includes("mp4") ? "mp4" : "webm";
    recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
    recorder.addEventListener("stop", () => {
      closeCamera();
      choose(new File(parts, `camera.${kind}`, { type: parts[0]?.type }));
    });
    recorder.start();
    $("om-record").hidden = true;
    $("om-stop").hidden = false;
  });
  $("om-stop").addEventListener("click", () => recorder.stop());

  // The videos in the server's folder.
  async function list() {
    const rows = await (await fetch(api("files"))).json();
    $("om-listed").replaceChildren(...rows.map(({ name, mb }) => {
      const label = document.createElement("label"), radio = document.createElement("input"), size = document.createElement("span");
      Object.assign(radio, { type: "radio", name: "file", value: name });
      size.className = "om-muted";
      size.textContent = ` ${mb} MB`;
      label.append(radio, ` ${name}`, size);
      return label;
    }));
    if (!rows.length) $("om-listed").textContent = "There is no video in it.";
  }
  if ($("om-files")) {
    list();
    $("om-listed").addEventListener("change", (event) => {
      const name = event.target.value;
      closeCamera();
      choose(null);
      event.target.checked = Boolean(name);
    });
    $("om-search").addEventListener("input", (event) => {
      const sought = event.target.value.toLowerCase();
      for (const label of $("om-listed").children) label.hidden = !label.textContent.toLowerCase().includes(sought);
    });
  }

  // From the form to an analysis.
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const listed = document.querySelector("[name=file]:checked");
    if (!chosen && !listed) { say("Drop a video into the box first, or record one."); return; }
    const asked = new URLSearchParams({ engine: document.querySelector("[name=engine]:checked").value });
    if ($("om-explain").querySelector("input").checked) asked.set("explain", "1");
    if (listed) asked.set("file", listed.value); else asked.set("name", chosen.name);
    sending = new XMLHttpRequest();
    sending.open("POST", own(`analyse?${asked}`));
    sending.upload.onprogress = ({ loaded, total }) => { if (sending) sent(loaded / total); };
    const over = (problem) => { sending = null; show({ state: "free", html: "" }); if (problem) say(problem); };
    sending.onload = ({ target }) => {
      if (target.status >= 400) over(target.responseText);
      else sending = null; // what follows comes as events
    };
    sending.onerror = () => over("The server did not take the video. Is it still running?");
    sending.onabort = () => over("");
    show({ state: "busy", html: "" });
    sent(0);
    sending.send(listed ? null : chosen);
  });
  $("om-cancel").addEventListener("click", () => {
    if (sending) sending.abort(); else fetch(own("cancel"), { method: "POST" });
  });
  $("om-again").addEventListener("click", async () => {
    another = true;
    await fetch(own("again"), { method: "POST" });
    choose(null);
  });
  for (const radio of document.querySelectorAll("[name=engine]"))
    radio.addEventListener("change", () => { $("om-note").querySelector("b").textContent = radio.dataset.note; });

  begin().catch((error) => say(error.message));
})();
