// Copies the token that the page shows. Without the clipboard (plain http) it is selected at least.
"use strict";

const field = document.getElementById("token");
const button = document.getElementById("copy");

field.addEventListener("focus", () => field.select());
button.addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(field.value);
    button.textContent = button.dataset.done;
  } catch {
    field.focus();
  }
});
