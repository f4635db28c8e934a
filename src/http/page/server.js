// Asks the server, and hears its events. A refusal for want of a right (401) is met in one place, `unauthorised`. A token is kept in
// this module's memory and nowhere else. Who is signed in has a cookie that no script sees; what proves that a call comes from this
// page (`X-CSRF-Token`) is in memory too, and asked for again where the page was loaded again.

/** That somebody has signed in here is remembered, so that nobody else is asked for a session; who it is, is not. */
const SIGNED_IN = "flowsteer-signed-in";

let token = null;
/** `{user, csrf}` of who is signed in. */
let login = null;
let unauthorised = () => {};
/** Ends the hearing of events that goes on. */
let hearing = new AbortController();

export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `the server answers ${status}`);
    this.status = status;
    this.kind = (problem.type || "").replace("urn:flowsteer:problem:", "");
  }
}

export function whenUnauthorised(call) { unauthorised = call; }

async function refusal(answer) {
  return new Refused(answer.status, await answer.json().catch(() => ({})));
}

function signedIn(found) {
  login = found;
  if (found) localStorage.setItem(SIGNED_IN, "1");
  else localStorage.removeItem(SIGNED_IN);
}

async function findLogin() {
  const answer = await fetch("api/v1/login", { credentials: "same-origin", cache: "no-store" });
  signedIn(answer.ok ? await answer.json() : null);
}

/** Who is signed in, also by an earlier visit; null for nobody. */
export async function whoIsSignedIn() {
  if (login === null && token === null && localStorage.getItem(SIGNED_IN)) await findLogin();
  return login?.user ?? null;
}

/** Signs in; a refusal is thrown. */
export async function signIn(user, password) {
  const body = JSON.stringify({ user, password });
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch("api/v1/login", { method: "POST", body, headers, credentials: "same-origin", cache: "no-store" });
  if (!answer.ok) throw await refusal(answer);
  token = null;
  signedIn(await answer.json());
}

/** Goes by an operator's token from now on; a refusal is thrown. */
export async function useToken(text) {
  token = text;
  try {
    await send("api/v1/sessions");
  } catch (error) {
    token = null;
    throw error;
  }
}

/** Ends the session, and forgets the token. */
export async function signOut() {
  if (login) await send("api/v1/logout", { method: "POST" });
  token = null;
  signedIn(null);
}

function attempt(path, options) {
  const headers = { ...options.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  if (login && options.method && options.method !== "GET") headers["X-CSRF-Token"] = login.csrf;
  return fetch(path, { ...options, headers, credentials: "same-origin", cache: "no-store" });
}

async function send(path, options = {}) {
  let answer = await attempt(path, options);
  let refused = answer.ok ? null : await refusal(answer);
  // The cookie may be of a session that this page does not know of: somebody has signed in beside it.
  if (refused?.kind === "csrf-token-needed") {
    await findLogin();
    if (login) {
      answer = await attempt(path, options);
      refused = answer.ok ? null : await refusal(answer);
    }
  }
  if (refused === null) return answer;
  if (refused.status === 401) {
    signedIn(null);
    unauthorised();
  }
  throw refused;
}

/** JSON in, JSON out; null where there is nothing to say. */
export async function ask(method, path, body) {
  const options = { method };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "Content-Type": "application/json" };
  }
  const answer = await send(path, options);
  if (answer.status === 204) return null;
  return (answer.headers.get("content-type") || "").startsWith("application/json") ? answer.json() : answer.text();
}

/**
 * Hears server-sent events (WHATWG HTML section 9.2) until the page goes, there is no right to them, or this is called again, and comes
 * back behind the last one. Not by EventSource: that shows no token.
 */
export async function listen(heard, connected) {
  hearing.abort();
  hearing = new AbortController();
  const { signal } = hearing;
  let last = null;
  for (let wait = 500; ; wait = Math.min(wait * 2, 10000)) {
    try {
      const answer = await send("api/v1/events", { signal, headers: last === null ? {} : { "Last-Event-ID": last } });
      connected(true);
      wait = 500;
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        const blocks = (text + part.value).split("\n\n");
        text = blocks.pop();
        for (const block of blocks) {
          const fields = {};
          for (const line of block.split("\n")) {
            const colon = line.indexOf(":");
            if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 1).trimStart();
          }
          if (fields.id !== undefined) last = fields.id;
          if (fields.event) heard(fields.event, JSON.parse(fields.data));
        }
      }
    } catch (error) {
      // Whoever has no right waits for one.
      if (error instanceof Refused && error.status === 401) return;
    }
    if (signal.aborted) return;
    connected(false);
    await new Promise((go) => setTimeout(go, wait));
    if (signal.aborted) return;
  }
}
