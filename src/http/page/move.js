// The dialog that moves what plays: to a device that has a name or was seen, to an address, or to whoever opens a URL.

import { answerer, bind, placeQuestions } from "./consent.js";
import { ask } from "./server.js";
import { copy, make, say } from "./text.js";

const at = (id) => document.getElementById(id);

/** For so long what was moved can be taken back: what is moved here is, while the old device is served still. */
export const UNDO_MS = 10000;

let session = null;
let moved = () => {};

/** Learns what has become of a session. */
export function seen(playing) {
  if (session?.id !== playing.id) return;
  session = playing;
  if (at("move").open) showDevices();
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

/** Tells who is waited for, in the dialog or where it was. */
function waits(question) {
  at("move-waiting").textContent = `Waiting for ${answerer(question)} to say yes.`;
}

/** All flows at once; where a device was not seen with that kind, two ports above the one before. */
async function send(place) {
  at("move-problem").textContent = at("move-waiting").textContent = "";
  const [flows, how, moving] = [chosen(), mode(), session];
  try {
    await Promise.all(flows.map((flow, index) => {
      const { careOf, bindingId } = place(flow, index);
      const own = flow.branches.find((branch) => branch.careOf === careOf);
      const id = own?.bindingId ?? (flow.branches.some((branch) => branch.bindingId === bindingId) || !bindingId ? freeBinding(flow) : bindingId);
      return bind(flow.homeAddress, id, { careOf, mode: how, transitionMs: how === "move" ? UNDO_MS : undefined }, waits);
    }));
    if (session === moving || session?.id === moving.id) at("move").close();
    moved();
  } catch (error) {
    if (at("move").open) problem(error);
    else say(error.message);
  }
  at("move-waiting").textContent = "";
}

/** Each flow where that kind went before, else two ports above the one before. */
function sendToDevice(places) {
  const [first] = places;
  let next = 0;
  return send((flow, index) => {
    if (first.kind === undefined) return { careOf: higher(first.careOf, 2 * index) };
    const known = places.find((place) => place.kind === flow.track.kind);
    if (known) return { careOf: known.careOf, bindingId: known.homeAddress === flow.homeAddress ? known.bindingId : 0 };
    next += 2;
    return { careOf: higher(first.careOf, next) };
  });
}

/** In which states a device has flows of this session. */
function statesAt(device) {
  const branches = session.flows.flatMap((flow) => flow.branches);
  return device.places.flatMap((place) => branches.filter((branch) => branch.careOf === place.careOf).map((branch) => branch.state));
}

function ago(seconds) {
  if (seconds < 90) return "now or a moment ago";
  return seconds < 5400 ? `${Math.round(seconds / 60)} min ago` : `${Math.round(seconds / 3600)} h ago`;
}

function deviceShown(device) {
  const states = statesAt(device);
  const places = device.places.map((place) => [place.kind, place.careOf].filter(Boolean).join(" ")).join(", ");
  const name = device.name ? `${device.name}, ${places}` : places;
  const when = device.seenSecondsAgo === null ? [] : [states.length > 0 ? "has it now" : `seen ${ago(device.seenSecondsAgo)}`];
  // What is being left can be had back as it stands.
  if (!device.accepted && !states.includes("leaving")) {
    const why = states.length > 0 ? when : [...when, "has to open the URL"];
    return make("li", { className: "quiet" }, [name, ...why].join(", "));
  }
  const button = make("button", { type: "button", className: "device" }, [name, ...when].join(", "));
  button.addEventListener("click", () => sendToDevice(device.places));
  return make("li", {}, button);
}

async function showDevices() {
  const opened = session.id;
  try {
    const devices = await ask("GET", "api/v1/devices");
    // What has the focus does not go away.
    if (session.id !== opened || at("devices").matches(":focus-within")) return;
    const items = devices.map(deviceShown);
    const texts = (list) => [...list].map((item) => item.outerHTML).join();
    if (texts(items) !== texts(at("devices").children)) at("devices").replaceChildren(...items);
    at("devices").hidden = items.length === 0;
  } catch (error) {
    problem(error);
  }
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
  at("move-problem").textContent = at("move-waiting").textContent = "";
  at("move-form").elements.mode.value = "move";
  forgetUrl();
  at("devices").replaceChildren();
  showDevices();
  at("move").showModal();
  placeQuestions();
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
