// The page: the library, what plays, and moving it. All it knows is from the API; what it draws, it makes of elements and text.

import { answerer, bind, heardConsent, readQuestions, tickQuestions, watchQuestions } from "./consent.js";
import { draw } from "./drawing.js";
import { UNDO_MS, watchDialog, openMove, seen } from "./move.js";
import { ask, listen, signIn, signOut, useToken, whenUnauthorised, whoIsSignedIn } from "./server.js";
import { copy, duration, make, say } from "./text.js";

const SHOWN_TITLES = 200;
const narrow = matchMedia("(max-width: 42rem)");
const at = (id) => document.getElementById(id);

let titles = [];
/** Titles without a picture: they are not asked for one again while they are the same. */
const bare = new Set();
/** Session id → what stands on the page for it. */
const cards = new Map();
/** Home address → when its transition window ends, and how long it is, in milliseconds of `performance.now()`. */
const windows = new Map();

// --- the library

function titleShown(title) {
  const tracks = title.tracks.map((track) => [track.kind, track.codec, track.width && `${track.width}×${track.height}`, track.language].filter(Boolean).join(" "));
  const facts = [
    title.live ? (title.online ? "live" : "live, not there now") : title.indexing ? "being read" : duration(title.durationSeconds),
    title.sizeBytes > 0 && `${(title.sizeBytes / 1e6).toFixed(1)} MB`,
    tracks.join("; "),
  ];
  const item = make("li", {}, make("div", { className: "name" }, title.path), make("div", { className: "quiet" }, facts.filter(Boolean).join(" · ")));
  if (title.problem) item.append(make("p", { className: "problem" }, title.problem));
  const place = `titles/${title.path.split("/").map(encodeURIComponent).join("/")}`;
  if (!bare.has(title.path)) {
    const picture = make("img", { className: "picture", loading: "lazy", alt: "", src: `${place}.picture` });
    picture.addEventListener("error", () => { bare.add(title.path); picture.remove(); });
    item.prepend(picture);
  }
  const copying = make("button", { type: "button" }, "Copy URL");
  copying.setAttribute("aria-label", `Copy the URL of ${title.path}`);
  copying.addEventListener("click", () => copy(title.url));
  const file = make("a", { className: "button", href: `${place}.m3u` }, "Open in a player");
  const vlc = make("a", { className: "button", href: `vlc://${title.url}` }, "VLC");
  file.setAttribute("aria-label", `Open ${title.path} in a player`);
  vlc.setAttribute("aria-label", `Open ${title.path} in VLC`);
  item.append(make("div", { className: "row" }, copying, file, vlc));
  return item;
}

function showTitles() {
  const wanted = at("search").value.trim().toLocaleLowerCase();
  const found = titles.filter((title) => title.path.toLocaleLowerCase().includes(wanted));
  const more = found.length > SHOWN_TITLES ? `, the first ${SHOWN_TITLES} are shown` : "";
  at("found").textContent = `${found.length} of ${titles.length} titles${more}`;
  at("titles").replaceChildren(...found.slice(0, SHOWN_TITLES).map(titleShown));
}

let titlesText = "";
async function readTitles() {
  const read = await ask("GET", "api/v1/titles");
  const text = JSON.stringify(read);
  if (text !== titlesText) {
    titlesText = text;
    titles = read;
    bare.clear();
    showTitles();
  }
  if (titles.some((title) => title.indexing)) later("titles", readTitles, 2000);
}

// --- what plays

function control(id, action, body) {
  return ask("POST", `api/v1/sessions/${id}/${action}`, body ?? {}).then(readSessions).catch((error) => say(error.message));
}

