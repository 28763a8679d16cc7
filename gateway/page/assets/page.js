// What the page does beside htmx: the browser's zone, how far away an instant is, copying, asking before an act.
"use strict";

const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;
const SECOND = 1000;

function tellZone() {
  const told = "pal_zone=" + encodeURIComponent(ZONE);
  if (ZONE && !document.cookie.split("; ").includes(told)) {
    document.cookie = told + "; path=/; max-age=31536000; samesite=lax";
  }
}

function inWords(seconds) {
  const units = [["d", 86400, "h", 3600], ["h", 3600, "min", 60], ["min", 60, "s", 1]];
  for (const [unit, size, lower, small] of units) {
    if (seconds >= size) {
      const rest = Math.floor((seconds % size) / small);
      return Math.floor(seconds / size) + " " + unit + (rest ? " " + rest + " " + lower : "");
    }
  }
  return seconds + " s";
}

function tick() {
  const now = Date.now();
  for (const one of document.querySelectorAll("[data-relative]")) {
    const away = Math.round((Date.parse(one.dataset.relative) - now) / SECOND);
    const text = away >= 0 ? "in " + inWords(away) : inWords(-away) + " ago";
    if (one.textContent !== text) one.textContent = text;
  }
}

function copy(button) {
  const field = document.getElementById(button.dataset.copy);
  field.select();
  const said = document.getElementById("copied");
  const done = () => { said.textContent = "Copied."; };
  if (navigator.clipboard) {
    navigator.clipboard.writeText(field.value).then(done, () => document.execCommand("copy") && done());
  } else if (document.execCommand("copy")) {
    done();
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
});

document.addEventListener("submit", (event) => {
  const asked = event.target.dataset.ask;
  if (asked && !window.confirm(asked)) event.preventDefault();
});

// A part that is drawn anew keeps what was opened in it.
let opened = [];
document.addEventListener("htmx:beforeSwap", (event) => {
  opened = [...event.target.querySelectorAll("details[open][id]")].map((one) => one.id);
});
document.addEventListener("htmx:afterSwap", () => {
  for (const id of opened) document.getElementById(id)?.setAttribute("open", "");
  tick();
});

function say(text) {
  const place = document.getElementById("connection");
  if (place && place.textContent !== text) place.textContent = text;
}
document.addEventListener("htmx:sendError", () => say("The gateway does not answer; this page tries again."));
document.addEventListener("htmx:responseError", () => say("The gateway cannot answer just now; this page tries again."));
document.addEventListener("htmx:beforeOnLoad", (event) => {
  if (event.detail.xhr.status < 400) say("");
});

tellZone();
tick();
setInterval(tick, SECOND);
