"use strict";
/* Images that move together. Each arm comes as one grey PNG, amplitude above phase; code 0 was not scored. */

const MOST_ZOOM = 32;

class Viewer {
  constructor(root, data) {
    this.root = root;
    this.data = data;
    this.view = {zoom: 1, x: 0.5, y: 0.5}; // centre, as a fraction of the image
    this.tiles = [];
    this.pointers = new Map();
    this.resized = new ResizeObserver(() => this.draw());
    root.querySelectorAll("[data-zoom]").forEach(button => {
      const factor = {in: 1.5, out: 1 / 1.5, reset: 0}[button.dataset.zoom];
      button.addEventListener("click", () => this.zoomAt(factor, 0.5, 0.5));
    });
  }

  async show(key) {
    const shown = this.data.cases[key];
    this.wanted = key;
    const arms = shown ? await Promise.all(shown.arms.map(arm => this.decode(arm))) : [];
    if (this.wanted !== key) return; // another one was chosen meanwhile
    this.resized.disconnect();
    this.tiles = [];
    this.root.querySelectorAll("[data-quantity]").forEach(block => this.fill(block, shown, arms));
    this.reset();
    const absent = document.getElementById("absent");
    if (absent) absent.hidden = Boolean(shown);
  }

  async decode(arm) {
    const image = new Image();
    image.src = arm.png;
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = image.width;
    canvas.height = image.height;
    const context = canvas.getContext("2d", {willReadFrequently: true});
    context.drawImage(image, 0, 0);
    const pixels = context.getImageData(0, 0, image.width, image.height).data;
    const size = image.width * image.height / 2;
    const take = (start, scale) => Float32Array.from({length: size}, (_, place) => {
      const code = pixels[4 * (start + place)];
      return code === 0 ? NaN : scale.stored[0] + (code - 1) / 254 * (scale.stored[1] - scale.stored[0]);
    });
    const values = {amplitude: take(0, this.data.scales.amplitude), phase: take(size, this.data.scales.phase)};
    return {name: arm.name, score: arm.score, width: image.width, height: image.height / 2, values};
  }

  fill(block, shown, arms) {
    const {quantity, of} = block.dataset;
    const isError = quantity !== of;
    const scale = isError ? shown?.errors[of] : this.data.scales[of];
    const truth = arms.find(arm => arm.name === "truth");
    const tiles = block.querySelector(".tiles");
    tiles.replaceChildren();
    block.hidden = !shown || !scale || (isError && !truth);
    if (block.hidden) return;
    this.colourBar(block.querySelector(".bar"), scale);
    for (const arm of arms) {
      if (isError && arm === truth) continue;
      const values = isError ? difference(arm.values[of], truth.values[of], of === "phase") : arm.values[of];
      tiles.append(this.tile(arm, values, scale, shown.name));
    }
  }

  colourBar(bar, scale) {
    const table = this.data.colours[scale.colours];
    const stops = Array.from({length: 17}, (_, n) => `#${table.slice(6 * Math.round(255 * n / 16), 6 * Math.round(255 * n / 16) + 6)}`);
    const [low, high] = [scale.low, scale.high].map(value => told(value, scale));
    bar.querySelector(".low").textContent = low;
    bar.querySelector(".high").textContent = scale.unit ? `${high} ${scale.unit}` : high;
    bar.querySelector(".colours").style.background = `linear-gradient(to right, ${stops.join(", ")})`;
    bar.setAttribute("aria-label", `Colour scale of the ${scale.name}, from ${low} to ${high} ${scale.unit}`);
  }