function card(session) {
  const id = session.id;
  const heading = make("h3", { className: "name" }, session.title);
  const state = make("span", { className: "quiet state" });
  const position = make("input", { type: "range", min: "0", step: "1", className: "position" });
  position.setAttribute("aria-label", `Position in ${session.title}`);
  const time = make("span", { className: "quiet time" });
  const toggle = make("button", { type: "button", className: "main toggle" });
  const moving = make("button", { type: "button", className: "move" }, "Move to…");
  const ending = make("button", { type: "button", className: "end" }, "End");
  for (const [button, does] of [[moving, "Move"], [ending, "End"]]) button.setAttribute("aria-label", `${does} ${session.title}${does === "Move" ? " to…" : ""}`);
  const undo = make("div", { className: "row undo", hidden: true });
  const stops = make("div", { className: "row", hidden: true });
  const flows = make("div", { className: "flow" });
  const root = make("article", {}, heading, state, position, make("div", { className: "row" }, toggle, moving, ending, time), undo, stops, flows);
  root.setAttribute("aria-label", session.title);
  const made = { root, state, position, time, toggle, undo, stops, stopsShown: "", flows, session, held: false };
  position.addEventListener("input", () => { made.held = true; timeShown(made, Number(position.value)); });
  position.addEventListener("change", () => {
    control(id, "seek", { positionSeconds: Number(position.value) }).finally(() => { made.held = false; });
  });
  toggle.addEventListener("click", () => control(id, made.session.state === "playing" ? "pause" : "play"));
  moving.addEventListener("click", () => openMove(made.session));
  ending.addEventListener("click", () => { if (confirm(`End ${session.title} for all who watch it?`)) control(id, "end"); });
  return made;
}

function timeShown(made, seconds) {
  const { durationSeconds } = made.session;
  const text = durationSeconds === null ? duration(seconds) : `${duration(seconds)} of ${duration(durationSeconds)}`;
  made.time.textContent = text;
  made.position.setAttribute("aria-valuetext", text);
}

function drawFlows(made) {
  const now = performance.now();
  const drawn = made.session.flows.map((flow) => {
    const window = windows.get(flow.homeAddress);
    const left = window && window.ends > now ? (window.ends - now) / window.length : null;
    return draw(flow, left, narrow.matches);
  });
  made.flows.replaceChildren(...drawn);
}

function update(made, session) {
  made.session = session;
  made.state.textContent = [session.state, session.scale !== 1 && `scale ${session.scale}`, session.speed !== 1 && `speed ${session.speed}`].filter(Boolean).join(", ");
  const does = session.state === "playing" ? "Pause" : "Play";
  if (made.toggle.textContent !== does) made.toggle.textContent = does;
  made.toggle.setAttribute("aria-label", `${does} ${session.title}`);
  made.position.hidden = session.durationSeconds === null;
  if (!made.held) {
    if (session.durationSeconds !== null) made.position.max = String(Math.floor(session.durationSeconds));
    made.position.value = String(Math.floor(session.positionSeconds));
    timeShown(made, session.positionSeconds);
  }
  showStops(made);
  drawFlows(made);
}

/** Where several devices have it, each can be left out. */
function showStops(made) {
  const places = new Map();
  for (const flow of made.session.flows) {
    for (const branch of flow.branches.filter((known) => known.state !== "leaving" && known.bindingId > 0)) {
      const host = branch.careOf.slice(0, branch.careOf.lastIndexOf(":"));
      places.set(host, [...(places.get(host) ?? []), `api/v1/home-addresses/${flow.homeAddress}/bindings/${branch.bindingId}`]);
    }
  }
  const shown = places.size > 1 ? JSON.stringify([...places]) : "";
  if (shown === made.stopsShown) return;
  made.stopsShown = shown;
  const buttons = [...places].map(([host, bindings]) => {
    const button = make("button", { type: "button" }, `Stop at ${host}`);
    button.dataset.host = host;
    button.setAttribute("aria-label", `Stop ${made.session.title} at ${host}`);
    button.addEventListener("click", () => {
      Promise.all(bindings.map((binding) => ask("DELETE", binding))).catch((error) => say(error.message)).finally(() => readSessions().catch(() => {}));
    });
    return button;
  });
  hide(made, made.stops, shown === "");
  made.stops.replaceChildren(...(shown === "" ? [] : buttons));
}

/** Hides a part of a card; the focus does not get lost with it. */
function hide(made, part, hidden = true) {
  if (hidden && part.contains(document.activeElement)) made.toggle.focus();
  part.hidden = hidden;
}

