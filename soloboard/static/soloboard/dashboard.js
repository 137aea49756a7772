// Fetches the board again while somebody can see it, and says so when that fails.
"use strict";

const PERIOD_MS = 15_000;
const board = document.getElementById("board");
const notice = document.getElementById("refresh-notice");

function refresh() {
  if (document.visibilityState === "visible") {
    htmx.trigger(board, "refresh");
  }
}

setInterval(refresh, PERIOD_MS);
document.addEventListener("visibilitychange", refresh);
board.addEventListener("htmx:afterRequest", (event) => {
  notice.textContent = event.detail.successful
    ? ""
    : "SoloBoard does not answer; what you see may be out of date. Trying again.";
});