  tile(arm, values, scale, name) {
    const figure = document.createElement("figure");
    figure.className = "tile";
    const canvas = document.createElement("canvas");
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${scale.name} of ${arm.name}${name ? `, ${name}` : ""}`);
    canvas.style.aspectRatio = `${arm.width} / ${arm.height}`;
    const caption = document.createElement("figcaption");
    const [title, score, value] = ["b", "span", "output"].map(tag => document.createElement(tag));
    title.textContent = arm.name;
    score.textContent = scale.name === "phase" ? arm.score : "";
    caption.append(title, score, value);
    figure.append(canvas, caption);
    const bitmap = paint(values, arm.width, arm.height, scale, this.data.colours[scale.colours]);
    this.tiles.push({canvas, bitmap, values, scale, value});
    this.listen(canvas);
    this.resized.observe(canvas);
    return figure;
  }

  listen(canvas) {
    const at = event => {
      const box = canvas.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    };
    canvas.addEventListener("wheel", event => {
      if (!event.ctrlKey && document.activeElement !== canvas) return; // the page scrolls
      event.preventDefault();
      this.zoomAt(Math.exp(-event.deltaY / 300), ...at(event));
    }, {passive: false});
    canvas.addEventListener("dblclick", event => this.zoomAt(2, ...at(event)));
    canvas.addEventListener("pointerdown", event => {
      this.pointers.set(event.pointerId, at(event));
      if (this.view.zoom > 1 || this.pointers.size > 1) canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", event => this.moved(event, at(event)));
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, event => this.pointers.delete(event.pointerId));
    }
    canvas.addEventListener("pointerleave", event => {
      this.pointers.delete(event.pointerId);
      this.cursor = null;
      this.draw();
    });
    canvas.addEventListener("keydown", event => this.key(event));
  }

  moved(event, place) {
    const before = this.pointers.get(event.pointerId);
    if (before && this.pointers.size === 2) {
      const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
      const spread = point => Math.hypot(point[0] - other[0], point[1] - other[1]);
      this.zoomAt(spread(place) / Math.max(spread(before), 1e-3), (place[0] + other[0]) / 2, (place[1] + other[1]) / 2);
    } else if (before && this.pointers.size === 1) {
      this.pan(before[0] - place[0], before[1] - place[1]);
    }
    if (before) this.pointers.set(event.pointerId, place);
    this.cursor = event.pointerType === "touch" && before ? null : place;
    this.draw();
  }

  key(event) {
    const steps = {ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1]};
    const factors = {"+": 1.5, "=": 1.5, "-": 1 / 1.5, "0": 0};
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in factors) this.zoomAt(factors[event.key], 0.5, 0.5);
    else if (event.key in steps && this.view.zoom > 1) this.pan(...steps[event.key]);
    else return;
    event.preventDefault();
  }

  /* Zoom so that what lies under (x, y), fractions of a canvas, stays there; factor 0 shows all. */
  zoomAt(factor, x, y) {
    if (factor === 0) return this.reset();
    const before = this.view.zoom;
    this.view.zoom = Math.min(Math.max(before * factor, 1), MOST_ZOOM);
    const shift = 1 / before - 1 / this.view.zoom;
    this.pan((x - 0.5) * shift * this.view.zoom, (y - 0.5) * shift * this.view.zoom);
  }

  /* Move by fractions of what is visible. */
  pan(x, y) {
    const {zoom} = this.view, edge = 0.5 / zoom;
    this.view.x = Math.min(Math.max(this.view.x + x / zoom, edge), 1 - edge);
    this.view.y = Math.min(Math.max(this.view.y + y / zoom, edge), 1 - edge);
    this.draw();
  }

  reset() {
    this.view = {zoom: 1, x: 0.5, y: 0.5};
    this.draw();
  }

  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.drawNow());
  }

  drawNow() {
    const {zoom, x, y} = this.view;
    this.root.classList.toggle("zoomed", zoom > 1);
    for (const tile of this.tiles) {
      const {canvas, bitmap} = tile;
      const width = Math.round(canvas.clientWidth * (window.devicePixelRatio || 1));
      const height = Math.round(width * bitmap.height / bitmap.width);
      if (!width) continue;
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, {width, height});
      const seen = {width: bitmap.width / zoom, height: bitmap.height / zoom};
      const left = x * bitmap.width - seen.width / 2, top = y * bitmap.height - seen.height / 2;
      const context = canvas.getContext("2d");
      context.clearRect(0, 0, width, height);
      context.imageSmoothingEnabled = seen.width > width; // enlarged pixels stay sharp
      context.drawImage(bitmap, left, top, seen.width, seen.height, 0, 0, width, height);
      scaleBar(context, width, height, seen.width, this.data.pixel);
      canvas.dataset.view = [zoom, x, y].map(value => value.toFixed(4)).join(" ");
      tile.value.textContent = this.cursor ? this.under(tile, left, top, seen) : "";
      if (this.cursor) cross(context, this.cursor[0] * width, this.cursor[1] * height);
    }
  }

  under({values, scale, bitmap}, left, top, seen) {
    const column = Math.floor(left + this.cursor[0] * seen.width), row = Math.floor(top + this.cursor[1] * seen.height);
    const value = values[row * bitmap.width + column];
    return Number.isFinite(value) ? `${told(value, scale)} ${scale.unit}` : "";
  }
}

/* A number as the scale's span makes sense of it. */
function told(value, scale) {
  const digits = Math.max(0, Math.min(4, 2 - Math.floor(Math.log10(scale.high - scale.low))));
  return value.toFixed(digits).replace("-", "−");
}

function difference(values, truth, isPhase) {
  return values.map((value, place) => {
    const found = value - truth[place];
    return isPhase ? found - 2 * Math.PI * Math.round(found / (2 * Math.PI)) : found;
  });
}

function paint(values, width, height, scale, table) {
  const canvas = document.createElement("canvas");
  Object.assign(canvas, {width, height});
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const colours = Array.from({length: 256}, (_, n) => parseInt(table.slice(6 * n, 6 * n + 6), 16));
  values.forEach((value, place) => {
    if (Number.isNaN(value)) return; // stays transparent
    const level = Math.round((value - scale.low) / (scale.high - scale.low) * 255);
    const colour = colours[Math.min(Math.max(level, 0), 255)];
    image.data.set([colour >> 16, (colour >> 8) & 255, colour & 255, 255], 4 * place);
  });
  context.putImageData(image, 0, 0);
  return canvas;
}

/* A bar of round length, about a quarter of the width. */
function scaleBar(context, width, height, seenPixels, pixel) {
  const size = pixel.step * (pixel.nm || 1); // of a shown pixel, in nm or in object pixels
  const wanted = seenPixels * size / 4;
  const power = 10 ** Math.floor(Math.log10(wanted));
  const length = [5, 2, 1].map(step => step * power).find(step => step <= wanted);
  const unit = pixel.nm ? (length >= 1000 ? [length / 1000, "µm"] : [length, "nm"]) : [length, "px"];
  const ratio = window.devicePixelRatio || 1, bar = length / size / seenPixels * width;
  const [left, bottom, thick] = [8 * ratio, height - 8 * ratio, 3 * ratio];
  const text = `${Number(unit[0].toPrecision(3))} ${unit[1]}`;
  context.font = `600 ${11 * ratio}px system-ui, sans-serif`;
  context.lineWidth = 3 * ratio;
  context.lineJoin = "round";
  context.strokeStyle = "rgba(0, 0, 0, 0.75)";
  context.fillStyle = "#fff";
  context.strokeRect(left, bottom - thick, bar, thick);
  context.fillRect(left, bottom - thick, bar, thick);
  context.strokeText(text, left, bottom - thick - 4 * ratio);
  context.fillText(text, left, bottom - thick - 4 * ratio);
}

function cross(context, x, y) {
  const arm = 7 * (window.devicePixelRatio || 1);
  for (const [colour, width] of [["rgba(0, 0, 0, 0.8)", 4], ["#fff", 1.5]]) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.beginPath();
    context.moveTo(x - arm, y);
    context.lineTo(x + arm, y);
    context.moveTo(x, y - arm);
    context.lineTo(x, y + arm);
    context.stroke();
  }
}
