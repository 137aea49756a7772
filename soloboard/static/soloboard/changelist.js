// Names each cell of a list after its column, for narrow screens where a row is shown as a card.
"use strict";

const labels = [...document.querySelectorAll("#result_list thead th")].map((heading) =>
  heading.querySelector(".text")?.textContent.trim(),
);
for (const row of document.querySelectorAll("#result_list tbody tr")) {
  [...row.cells].forEach((cell, index) => {
    if (labels[index] && !cell.classList.contains("action-checkbox")) {
      cell.dataset.label = labels[index];
    }
  });
}
