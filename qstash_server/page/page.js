// Fetches what the server holds and keeps the page like it, row by row; sends what is clicked.
//
// Texts of others (URLs, labels, errors) go into the page as text only, never as markup.
"use strict";

const PERIOD_MS = 2_000;
const TIMEOUT_MS = 10_000;
const CONFIRM_MS = 4_000;
const SAID_MS = 8_000;
const LONGEST_BODY = 4_000;

const TIME_ZONE = /^(?:CRON_)?TZ=(\S+)\s+(.*)$/;
const UNITS = [[31_557_600, "y"], [86_400, "d"], [3_600, "h"], [60, "min"], [1, "s"]];
const TONES = { DELIVERED: "good", SUCCESS: "good", ERROR: "bad", FAILED: "bad", FAIL: "bad", RETRY: "warn", ACTIVE: "info", IN_PROGRESS: "info" };
const WORDS = { SUCCESS: "delivered", FAIL: "failed", IN_PROGRESS: "on its way", CANCELED: "cancelled" };

const KEYS = {
  schedules: (row) => row.scheduleId,
  waiting: (row) => row.messageId,
  deadLetters: (row) => row.dlqId,
  events: (row) => String(row.key),
};
const FILLERS = { schedules: fillSchedule, waiting: fillWaiting, deadLetters: fillDeadLetter, events: fillEvent };

const element = (id) => document.getElementById(id);
const [board, login, token, notice, status, said] =
  ["board", "login", "token", "notice", "status", "said"].map(element);

// The server

class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