let reading = null;
let again = false;
/** One look at a time; who asks meanwhile has another one after it. */
function readSessions() {
  if (reading) {
    again = true;
    return reading;
  }
  reading = ask("GET", "api/v1/sessions").then(showSessions).finally(() => {
    reading = null;
    if (again) {
      again = false;
      readSessions().catch(() => {});
    }
  });
  return reading;
}

function showSessions(sessions) {
  const present = new Set(sessions.map((session) => session.id));
  for (const [id, made] of cards) {
    if (!present.has(id)) {
      made.root.remove();
      cards.delete(id);
    }
  }
  for (const session of sessions) {
    seen(session);
    if (!cards.has(session.id)) {
      const made = card(session);
      cards.set(session.id, made);
      at("sessions").append(made.root);
    }
    update(cards.get(session.id), session);
  }
  at("nothing-plays").hidden = sessions.length > 0;
}

// --- hand-overs

function tellHandOver(text) {
  const item = make("li", {}, `${new Date().toLocaleTimeString()} ${text}`);
  at("hand-overs").prepend(item);
  while (at("hand-overs").children.length > 50) at("hand-overs").lastChild.remove();
  at("hand-overs").hidden = at("hand-overs-heading").hidden = false;
}

/** Offers to take back what has just gone elsewhere. Flows that go together are taken back together. */
function offerUndo(made, step) {
  const now = performance.now();
  if (!made.undoing || made.undoing.ends < now) made.undoing = { steps: new Map(), ends: 0 };
  const { undoing } = made;
  if (!undoing.steps.has(step.home)) undoing.steps.set(step.home, step);
  const first = undoing.steps.get(step.home);
  const last = (ends) => {
    first.ends = ends;
    undoing.ends = Math.min(...[...undoing.steps.values()].map((known) => known.ends));
  };
  last(now + Math.min(step.lasts, UNDO_MS));
  // Behind its window the old device is served no more; it can be had back where the server takes its address.
  if (step.lasts < UNDO_MS && first.before) isAccepted(first.before.careOf).then((accepted) => { if (accepted) last(now + UNDO_MS); }).catch(() => {});
  if (!made.undo.hidden) return;
  const button = make("button", { type: "button", className: "take-back" }, "Undo");
  button.addEventListener("click", () => takeBack(made));
  made.undo.replaceChildren(make("span", {}, "Moved."), button);
  made.undo.hidden = false;
  say(`It was moved. Undo is there for ${Math.ceil((undoing.ends - now) / 1000)} s.`);
}

async function isAccepted(careOf) {
  const devices = await ask("GET", "api/v1/devices");
  return devices.some((device) => device.accepted && device.places.some((place) => place.careOf === careOf));
}

async function takeBack(made) {
  const steps = [...made.undoing.steps.values()];
  made.undoing = null;
  hide(made, made.undo);
  made.quietUntil = performance.now() + 3000;
  try {
    await Promise.all(steps.map(({ home, before, added }) => {
      if (before === null) return ask("DELETE", `api/v1/home-addresses/${home}/bindings/${added}`);
      const waits = (question) => say(`Waiting for ${answerer(question)} to say yes.`);
      return bind(home, before.bindingId, { careOf: before.careOf, mode: "move" }, waits);
    }));
    say("It is back where it was.");
  } catch (error) {
    say(`It cannot be taken back: ${error.message}`);
  }
  readSessions().catch(() => {});
}

