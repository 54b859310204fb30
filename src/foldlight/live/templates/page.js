"use strict";
// Asks how things stand; the answer comes when there is news, or after a second. Pictures are loaded when they changed,
// and the last ones stay when nobody answers any more.
const PATIENCE_MS = 20000;
const part = (id) => document.getElementById(id);
const count = new Intl.NumberFormat("en");
const names = ["amplitude", "phase"];
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
let shown = -1;
let revision = -1;

function seconds(value) {
  if (value === null) return "–";
  return value < 1 ? `${Math.round(value * 1000)} ms` : `${value.toFixed(value < 10 ? 2 : 1)} s`;
}

function clock(value) {
  const whole = Math.floor(value);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return `${h ? `${h}:` : ""}${h ? String(m).padStart(2, "0") : m}:${String(s).padStart(2, "0")}`;
}

function write(id, text, warn = false) {
  const found = part(id);
  if (found.textContent !== text) found.textContent = text;
  found.classList.toggle("warning", warn);
}

function range(name, [low, high]) {
  return name === "phase" ? `${low.toFixed(2)} to ${high.toFixed(2)} rad about its mean` : `${low.toFixed(2)} to ${high.toFixed(2)}`;
}

function tell(now) {
  document.title = `${now.title} · ${now.state}`;
  write("title", now.title);
  write("state", now.message || now.state, ["given up", "failed"].includes(now.state));
  for (const name of ["received", "reconstructed"]) write(name, count.format(now[name]));
  const back = now.deferred ? ` (${count.format(now.deferred)} skipped for now)` : "";
  write("waiting", count.format(now.waiting) + back, now.rate_hz > 0 && now.waiting > 2 * now.rate_hz);
  write("dropped", count.format(now.dropped), now.dropped > 0);
  write("rate", now.rate_hz.toFixed(now.rate_hz < 10 ? 1 : 0));
  write("median", seconds(now.latency_median_s));
  write("p99", seconds(now.latency_p99_s));
  write("elapsed", clock(now.elapsed_s));
  part("notes").hidden = now.notes.length === 0;
  part("notes").replaceChildren(...now.notes.map((note) => {
    const line = document.createElement("li");
    line.textContent = note;
    return line;
  }));
}

async function show(picture, reconstructed) {
  // Decoded before it is put in its place, so that nothing flickers.
  const loaded = names.map((name) => {
    const image = new Image();
    image.src = `${name}.png?v=${picture.version}`;
    return image;
  });
  await Promise.all(loaded.map((image) => image.decode()));
  names.forEach((name, place) => {
    const old = part(name);
    const fresh = loaded[place];
    fresh.id = name;
    fresh.alt = `${name} of the object, ${picture.width} by ${picture.height} pixels, from ${count.format(reconstructed)} frames, ${range(name, picture.scales[name])}`;
    old.replaceWith(fresh);
    write(`${name}-range`, range(name, picture.scales[name]));
  });
  part("pictures").hidden = false;
  shown = picture.version;
  document.documentElement.dataset.version = String(shown);
}

async function ask() {
  const answer = await fetch(`state.json?after=${revision}`, { signal: AbortSignal.timeout(PATIENCE_MS) });
  if (!answer.ok) throw new Error(String(answer.status));
  const now = await answer.json();
  tell(now);
  if (now.picture && now.picture.version !== shown) await show(now.picture, now.reconstructed);
  revision = now.revision;
  document.documentElement.dataset.ready = "yes";
}

async function run() {
  for (;;) {
    try {
      await ask();
    } catch {
      write("state", "foldlight live does not answer; the last image is kept", true);
      revision = -1;
      await pause(1000);
    }
  }
}

run();
