"use strict";
/* Ties choosers to images and plots. A key is the chosen values, joined by `|`. */

const report = JSON.parse(document.getElementById("data").textContent);
const chosen = names => names.split(",").map(name => document.querySelector(`[data-choose="${name}"]`).value).join("|");

const CASE = "dose,view,split";
const PRINTED_PX = 330; // half of a printed page
const boxes = [...document.querySelectorAll("[data-plots]")];
const images = document.querySelector(".quantity") && new Viewer(document.querySelector(".quantity").parentElement, report);

function drawAll(names, printed) {
  for (const box of boxes.filter(each => names.some(name => each.dataset.by.split(",").includes(name)))) {
    drawPlots(box, report.plots[box.dataset.plots][chosen(box.dataset.by)] || [], printed);
  }
}

function everyName() {
  return [...new Set(boxes.flatMap(box => box.dataset.by.split(",")))];
}

async function begin() {
  const table = document.getElementById("results");
  prepareTable(table);
  document.querySelectorAll("select[data-choose]").forEach(select => select.addEventListener("change", () => {
    if (images && CASE.split(",").includes(select.dataset.choose)) images.show(chosen(CASE));
    if (window.Plotly) drawAll([select.dataset.choose]);
  }));
  if (images) await images.show(chosen(CASE));
  if (boxes.length) {
    await loadPlotly();
    drawAll(everyName());
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(everyName()));
  }
  prepareForPrint();
  document.documentElement.dataset.ready = "yes";
}

/* On paper everything is open, images show all, plots fit half a page. */
function prepareForPrint() {
  let closed = [];
  window.addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach(each => each.setAttribute("open", ""));
    if (images) {
      images.reset();
      images.drawNow();
    }
    if (window.Plotly) drawAll(everyName(), PRINTED_PX);
  });
  window.addEventListener("afterprint", () => {
    closed.forEach(each => each.removeAttribute("open"));
    if (window.Plotly) drawAll(everyName());
  });
}

begin();
