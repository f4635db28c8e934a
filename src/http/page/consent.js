// Questions of consent: who asks for what, with yes and no, as long as they are open; and moves that wait for an answer. Questions are
// shown where they are reached first by keyboard, also while the dialog is open. A question takes the focus, but none of its buttons,
// unless something is being typed.

import { ask } from "./server.js";
import { make, say } from "./text.js";

/** What has become of so many questions is remembered: the event may be quicker than the answer to the call that asked. */
const MAX_SETTLED = 64;
/** An end that nobody has told of is waited for no longer. */
const LATE_MS = 2000;
const at = (id) => document.getElementById(id);

/** Question's id → what stands on the page for it. Flows that go to the same place by calls are asked about one by one; here it is one. */
const open = new Map();
/** Question's id → `yes`, `no` or `lapsed`; `unheard` where it is over and the page was not told how. */
const settled = new Map();
/** Question's id → who waits for what becomes of it. */
const waiting = new Map();
let sessionOf = () => undefined;

const homesOf = (questions) => questions.flatMap((question) => question.homeAddresses);

/** What questions are about: the title and which of it, else the home addresses. */
function subject(questions) {
  const [session, homes] = [sessionOf(questions[0].session), homesOf(questions)];
  if (!session) return `what is sent to ${homes.join(", ")}`;
  const kinds = session.flows.filter((flow) => homes.includes(flow.homeAddress)).map((flow) => flow.track.kind);
  return `${session.title} (${[...new Set(kinds)].join(" and ")})`;
}

function sentence(questions) {
  const [{ asked, taker }] = questions;
  if (asked === "taker") return `${taker} would get ${subject(questions)}. Does it want it?`;
  if (asked === "webhook") return `A service is asked whether ${taker} may have ${subject(questions)}.`;
  return `${taker} asks for ${subject(questions)}. May it go there?`;
}

/** Words for who has to answer. */
export function answerer(question) {
  return { taker: `the device at ${question.taker}`, webhook: "the service that decides" }[question.asked] ?? "who has it now";
}

async function answer(entry, word) {
  await Promise.all(entry.questions.map(async ({ id }) => {
    try {
      await ask("POST", `api/v1/consents/${id}`, { answer: word });
      settle(id, word);
    } catch (error) {
      say(error.message);
      if (error.status === 404) settle(id, "unheard");
    }
  }));
}

/** What changes while a question is open. */
function refresh(entry) {
  const show = (element, text) => { if (element.textContent !== text) element.textContent = text; };
  const [{ taker, way }] = entry.questions;
  show(entry.text, sentence(entry.questions));
  show(entry.more, `Home address ${homesOf(entry.questions).join(", ")}; taken by ${taker}, ${way}`);
  show(entry.left, `${Math.max(Math.ceil((entry.ends - performance.now()) / 1000), 0)} s left`);
}

function place() {
  const dialog = document.querySelector("dialog[open]");
  const questions = at("questions");
  const home = dialog ?? at("main");
  if (questions.parentElement !== home) home.prepend(questions);
  const count = new Set(open.values()).size;
  questions.hidden = count === 0;
  document.title = count === 0 ? "flowsteer" : `(${count}) flowsteer`;
}

function isTyping() {
  const focused = document.activeElement;
  return focused instanceof HTMLInputElement && !["range", "radio"].includes(focused.type);
}