async function ask(method, path, headers = {}) {
  const response = await fetch(path, {
    method,
    headers: { "X-Requested-With": "qstash-page", ...headers },
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  const text = await response.text();
  const answer = text ? JSON.parse(text) : null;
  if (!response.ok) {
    throw new Refused(response.status, answer?.error ?? `the server answered ${response.status}`);
  }
  return answer;
}

function reason(error) {
  return error instanceof Refused ? error.message : "The server does not answer: try again.";
}

// Refreshing: each look begins when the one before has ended, and none while nobody can see it

let timer = 0;
let looking = false;
let lookAgain = false;
let seenAt = null;

async function refresh() {
  clearTimeout(timer);
  if (looking) {
    lookAgain = true;
    return;
  }
  looking = true;
  do {
    lookAgain = false;
    await look();
  } while (lookAgain);
  looking = false;
  if (!board.hidden && !document.hidden) {
    timer = setTimeout(refresh, PERIOD_MS);
  }
}

async function look() {
  try {
    const data = await ask("GET", "/page/data");
    if (board.hidden) {
      return; // Somebody has logged out in the meantime.
    }
    show(data);
    seenAt = new Date();
    board.classList.remove("stale");
    setText(notice, "");
    sayStatus();
  } catch (error) {
    if (error.status === 401) {
      showLogin("The session has ended.");
      return;
    }
    board.classList.add("stale");
    const what = error instanceof Refused ? `The server says: ${error.message}.` : "The server does not answer.";
    const since = seenAt ? ` What you see is from ${clock(seenAt)}.` : "";
    setText(notice, `${what}${since} Trying again.`);
  }
}

function sayStatus() {
  const paused = document.hidden ? "Paused while the tab is hidden · " : "";
  setText(status, seenAt ? `${paused}Updated ${clock(seenAt)}` : "");
}

document.addEventListener("visibilitychange", () => {
  sayStatus();
  if (document.hidden) {
    clearTimeout(timer);
  } else if (!board.hidden) {
    refresh();
  }
});

// Showing

function show(data) {
  for (const [name, key] of Object.entries(KEYS)) {
    const section = element(name);
    const { rows, total } = data[name];
    showRows(section, rows, key, (tr, row) => FILLERS[name](tr, row, data.now));
    section.classList.toggle("nothing", rows.length === 0);
    if (total !== undefined) {
      showTotal(section, rows.length, total, data.counted);
    }
  }
  const nav = board.querySelector("nav");
  nav.querySelector('[href="#deadLetters"]').classList.toggle("bad", data.deadLetters.total > 0);
  putTime(nav, "latest", data.events.rows[0]?.time, data.now, "none");
}

function showTotal(section, shown, total, counted) {
  const text = total > counted ? `${number(counted)}+` : number(total);
  setText(board.querySelector(`[data-total="${section.id}"]`), text);
  const more = section.querySelector("[data-more]");
  const sentence = more.dataset.more.replace("{shown}", number(shown)).replace("{total}", text);
  setText(more, total > shown ? sentence : "");
}

// A row that stays is changed in place, so that what has the focus, is open or selected stays so.
function showRows(section, rows, key, fill) {
  const body = section.querySelector("tbody");
  const focused = body.contains(document.activeElement) ? document.activeElement : null;
  const wanted = new Set(rows.map(key));
  const known = new Map();
  for (const tr of [...body.rows]) {
    if (wanted.has(tr.dataset.key)) {
      known.set(tr.dataset.key, tr);
    } else {
      tr.remove();
    }
  }
  rows.forEach((row, place) => {
    const tr = known.get(key(row)) ?? newRow(section, key(row));
    fill(tr, row);
    if (body.rows[place] !== tr) {
      body.insertBefore(tr, body.rows[place] ?? null);
    }
  });
  if (focused && document.activeElement !== focused) {
    const next = focused.isConnected ? focused : section.querySelector("h2");
    next.focus({ preventScroll: true });
  }
}

function newRow(section, key) {
  const tr = section.querySelector("template").content.firstElementChild.cloneNode(true);
  tr.dataset.key = key;
  return tr;
}

function fillSchedule(tr, row, now) {
  const [, zone, cron] = row.cron.match(TIME_ZONE) ?? [null, "", row.cron];
  const delay = row.delay ? `+ ${duration(row.delay)}` : "";
  put(tr, { scheduleId: row.scheduleId, method: row.method, url: row.destination, cron, zone, delay });
  put(tr, { paused: row.isPaused ? "paused" : "" });
  putTime(tr, "next", row.nextScheduleTime, now, row.isPaused ? "" : "never");
  putTime(tr, "last", row.lastScheduleTime, now, "not yet");
  putState(tr, "result", Object.values(row.lastScheduleStates ?? {})[0]);
  putLabels(tr, row.labels);
  offer(tr, { pause: !row.isPaused, resume: row.isPaused });
}

function fillWaiting(tr, row, now) {
  putMessage(tr, row);
  put(tr, { sending: row.isInFlight ? "being delivered" : "" });
  put(tr, { attempt: `${number(row.retried + 1)} of ${number(row.maxRetries + 1)}` });
  putTime(tr, "due", row.isInFlight ? null : row.dueAt, now, "");
  putTime(tr, "created", row.createdAt, now, "");
  offer(tr, { send: !row.isInFlight && row.dueAt > now });
}

function fillDeadLetter(tr, row, now) {
  putMessage(tr, row);
  put(tr, { status: row.responseStatus ? `status ${row.responseStatus}` : "no answer", error: row.error ?? "" });
  put(tr, { attempts: number(row.retried + 1) });
  putTime(tr, "failed", row.failedAt, now, "");
}

function fillEvent(tr, row, now) {
  putMessage(tr, row);
  putState(tr, "state", row.state);
  const status = row.responseStatus ? `status ${row.responseStatus}` : "";
  const next = row.nextDeliveryTime > now ? "next attempt" : "next attempt was";
  put(tr, { detail: row.nextDeliveryTime ? next : row.error ?? status });
  putTime(tr, "nextTime", row.nextDeliveryTime, now, "");
  putTime(tr, "time", row.time, now, "");
}

function putMessage(tr, row) {
  put(tr, { method: row.method, url: row.url, messageId: row.messageId });
  put(tr, { origin: origin(row) });
  putLabels(tr, row.labels);
}

// The parts of a row; each writes only what has changed

function put(tr, texts) {
  for (const [name, text] of Object.entries(texts)) {
    const field = tr.querySelector(`[data-field="${name}"]`);
    if (field) {
      setText(field, text);
    }
  }
}

function putTime(tr, name, timeMs, now, otherwise) {
  const field = tr.querySelector(`[data-field="${name}"]`);
  setText(field, timeMs == null ? otherwise : relative(timeMs, now));
  if (timeMs != null && field.dataset.ms !== String(timeMs)) {
    const date = new Date(timeMs);
    field.dataset.ms = timeMs;
    field.dateTime = date.toISOString();
    field.title = date.toLocaleString(undefined, { dateStyle: "full", timeStyle: "long" });
  }
  if (timeMs == null && field.dataset.ms) {
    delete field.dataset.ms;
    field.removeAttribute("datetime");
    field.removeAttribute("title");
  }
}

function putState(tr, name, state) {
  const field = tr.querySelector(`[data-field="${name}"]`);
  setText(field, state ? WORDS[state] ?? state.toLowerCase().replaceAll("_", " ") : "");
  field.className = `chip ${TONES[state] ?? ""}`;
}

function origin(row) {
  const parts = {
    from: row.scheduleId, "to group": row.topicName, "in queue": row.queueName, under: row.flowControlKey,
  };
  return Object.entries(parts).filter(([, name]) => name).map(([word, name]) => `${word} ${name}`).join(", ");
}

function putLabels(tr, labels = []) {
  const place = tr.querySelector("[data-labels]");
  if (!place || place.dataset.shown === JSON.stringify(labels)) {
    return;
  }
  place.dataset.shown = JSON.stringify(labels);
  place.replaceChildren(...labels.map((label) => {
    const chip = document.createElement("span");
    chip.className = "chip";
    chip.textContent = label;
    return chip;
  }));
}

function offer(tr, acts) {
  const focused = document.activeElement;
  for (const [act, possible] of Object.entries(acts)) {
    tr.querySelector(`[data-act="${act}"]`).hidden = !possible;
  }
  if (focused.hidden && tr.contains(focused)) {
    tr.querySelector("button:not([hidden])").focus({ preventScroll: true });
  }
}

function setText(field, text) {
  if (field.textContent !== text) {
    field.textContent = text;
  }
}

function relative(timeMs, now) {
  const seconds = Math.round((timeMs - now) / 1000);
  if (seconds === 0) {
    return "now";
  }
  return seconds < 0 ? `${duration(-seconds)} ago` : `in ${duration(seconds)}`;
}

function duration(seconds) {
  const [size, unit] = UNITS.find(([size]) => seconds >= size);
  return `${number(Math.floor(seconds / size))} ${unit}`;
}

function number(value) {
  return value.toLocaleString("en");
}

function clock(date) {
  return date.toLocaleTimeString();
}

// Acting

board.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-path]");
  if (!button || button.ariaBusy === "true") {
    return;
  }
  if (button.dataset.confirm && !button.dataset.sure) {
    askForConfirmation(button);
  } else {
    act(button);
  }
});