function heardHandOver(event) {
  const made = cards.get(event.session);
  const flow = made?.session.flows.find((known) => known.homeAddress === event.homeAddress);
  const what = `${made ? `${made.session.title}, ` : ""}${flow ? flow.track.kind : event.homeAddress}`;
  const now = performance.now();
  if (event.event === "moving") windows.set(event.homeAddress, { ends: now + event.windowMs, length: Math.max(event.windowMs, 1) });
  if (event.event === "moved") windows.delete(event.homeAddress);
  if (event.event === "started") {
    const gap = event.missingMs === 0 ? "no gap" : `a gap of ${event.missingMs} ms`;
    const lag = event.lagMs > 0 ? `, ${event.lagMs} ms behind` : "";
    tellHandOver(`${what} to binding ${event.bindingId}: ${gap}, ${event.repeatedMs} ms repeated, joined ${event.join}${lag}`);
  }
  if (!made || !flow || now < (made.quietUntil ?? 0)) return;
  // The last look may be from before this or behind it.
  const others = flow.branches.filter((branch) => branch.bindingId !== event.bindingId);
  const before = others.filter((branch) => branch.state !== "leaving").at(-1) ?? others.at(-1);
  if (event.event === "moving" && before) offerUndo(made, { home: event.homeAddress, before: { bindingId: before.bindingId, careOf: before.careOf }, added: null, lasts: event.windowMs });
  if (event.event === "forked") offerUndo(made, { home: event.homeAddress, before: null, added: event.bindingId, lasts: UNDO_MS });
}

function heard(name, event) {
  if (name === "handover") heardHandOver(event);
  if (name === "consent") heardConsent(event);
  if (name === "title" || name === "missed") later("titles", readTitles, 300);
  if (name === "missed") readQuestions().catch(() => {});
  if (name !== "title") readSessions().catch(() => {});
}

// --- running

const waiting = new Set();
function later(name, call, milliseconds) {
  if (waiting.has(name)) return;
  waiting.add(name);
  setTimeout(() => { waiting.delete(name); call().catch(() => {}); }, milliseconds);
}

/** Four times a second: what runs down on the page; each second, what the server says of what plays. */
let ticks = 0;
function tick() {
  const now = performance.now();
  for (const made of cards.values()) {
    if (made.session.flows.some((flow) => (windows.get(flow.homeAddress)?.ends ?? 0) > now - 500)) drawFlows(made);
    if (!made.undo.hidden) {
      const seconds = Math.ceil(((made.undoing?.ends ?? 0) - now) / 1000);
      made.undo.firstChild.textContent = `Moved. ${Math.max(seconds, 0)} s to take it back:`;
      if (seconds <= 0) hide(made, made.undo);
    }
  }
  tickQuestions();
  ticks += 1;
  if (ticks % 4 === 0 && cards.size > 0 && !document.hidden && at("sign-in").hidden) readSessions().catch(() => {});
}

/** Whether something listens, or will again when its pause is over. */
let listening = false;
function start() {
  readTitles().catch((error) => say(error.message));
  readSessions().catch(() => {});
  if (listening) return;
  listening = true;
  listen(heard, (there) => {
    at("connection").textContent = there ? "connected" : "no connection, trying again";
    if (there) readSessions().then(readQuestions).catch(() => {});
  }).finally(() => { listening = false; });
}

async function showWho() {
  const user = await whoIsSignedIn().catch(() => null);
  at("signed-in").hidden = user === null;
  at("signed-in-user").textContent = user ?? "";
}

whenUnauthorised(() => {
  if (!at("signed-in").hidden) at("sign-in-problem").textContent = "The login has ended.";
  at("sign-in").hidden = false;
  at("signed-in").hidden = true;
  at("connection").textContent = "not signed in";
  // What plays is for who is signed in, also that nothing does.
  showSessions([]);
  at("nothing-plays").hidden = true;
});
at("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const [user, password, token] = ["user", "password", "token"].map((id) => at(id).value);
  at("password").value = at("token").value = at("sign-in-problem").textContent = "";
  try {
    if (token) await useToken(token);
    else await signIn(user, password);
  } catch (error) {
    at("sign-in-problem").textContent = error.message;
    at(token ? "token" : "password").focus();
    return;
  }
  at("sign-in").hidden = true;
  at("playing").focus();
  await showWho();
  start();
});
at("sign-out").addEventListener("click", async () => {
  await signOut().catch((error) => say(error.message));
  location.reload();
});
at("search").addEventListener("input", showTitles);
document.addEventListener("visibilitychange", () => { if (!document.hidden && at("sign-in").hidden) readSessions().catch(() => {}); });
narrow.addEventListener("change", () => cards.forEach(drawFlows));
watchQuestions((id) => cards.get(id)?.session);
watchDialog(() => readSessions().catch(() => {}));
setInterval(tick, 250);
await showWho();
start();