/** Shows a question that is open. */
export function asked(question) {
  if (open.has(question.id) || settled.has(question.id)) return;
  const goesWith = ({ questions: [other] }) => ["session", "taker", "asked", "way"].every((part) => other[part] === question[part]);
  const known = question.way === "http" && [...open.values()].find(goesWith);
  if (known) {
    known.questions.push(question);
    open.set(question.id, known);
    refresh(known);
    return;
  }
  const name = `question-${question.id}`;
  const entry = {
    questions: [question],
    root: make("div", { className: "question", tabIndex: -1 }),
    text: make("p", { id: name, className: "name" }),
    more: make("p", { className: "quiet" }),
    left: make("p", { className: "quiet" }),
    ends: performance.now() + question.secondsLeft * 1000,
    back: null,
  };
  entry.root.append(entry.text, entry.more, entry.left);
  entry.root.setAttribute("role", "alertdialog");
  entry.root.setAttribute("aria-label", "Question");
  entry.root.setAttribute("aria-describedby", name);
  if (question.asked !== "webhook") {
    const [yes, no] = [["yes", "Yes"], ["no", "No"]].map(([word, label]) => {
      const button = make("button", { type: "button", className: word === "yes" ? "main yes" : "no" }, label);
      button.setAttribute("aria-describedby", name);
      button.addEventListener("click", () => answer(entry, word));
      return button;
    });
    entry.root.append(make("div", { className: "row" }, yes, no));
  }
  open.set(question.id, entry);
  refresh(entry);
  at("questions").append(entry.root);
  place();
  if (isTyping()) {
    say(entry.text.textContent);
  } else {
    entry.back = document.activeElement;
    entry.root.focus();
  }
}

function settle(id, became) {
  if (!settled.has(id)) {
    settled.set(id, became);
    if (settled.size > MAX_SETTLED) settled.delete(settled.keys().next().value);
    for (const tell of waiting.get(id) ?? []) tell(became);
    waiting.delete(id);
  }
  const entry = open.get(id);
  if (!entry) return;
  open.delete(id);
  const [{ taker }] = entry.questions;
  entry.questions = entry.questions.filter((question) => question.id !== id);
  if (entry.questions.length > 0) return refresh(entry);
  const hadFocus = entry.root.contains(document.activeElement);
  entry.root.remove();
  place();
  const words = { yes: "yes", no: "no", lapsed: "nothing, and that is no", unheard: "not heard" };
  say(`${taker}: the answer was ${words[became]}.`);
  const next = open.values().next().value;
  if (hadFocus) (next?.root ?? (entry.back?.isConnected ? entry.back : at("playing"))).focus();
}

/** Takes an event `consent`. */
export function heardConsent(event) {
  if (event.event === "asked") asked(event);
  else settle(event.id, event.event === "answered" ? event.answer : "lapsed");
}

/** Shows what is open, and nothing else. */
export async function readQuestions() {
  const known = [...open.keys()];
  const listed = await ask("GET", "api/v1/consents");
  for (const id of known) {
    if (!listed.some((question) => question.id === id)) settle(id, "unheard");
  }
  listed.forEach(asked);
}

/** Four times a second: the seconds that are left, and titles that were not known yet. */
export function tickQuestions() {
  for (const [id, entry] of [...open]) {
    if (performance.now() > entry.ends + LATE_MS) settle(id, "unheard");
    else refresh(entry);
  }
}

/**
 * Binds a home address; where somebody has to say yes, `waits` is told of the question, and behind the yes it is asked again.
 */
export async function bind(home, id, body, waits, isAgain = false) {
  const { consent: question } = await ask("PUT", `api/v1/home-addresses/${home}/bindings/${id}`, body);
  if (!question) return;
  asked(question);
  waits(question);
  const became = settled.get(question.id) ?? await new Promise((tell) => waiting.set(question.id, [...(waiting.get(question.id) ?? []), tell]));
  // What was not heard may have been yes: then it is bound. Else the question is put once more.
  if (became === "yes" || (became === "unheard" && !isAgain)) return bind(home, id, body, waits, isAgain || became === "unheard");
  throw new Error(`${question.taker} does not get it: the answer was ${{ lapsed: "silence", unheard: "not heard" }[became] ?? became}.`);
}

/** Begins; `find` gives the session of an id. */
export function watchQuestions(find) {
  sessionOf = find;
  at("move").addEventListener("close", place);
}
/** The dialog has opened: questions go on in it. */
export { place as placeQuestions };
