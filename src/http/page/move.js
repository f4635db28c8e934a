// The dialog that moves what plays: to a device that was seen, to an address, or to whoever opens a URL.

import { ask } from "./server.js";
import { copy, make, say } from "./text.js";

/** Branches of different flows that began so close together are one device's. */
const TOGETHER_SECONDS = 1;
const MAX_DEVICES = 20;
const at = (id) => document.getElementById(id);

let session = null;
let moved = () => {};
/** Devices that were seen since the page was opened: their care-ofs joined → `{kinds: {kind: {careOf, bindingId, home}}}`. */
const devices = new Map();

/** Learns where a session is, for later. */
export function seen(playing) {
  if (session?.id === playing.id) session = playing;
  const found = [];
  for (const flow of playing.flows) {
    for (const branch of flow.branches.filter((known) => known.transport === "udp" && known.bindingId > 0)) {
      const host = branch.careOf.slice(0, branch.careOf.lastIndexOf(":"));
      const same = found.find((device) => device.host === host && Math.abs(device.since - branch.sinceSeconds) < TOGETHER_SECONDS && !device.kinds[flow.track.kind]);
      const device = same ?? { host, since: branch.sinceSeconds, kinds: {} };
      if (!same) found.push(device);
      device.kinds[flow.track.kind] = { careOf: branch.careOf, bindingId: branch.bindingId, home: flow.homeAddress };
    }
  }
  for (const device of found) {
    const key = Object.values(device.kinds).map((place) => place.careOf).sort().join(" ");
    devices.delete(key);
    devices.set(key, device);
  }
  if (devices.size > MAX_DEVICES) devices.delete(devices.keys().next().value);
}

/** The flows that are chosen. */
function chosen() {
  const kind = at("move-form").elements.what.value;
  return session.flows.filter((flow) => kind === "all" || flow.track.kind === kind);
}

const mode = () => at("move-form").elements.mode.value;

/** `careOf` with a port so much higher. */
function higher(careOf, by) {
  const colon = careOf.lastIndexOf(":");
  return `${careOf.slice(0, colon)}:${Number(careOf.slice(colon + 1)) + by}`;
}

function freeBinding(flow) {
  const taken = new Set(flow.branches.map((branch) => branch.bindingId));
  let id = 1;
  while (taken.has(id)) id += 1;
  return id;
}

function problem(error) {
  const hint = error.kind === "care-of-unproven" ? " Let the device open the URL instead." : "";
  at("move-problem").textContent = `${error.message}.${hint}`;
}

/** Flow by flow: where a device was not seen with that kind, two ports above the one before. */
async function send(place) {
  at("move-problem").textContent = "";
  try {
    for (const [index, flow] of chosen().entries()) {
      const { careOf, bindingId } = place(flow, index);
      const own = flow.branches.find((branch) => branch.careOf === careOf);
      const id = own?.bindingId ?? (flow.branches.some((branch) => branch.bindingId === bindingId) || !bindingId ? freeBinding(flow) : bindingId);
      await ask("PUT", `api/v1/home-addresses/${flow.homeAddress}/bindings/${id}`, { careOf, mode: mode() });
    }
    at("move").close();
    moved();
  } catch (error) {
    problem(error);
  }
}

function sendToDevice(device) {
  const first = Object.values(device.kinds)[0].careOf;
  let next = 0;
  return send((flow) => {
    const known = device.kinds[flow.track.kind];
    if (known) return { careOf: known.careOf, bindingId: known.home === flow.homeAddress ? known.bindingId : 0 };
    next += 2;
    return { careOf: higher(first, next) };
  });
}

function showDevices() {
  const items = [...devices.values()].reverse().map((device) => {
    const places = Object.entries(device.kinds).map(([kind, place]) => `${kind} ${place.careOf}`).join(", ");
    const button = make("button", { type: "button", className: "device" }, places);
    button.addEventListener("click", () => sendToDevice(device));
    return make("li", {}, button);
  });
  at("devices").replaceChildren(...items);
  at("devices").hidden = items.length === 0;
}

async function makeUrl() {
  at("move-problem").textContent = "";
  try {
    const flows = chosen();
    const scope = flows.length === session.flows.length ? "presentation" : "flow";
    const made = await ask("POST", `api/v1/home-addresses/${flows[0].homeAddress}/context`, { scope });
    const url = mode() === "fork" ? `${made.takeoverUrl}&mode=fork` : made.takeoverUrl;
    const drawing = new DOMParser().parseFromString(await ask("POST", "page/qr", { text: url }), "image/svg+xml").documentElement;
    at("url").value = url;
    at("url-until").textContent = `Good until ${new Date(made.expiresAt).toLocaleTimeString()}, for the first device that opens it. Whoever has it can take what plays.`;
    at("qr").replaceChildren(document.importNode(drawing, true));
    at("url-made").hidden = false;
    at("url").select();
  } catch (error) {
    problem(error);
  }
}

function forgetUrl() {
  at("url-made").hidden = true;
  at("url").value = "";
  at("qr").replaceChildren();
}

/** Opens the dialog for a session. */
export function openMove(playing) {
  session = playing;
  const kinds = [...new Set(playing.flows.map((flow) => flow.track.kind))];
  const names = { video: "Pictures only", audio: "Sound only", text: "Subtitles only" };
  const choices = [["all", "All of it"], ...(kinds.length > 1 ? kinds.map((kind) => [kind, names[kind] ?? kind]) : [])];
  const radios = choices.map(([kind, name]) => make("label", {}, make("input", { type: "radio", name: "what", value: kind, checked: kind === "all" }), ` ${name}`));
  at("move-kinds").replaceChildren(...radios);
  at("move-heading").textContent = `Move ${playing.title} to…`;
  at("move-problem").textContent = "";
  forgetUrl();
  showDevices();
  at("move").showModal();
}

/** Makes the dialog work; `call` is called behind each move. */
export function watchDialog(call) {
  moved = call;
  at("move-there").addEventListener("click", () => {
    const address = at("care-of").value.trim();
    if (/:\d+$/.test(address)) send((flow, index) => ({ careOf: higher(address, 2 * index) }));
    else at("move-problem").textContent = "An address and a port are needed, as 192.0.2.7:5000 or [2001:db8::2]:5000.";
  });
  at("care-of").addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      event.preventDefault();
      at("move-there").click();
    }
  });
  at("make-url").addEventListener("click", makeUrl);
  at("copy-url").addEventListener("click", () => copy(at("url").value));
  // Another choice is another URL.
  at("move-form").addEventListener("change", (event) => { if (event.target.type === "radio") forgetUrl(); });
  at("move").addEventListener("close", forgetUrl);
}