// What cannot be taken back wants a second click on the same place, within a moment.
function askForConfirmation(button) {
  const text = button.textContent;
  button.dataset.sure = "asked";
  button.textContent = button.dataset.confirm;
  const timer = setTimeout(takeBack, CONFIRM_MS);
  button.addEventListener("blur", takeBack, { once: true });

  function takeBack() {
    clearTimeout(timer);
    button.removeEventListener("blur", takeBack);
    delete button.dataset.sure;
    button.textContent = text;
  }
}

async function act(button) {
  const row = button.closest("tr");
  button.ariaBusy = "true";
  try {
    await ask(button.dataset.method, pathOf(button, row));
    say(`${button.dataset.done}: ${row.querySelector(".name").textContent.trim()}`);
  } catch (error) {
    if (error.status === 401) {
      showLogin("The session has ended.");
    } else {
      say(reason(error), "bad");
    }
  } finally {
    button.ariaBusy = null;
  }
  if (!board.hidden) {
    refresh();
  }
}

// The bodies of a dead letter can be large: they are fetched when somebody wants to see them.
// "toggle" does not bubble.
board.addEventListener("toggle", async (event) => {
  const details = event.target;
  if (!details.open || details.dataset.filled) {
    return;
  }
  details.dataset.filled = "yes";
  try {
    const entry = await ask("GET", pathOf(details, details.closest("tr")));
    for (const name of ["responseBody", "body"]) {
      put(details, { [name]: shown(entry[name], entry[`${name}Base64`]) });
    }
  } catch (error) {
    delete details.dataset.filled;
    details.open = false;
    say(reason(error), "bad");
  }
}, true);

function shown(text, base64) {
  if (base64) {
    return `binary, in base64: ${shown(base64)}`;
  }
  if (!text) {
    return "nothing";
  }
  return text.length > LONGEST_BODY ? `${text.slice(0, LONGEST_BODY)}\n… of ${number(text.length)} characters` : text;
}

function pathOf(part, row) {
  return part.dataset.path.replace("{key}", encodeURIComponent(row.dataset.key));
}

let saidTimer = 0;

function say(text, tone = "") {
  clearTimeout(saidTimer);
  said.className = tone;
  said.textContent = text;
  saidTimer = setTimeout(() => { said.textContent = ""; }, SAID_MS);
}

// Logging in and out

let everybodyMayLook = false;

login.addEventListener("submit", async (event) => {
  event.preventDefault();
  // A header is made of bytes: the token goes as UTF-8, as the server reads it.
  const bytes = String.fromCharCode(...new TextEncoder().encode(token.value));
  try {
    await ask("POST", "/page/session", { Authorization: `Bearer ${bytes}` });
    showBoard();
  } catch (error) {
    showLogin(error.status === 401 ? "That is not the token of this server." : reason(error));
  }
});

element("log-out").addEventListener("click", async () => {
  try {
    await ask("DELETE", "/page/session");
    showLogin("");
  } catch (error) {
    say(reason(error), "bad");
  }
});

function showBoard() {
  token.value = "";
  login.hidden = true;
  board.hidden = false;
  element("log-out").hidden = everybodyMayLook;
  refresh();
}

// What was shown goes away with the session.
function showLogin(error) {
  clearTimeout(timer);
  board.hidden = true;
  board.querySelectorAll("tbody").forEach((body) => body.replaceChildren());
  element("log-out").hidden = true;
  seenAt = null;
  sayStatus();
  login.hidden = false;
  setText(element("login-error"), error);
  token.ariaInvalid = error ? "true" : null;
  token.select();
}

async function start() {
  setText(element("host"), location.host);
  try {
    const session = await ask("GET", "/page/session");
    everybodyMayLook = session.open;
    setText(notice, "");
    if (session.loggedIn) {
      showBoard();
    } else {
      showLogin("");
    }
  } catch {
    setText(notice, "The server does not answer. Trying again.");
    setTimeout(start, PERIOD_MS);
  }
}

start();
