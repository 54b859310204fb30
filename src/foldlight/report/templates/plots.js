"use strict";
/* Plotly figures in the page's colours. The library is unpacked here, and drawn again when the colours change. */

async function loadPlotly() {
  const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), letter => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
}

function pageColours() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(["ink", "soft", "line", "paper"].map(name => [name, style.getPropertyValue(`--${name}`).trim()]));
}

/* A copy of a figure's part with the colours `ink` and `soft` put in. */
function coloured(part, colours) {
  if (Array.isArray(part)) return part.map(each => coloured(each, colours));
  if (part === null || typeof part !== "object") return part;
  return Object.fromEntries(Object.entries(part).map(([name, value]) =>
    [name, name === "color" && colours[value] ? colours[value] : coloured(value, colours)]));
}

function layoutOf(figure, colours, printed) {
  const given = coloured(figure.layout, colours);
  const axis = {gridcolor: colours.line, linecolor: colours.line, zerolinecolor: colours.line, automargin: true};
  const hasLegend = figure.data.some(trace => trace.showlegend !== false);
  const title = text => ({...text, font: {size: 14, color: colours.ink}});
  return {
    ...given,
    title: given.title && title(given.title),
    xaxis: {...axis, ...given.xaxis},
    yaxis: {...axis, ...given.yaxis},
    ...(given.yaxis2 && {yaxis2: {...axis, ...given.yaxis2}}),
    font: {color: colours.ink, family: "system-ui, sans-serif", size: 12},
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: {l: 56, r: given.yaxis2 ? 56 : 16, t: given.title ? 36 : 12, b: hasLegend ? 92 : 44},
    modebar: {bgcolor: "rgba(0,0,0,0)", color: colours.soft, activecolor: colours.ink},
    legend: {orientation: "h", yref: "container", y: 0, yanchor: "bottom", x: 0},
    dragmode: window.matchMedia("(pointer: coarse)").matches ? false : "zoom", // a finger scrolls the page
    autosize: !printed,
    ...(printed ? {width: printed, height: 250, font: {color: colours.ink, family: "system-ui, sans-serif", size: 10}} : {}),
  };
}

function drawPlots(box, figures, printed) {
  const colours = pageColours();
  const config = {responsive: !printed, displaylogo: false, displayModeBar: window.matchMedia("(hover: hover)").matches && "hover", modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"]};
  while (box.children.length > figures.length) {
    Plotly.purge(box.lastChild);
    box.lastChild.remove();
  }
  figures.forEach((figure, place) => {
    const plot = box.children[place] || box.appendChild(Object.assign(document.createElement("div"), {className: "plot"}));
    plot.setAttribute("role", "img");
    plot.setAttribute("aria-label", figure.alt);
    Plotly.react(plot, coloured(figure.data, colours), layoutOf(figure, colours, printed), config);
  });
}
