"use strict";
/* The table of results: a heading sorts by its column, choosers hide rows. Empty cells stay last. */

function sortBy(table, column) {
  const heads = [...table.tHead.rows[0].cells];
  const ascending = heads[column].getAttribute("aria-sort") === "descending" ||
    (!heads[column].hasAttribute("aria-sort") && heads[column].classList.contains("label"));
  heads.forEach(head => head.removeAttribute("aria-sort"));
  heads[column].setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const rows = [...table.tBodies[0].rows];
  rows.sort((one, other) => order(one.cells[column].dataset.value, other.cells[column].dataset.value, ascending));
  table.tBodies[0].append(...rows);
}

function order(one, other, ascending) {
  if (one === "" || other === "") return (one === "") - (other === "");
  const numbers = [Number(one), Number(other)];
  const found = numbers.some(Number.isNaN) ? one.localeCompare(other) : numbers[0] - numbers[1];
  return ascending ? found : -found;
}

function filterRows(table, filters) {
  for (const row of table.tBodies[0].rows) {
    row.hidden = filters.some(select => select.value !== "" && row.dataset[select.dataset.filter] !== select.value);
  }
}

function prepareTable(table) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => sortBy(table, column));
  });
  const filters = [...document.querySelectorAll("[data-filter]")];
  filters.forEach(select => select.addEventListener("change", () => filterRows(table, filters)));
  filterRows(table, filters);
}
