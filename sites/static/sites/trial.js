// Says beside 'Test connection' that it is under way, and when no outcome came back.
"use strict";

const trial = document.getElementById("trial");

document.body.addEventListener("htmx:beforeRequest", () => {
  trial.textContent = "Trying; this takes up to 20 seconds.";
});
document.body.addEventListener("htmx:afterRequest", () => {
  if (!trial.querySelector(".outcome")) {
    trial.textContent =
      "SoloBoard gave no outcome. It may be away, or you have been logged out: log in again in another tab.";
  }
});
